"""Owns when published and measured numbers agree, exactly or within what rounding may move, and how that is shown."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..evaluation.predictions import get_probabilities


@dataclass(frozen=True)
class Check:
    """One thing that was published, and what was found.

    Attributes:
        name: as in "metrics.test.accuracy.value".
        published, measured: numbers, or words.
        tolerance: how far apart numbers may be; None for words.
        ok: whether it is reproduced.
    """

    name: str
    published: float | str
    measured: float | str
    tolerance: float | None
    ok: bool


def compare_words(name: str, published: str, measured: str) -> Check:
    """A check of what must be the same to the letter."""
    return Check(name, published, measured, None, published == measured)


def compare_numbers(name: str, published: float, measured: float, tolerance: float) -> Check:
    """A check of a number; NaN is never within a tolerance."""
    return Check(name, published, measured, tolerance, abs(published - measured) <= tolerance)


def compare_predictions(section: str, published: pd.DataFrame, fresh: pd.DataFrame, exact: bool) -> Iterator[Check]:
    """Predicted classes and probabilities of each image, published and fresh."""
    ours, theirs = get_probabilities(fresh), get_probabilities(published)
    if ours.shape != theirs.shape:
        return  # said already
    different = int((ours.argmax(1) != theirs.argmax(1)).sum())
    allowed = 0 if exact else 3 + math.floor(0.01 * len(ours))
    yield compare_numbers(f"{section}: images with another class, of {len(ours):,}", 0, different, allowed)
    distance = np.abs(ours - theirs)
    value = float(distance.max() if exact else distance.mean())
    kind = "largest" if exact else "mean"
    yield compare_numbers(f"{section}: {kind} distance of probabilities", 0.0, value, 1e-5 if exact else 0.01)


def compare_metrics(name: str, published: dict, measured: dict, exact: bool) -> list[Check]:
    """Every number of a `metrics` section of results.json."""
    theirs, ours, tolerances = flatten(published), flatten(measured), {} if exact else make_tolerances(published)
    missing = [Check(f"{name}.{key}", "missing", ours[key], None, False) for key in ours if key not in theirs]
    return missing + [
        compare_numbers(
            f"{name}.{key}", value, ours.get(key, math.nan), tolerances.get(key, 1e-9 * max(1, abs(value)))
        )
        for key, value in theirs.items()
    ]


def flatten(value: object, prefix: str = "") -> dict[str, float]:
    """All numbers in nested mappings and lists, by their path."""
    if isinstance(value, int | float):
        return {prefix: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {
        key: number
        for name, each in pairs
        for key, number in flatten(each, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def make_tolerances(metrics: dict) -> dict[str, float]:
    """How far other hardware may move each number of a `metrics` section, see docs/publishing.md.

    Rounding moves images that lie between two classes. A score of n images may move by 3 + 0.2 % of n of them; the
    loss by 0.005 and 1 %. An interval's ends move by that and by the bootstrap's own noise, 7 % of its width (three
    standard errors of a 2.5 % quantile from 2,000 resamples, twice over). Counts of images do not move.
    """
    tolerances, matrix = {}, np.array(metrics["confusion_matrix"])

    def put(key: str, estimate: dict, tolerance: float) -> None:
        ends = tolerance + 0.07 * (estimate["high"] - estimate["low"])
        tolerances.update({f"{key}.value": tolerance, f"{key}.low": ends, f"{key}.high": ends})

    def share(count: float) -> float:
        return (3 + 0.002 * count) / max(count, 3)

    whole = share(metrics["num_images"])
    put("accuracy", metrics["accuracy"], whole)
    loss = metrics["negative_log_likelihood"]
    put("negative_log_likelihood", loss, 0.005 + 0.01 * loss["value"])
    single = [min(1.0, share(min(matrix[k].sum(), matrix[:, k].sum()))) for k in range(len(matrix))]
    for k, (name, scores) in enumerate(metrics["per_class"].items()):
        for score in ("precision", "recall", "f1"):
            put(f"per_class.{name}.{score}", scores[score], single[k])
    for average in ("macro", "weighted"):
        for score, estimate in metrics[average].items():
            # Classes move independently of each other, so their mean moves by less.
            put(f"{average}.{score}", estimate, max(whole, float(np.mean(single)) / math.sqrt(len(single))))
    areas = {f"roc_auc_per_class.{name}": area for name, area in metrics.get("roc_auc_per_class", {}).items()}
    scores = {f"scores.{name}": score for name, score in metrics.get("scores", {}).items()}
    for key, score in (scores | areas).items():
        if score["low"] is not None:  # else it is undefined, or has no interval
            put(key, score, 2 * whole if key.startswith("scores") else max(single))
    for k, row in enumerate(matrix):
        tolerances.update({f"confusion_matrix.{k}.{j}": 3 + 0.002 * row.sum() for j in range(len(row))})
    return tolerances


def find_failures(checks: list[Check], most: int = 3) -> str:
    """The first of what is not reproduced, in words; empty if all is."""
    failed = [check for check in checks if not check.ok]
    parts = [f"{each.name}: {show(each.published)} published, {show(each.measured)} found" for each in failed]
    return "; ".join(parts[:most]) + (f"; and {len(parts) - most} more" if len(parts) > most else "")


def format_checks(checks: list[Check]) -> str:
    """A table: name, published, measured, tolerance, ok. Details that agree (per class, intervals) are counted."""
    details = ("per_class.", "confusion_matrix.", ".low", ".high", ".support", " from its predictions.")
    rows = [check for check in checks if not check.ok or not any(each in check.name for each in details)]
    cells = [("", "published", "measured", "within", "ok")] + [
        (check.name, show(check.published), show(check.measured),
         "" if check.tolerance is None else f"{check.tolerance:.2g}", "yes" if check.ok else "NO")
        for check in rows
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if hidden := len(checks) - len(rows):
        lines.append(
            f"and {hidden:,} more that agree: numbers per class, confusion matrix, ends of intervals, and all that "
            "the published predictions give"
        )
    return "\n".join(lines)


def show(value: float | str) -> str:
    """A number with six digits after the point, whole ones without; a hash by its beginning."""
    if isinstance(value, str):
        return f"{value[:16]}..." if re.fullmatch("[0-9a-f]{40,64}", value) else value
    return f"{value:,}" if isinstance(value, int) else f"{value:.6f}"
