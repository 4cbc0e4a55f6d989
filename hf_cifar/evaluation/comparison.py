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
from .model_summary import describe_model
from .predictions import get_probabilities, read_predictions
from .results import get_source, read_results
from .scores import check_predictions
from .seeds import group_seeds
from .statistics import compare_groups, compare_models
from .tradeoffs import describe_tradeoffs, discuss, find_fronts

SCHEMA_VERSION = 1


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


def load_runs(folders: Sequence[str], minimum: int = 1, like: Run | None = None) -> list[Run]:
    """Read runs and check that they can be compared.

    Args:
        folders: of the runs.
        minimum: how many there must be.
        like: a run whose test set they must have, too.

    Raises:
        UserError: Fewer than `minimum`, one is not finished or not finite, or their test images differ.
    """
    if len(folders) < minimum:
        raise UserError(f"{len(folders)} run given; a comparison needs at least {minimum} run folders")
    runs = [read_run(Path(folder)) for folder in folders]
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise UserError(f"a run folder is given twice ({', '.join(map(str, folders))}); give each once")
    names = [run.name for run in runs]
    for run in runs:  # two runs of one name are told apart by their folders
        if names.count(run.name) > 1:
            run.name = f"{run.name} ({run.folder})"
        check_same_test_set(like or runs[0], run)
    return runs


def read_run(folder: Path) -> Run:
    """One run.

    Raises:
        UserError: It is not finished, or its predictions are damaged.
    """
    results, path = read_results(folder), folder / "predictions" / "test.parquet"
    run = Run(results["model"]["name"], folder, results, read_predictions(path))
    try:
        check_predictions(run.probabilities, run.labels)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    found, expected = run.probabilities.shape[1], len(results["data"]["class_names"])
    if found != expected:
        raise UserError(f"{path} has {found} classes; allowed: the {expected} of results.json. Make the run again")
    return run


def check_same_test_set(first: Run, run: Run) -> None:
    """Check that two runs were tested on the same images.

    Raises:
        UserError: They were not.
    """
    if run.results["data"]["hashes"]["test"] != first.results["data"]["hashes"]["test"]:
        raise UserError(
            f"{run.folder} was tested on {run.results['data']['name']} and {first.folder} on "
            f"{first.results['data']['name']}: their test sets differ (by SHA-256). Compare runs on one test set"
        )
    if not run.predictions[["index", "label"]].equals(first.predictions[["index", "label"]]):
        raise UserError(f"{run.folder}/predictions/test.parquet covers other test images; make the run again")


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

    Raises:
        UserError: The curve's runs were tested on other images.
    """
    for run in curve or ():
        check_same_test_set(runs[0], run)
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
    only = f"the first alone is right on {pair['only_first']:,}, the second alone on {pair['only_second']:,}"
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
