"""Owns comparing finished runs: same test images or nothing, one verdict rule, and all that comparison.json holds."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd

from ..arguments import SourceArguments
from ..data.table import ImageData, load_data
from ..errors import UserError
from ..hardware import choose_precision
from .cost import describe_environment
from .data_efficiency import describe_curve
from .measure import measure_calibration
from .metrics import compute_all_metrics
from .predictions import get_probabilities, read_predictions
from .results import get_source, read_results
from .scores import check_predictions
from .seeds import group_seeds
from .statistics import compare_groups, compare_models, summarize_group
from .tradeoffs import describe_tradeoffs, discuss, find_fronts

SCHEMA_VERSION = 1
SCORES = ("top_5_accuracy", "balanced_accuracy", "kappa", "matthews", "roc_auc", "brier", "calibration_error")


@dataclass
class Run:
    """A finished run: its name, folder, results.json and test predictions."""

    name: str
    folder: Path
    results: dict
    predictions: pd.DataFrame

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Of each class, float (N, K)."""
        return get_probabilities(self.predictions)

    @property
    def labels(self) -> np.ndarray:
        """Class numbers (N,)."""
        return self.predictions["label"].to_numpy()

    @property
    def predicted(self) -> np.ndarray:
        """Predicted class numbers (N,)."""
        return self.probabilities.argmax(-1)

    @property
    def hits(self) -> np.ndarray:
        """Whether each image was classified rightly, bool (N,)."""
        return self.predicted == self.labels


def load_runs(folders: Sequence[str], minimum: int = 1) -> list[Run]:
    """Read runs and check that they can be compared.

    Raises:
        UserError: Fewer than `minimum`, one is not finished or not finite, or their test images differ.
    """
    if len(folders) < minimum:
        raise UserError(f"{len(folders)} run given; a comparison needs at least {minimum} run folders")
    runs = []
    for folder in map(Path, folders):
        results = read_results(folder)
        predictions = read_predictions(folder / "predictions" / "test.parquet")
        runs.append(Run(results["model"]["name"], folder, results, predictions))
        try:
            check_predictions(runs[-1].probabilities, runs[-1].labels)
        except UserError as error:
            raise UserError(f"{folder}/predictions/test.parquet: {error}") from error
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise UserError(f"a run folder is given twice ({', '.join(folders)}); give each once")
    names = [run.name for run in runs]
    for run in runs:  # two runs of one name are told apart by their folders
        if names.count(run.name) > 1:
            run.name = f"{run.name} ({run.folder})"
    first = runs[0]
    for run in runs[1:]:
        if run.results["data"]["hashes"]["test"] != first.results["data"]["hashes"]["test"]:
            raise UserError(
                f"{run.folder} was tested on {run.results['data']['name']} and {first.folder} on "
                f"{first.results['data']['name']}: their test sets differ (by SHA-256). Compare runs on one test set"
            )
    for run in runs:
        if not run.predictions[["index", "label"]].equals(first.predictions[["index", "label"]]):
            raise UserError(f"{run.folder}/predictions/test.parquet covers other test images; make the run again")
    return runs


def load_data_of(runs: list[Run], source: SourceArguments) -> ImageData:
    """The dataset that runs were tested on, for pictures.

    Raises:
        UserError: It cannot be had, or its test set is another.
    """
    data_name = runs[0].results["data"]["name"]
    data = load_data(get_source(runs[0].results, source))
    if data.hashes["test"] != runs[0].results["data"]["hashes"]["test"]:
        raise UserError(f"the runs were tested on {data_name}, not on {data.name} from {data.source}; see --dataset")
    return data


def compare_runs(
    runs: list[Run], inference: Mapping[str, dict | None] | None = None, curve: list[Run] | None = None
) -> dict:
    """What comparison.json holds: models, verdicts on each pair, costs, trade-offs, and what they say in words.

    Runs of one recipe that differ in their seed alone are one model, shown by the first of them.

    Args:
        runs: one or more, from `load_runs`.
        inference: by run folder, what `measure_inference` gave; None where a model could not be loaded.
        curve: runs at several numbers of training images, for `data_efficiency`.
    """
    members = group_runs(runs)
    shown = {name: seeds[0] for name, seeds in members.items()}
    models = [
        describe_model(name, seeds, (inference or {}).get(str(seeds[0].folder))) for name, seeds in members.items()
    ]
    pairs = describe_pairs(shown)
    data_efficiency = describe_curve(curve) if curve else None
    axes = describe_tradeoffs(models, pairs, data_efficiency)
    first = runs[0].results["data"]
    comparison = {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": describe_environment(choose_precision()),
        "data": {
            "name": first["name"],
            "class_names": first["class_names"],
            "test_sha256": first["hashes"]["test"]["images"],
            "num_images": len(runs[0].labels),
            "is_sample": first["name"] == "cifar10-sample",
        },
        "models": models,
        "pairs": pairs,
        "seed_groups": describe_seed_groups(members),
        "pareto": find_fronts(models),
        "tradeoffs": axes,
        "discussion": discuss(models, axes),
        "data_efficiency": data_efficiency,
    }
    schema = json.loads(Path(__file__).with_name("comparison.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(json.dumps(comparison, allow_nan=False)), schema)
    return comparison


def group_runs(runs: list[Run]) -> dict[str, list[Run]]:
    """Seeds of one recipe by the model's name; where two recipes have one name, with the folder of the first seed."""
    groups = [[runs[i] for i in group] for group in group_seeds([run.results for run in runs])]
    names = [seeds[0].results["model"]["name"] for seeds in groups]
    return {
        f"{name} ({seeds[0].folder})" if names.count(name) > 1 else name: seeds
        for name, seeds in zip(names, groups, strict=True)
    }


def describe_model(name: str, seeds: list[Run], inference: dict | None) -> dict:
    """One entry of `models`; its numbers are those of the first seed, but for `seed_summary`."""
    run = seeds[0]
    results, model, cost = run.results, run.results["model"], run.results["cost"]
    metrics = results["metrics"]["test"]
    if "scores" not in metrics:  # written by an earlier version
        metrics = compute_all_metrics(run.probabilities, run.labels, results["data"]["class_names"])
    scores = {f"macro_{key}": metrics["macro"][key] for key in ("f1", "precision", "recall")}
    scores |= {key: metrics["scores"].get(key) for key in SCORES}
    scores["negative_log_likelihood"] = metrics["negative_log_likelihood"]
    scores["calibration_error_scaled"] = find_calibration(run)["test"].get("after", {}).get("calibration_error")
    tta = results.get("metrics_tta", {}).get("test")
    accuracies = [each.results["metrics"]["test"]["accuracy"]["value"] for each in seeds]
    return {
        "name": name,
        "kind": "cnn" if model["base_model"] is None else "transfer",
        "run": str(run.folder),
        "seeds": len(seeds),
        "accuracy": metrics["accuracy"],
        "accuracy_tta": tta and tta["accuracy"],
        "seed_summary": describe_seeds(accuracies),
        "scores": {key: keep_defined(score) for key, score in scores.items()},
        "most_confused": find_confusions(metrics["confusion_matrix"], results["data"]["class_names"], 5),
        "cost": {
            **{key: cost[key] for key in ("train_seconds", "feature_seconds", "train_images_per_second", "epochs")},
            "peak_memory_bytes": cost["peak_memory_bytes"],
            "hardware": results["environment"]["hardware"],
            "date": results["environment"]["date"],
            "train_images": results["data"]["sizes"]["train"],
        },
        "model": {
            **{key: model[key] for key in ("parameters", "flops_per_image", "image_size", "type")},
            "base_model": (model["base_model"] or {}).get("name"),
        },
        "inference": inference,
        "robustness": results.get("robustness"),
    }


def keep_defined(score: dict | None) -> dict | None:
    """A score with its interval; None where either is undefined."""
    if score is None or score["value"] is None or score["low"] is None:
        return None
    return {key: score[key] for key in ("value", "low", "high")}


def describe_seeds(accuracies: list[float]) -> dict | None:
    """`seed_summary`: None for one seed."""
    if len(accuracies) < 2:
        return None
    summary = summarize_group(accuracies)
    return {"standard_deviation": summary.pop("deviation"), **summary}


def find_calibration(run: Run) -> dict:
    """A run's `calibration`, from its results or, of an earlier version, from its predictions."""
    if "calibration" in run.results:
        return run.results["calibration"]
    path = run.folder / "predictions" / "validation.parquet"
    return measure_calibration(run.predictions, read_predictions(path) if path.is_file() else None)


def describe_pairs(shown: dict[str, Run]) -> list[dict]:
    """Verdicts on each pair of models, by `compare_models`, with a sentence."""
    if len(shown) < 2:
        return []
    pairs = compare_models({name: run.hits for name, run in shown.items()})
    for pair in pairs:
        first, second = (shown[pair[key]] for key in ("first", "second"))
        pair["both"] = int((first.hits & second.hits).sum())
        pair["neither"] = int((~first.hits & ~second.hits).sum())
        if (first.predicted == second.predicted).all():
            pair["verdict"] = "identical"
        pair["sentence"] = word_pair(pair, len(first.labels))
    return pairs


def word_pair(pair: dict, num_images: int) -> str:
    """What may be concluded of two models, in words."""
    first, second, difference = pair["first"], pair["second"], pair["difference"]
    if pair["verdict"] == "identical":
        return f"{first} and {second} predict the same class for each of the {num_images:,} test images."
    points = "{:+.2f} points, 95 % interval {:+.2f} to {:+.2f}".format(
        *(100 * difference[key] for key in ("value", "low", "high"))
    )
    only = f"{pair['only_first']:,} images are right by the first alone, {pair['only_second']:,} by the second alone"
    adjusted = f"adjusted p {format_p(pair['p_adjusted'])}"
    if pair["verdict"] != "tie":
        return f"{first} is {pair['verdict']} than {second}: {points}; {only} ({adjusted})."
    needed = pair["images_needed"]
    if not needed:
        more = "They are equally accurate, so no number of test images is known that would tell them apart"
    elif needed <= num_images:
        more = "The difference is near what this many images can tell"
    else:
        more = f"To tell with 80 % power, about {needed:,} test images would be needed"
    return f"{first} and {second} are a tie at {num_images:,} test images: {points}; {only} ({adjusted}). {more}."


def format_p(value: float) -> str:
    """As in "0.031", "0.0004" or "below 0.0001"."""
    return "below 0.0001" if value < 1e-4 else f"{value:.{2 if value > 0.1 else 4 if value < 0.01 else 3}f}"


def describe_seed_groups(members: dict[str, list[Run]]) -> list[dict]:
    """Pairs of models of which both have several seeds, by `compare_groups`."""
    hits = {name: {str(i): run.hits for i, run in enumerate(runs)} for name, runs in members.items() if len(runs) > 1}
    names, groups = list(hits), []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            result = compare_groups(hits[first], hits[second])
            if result["p_value"] is not None and not math.isfinite(result["p_value"]):
                result["p_value"] = None
            groups.append({"first": first, "second": second, **result})
    return groups


def find_confusions(matrix: list[list[int]], class_names: list[str], count: int = 3) -> list[tuple[str, str, int]]:
    """The most frequent confusions: true class, predicted class, images."""
    cells = [
        (class_names[row], class_names[column], int(value))
        for (row, column), value in np.ndenumerate(np.array(matrix))
        if row != column and value
    ]
    return sorted(cells, key=lambda cell: -cell[2])[:count]
