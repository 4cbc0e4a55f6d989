"""Owns accuracy against the number of labels: runs at several budgets, grouped by recipe, and what they tell."""

import json
from typing import TYPE_CHECKING

from .seeds import describe_options
from .statistics import summarize_group

if TYPE_CHECKING:
    from .comparison import Run

BUDGET = ("train_fraction", "images_per_class")


def describe_curve(runs: list["Run"]) -> dict:
    """`data_efficiency` of comparison.json.

    Args:
        runs: of recipes that differ in their budget of labels and their seed alone, and of others beside them.

    Returns:
        `points`: a group's accuracy at one number of training images (the mean of its seeds; the interval is over
        test images for one seed, over seeds for more); `groups`, by name; `sentences` on who leads where.
    """
    groups: dict[str, list] = {}
    for run in runs:
        recipe = describe_options(run.results)
        options = {key: value for key, value in recipe["options"].items() if key not in BUDGET}
        groups.setdefault(json.dumps({**recipe, "options": options}, sort_keys=True, default=str), []).append(run)
    names: list[str] = []
    points = []
    for members in groups.values():
        name = members[0].results["model"]["name"]
        name = name if name not in names else f"{name} ({members[0].folder})"
        names.append(name)
        for images in sorted({run.results["data"]["sizes"]["train"] for run in members}):
            same = [run for run in members if run.results["data"]["sizes"]["train"] == images]
            estimates = [run.results["metrics"]["test"]["accuracy"] for run in same]
            summary = summarize_group([each["value"] for each in estimates])
            over_seeds = {"value": summary["mean"], "low": summary["low"], "high": summary["high"]}
            points.append(
                {
                    "name": f"{name}, {images:,} images", "group": name, "images": images, "seeds": len(same),
                    "kind": "cnn" if same[0].results["model"]["base_model"] is None else "transfer",
                    "accuracy": estimates[0] if len(same) == 1 else over_seeds,
                }
            )  # fmt: skip
    return {"points": points, "groups": names, "sentences": word_curve(points, names)}


def find_lead(points: list[dict]) -> dict | None:
    """Of points at one number of images, the one whose interval lies above all others; None where none does."""
    best = max(points, key=lambda point: point["accuracy"]["value"])
    others = [point for point in points if point is not best]
    is_clear = all(best["accuracy"]["low"] > point["accuracy"]["high"] for point in others)
    return best if others and is_clear else None


def word_curve(points: list[dict], names: list[str]) -> list[str]:
    """Who leads at each number of labels that all were trained with; nothing in between is guessed."""
    budgets = {name: {point["images"] for point in points if point["group"] == name} for name in names}
    shared = sorted(set.intersection(*budgets.values()))
    if len(names) < 2:
        first, last = points[0], points[-1]
        return [f"{names[0]} goes from {say(first)} to {say(last)}."]
    if not shared:
        return ["No number of labels was tried with all recipes, so none can be said to need fewer."]
    sentences = []
    for images in shared:
        here = [point for point in points if point["images"] == images]
        lead = find_lead(here)
        figures = ", ".join(f"{point['group']} {100 * point['accuracy']['value']:.1f} %" for point in here)
        verdict = f"{lead['group']} leads" if lead else "a tie (the intervals overlap)"
        sentences.append(f"With {images:,} labelled images: {verdict}; {figures}.")
    sentences.append(f"Between and beyond {', '.join(f'{images:,}' for images in shared)} nothing was measured.")
    return sentences


def say(point: dict) -> str:
    """As in "61.2 % with 500 images"."""
    return f"{100 * point['accuracy']['value']:.1f} % with {point['images']:,} images"
