"""Owns checking a published model's numbers: a fresh copy, a process without this package, the same test images."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import datasets
import numpy as np
import pandas as pd
import torch
from huggingface_hub import HfApi, ModelCard, constants

from ..arguments import SourceArguments
from ..data.store import read_column
from ..data.table import ImageData, load_data
from ..errors import HubError, UserError
from ..evaluation.cost import PACKAGES, describe_environment
from ..evaluation.measure import measure_tables
from ..evaluation.metrics import compute_all_metrics
from ..evaluation.predictions import PREFIX, get_probabilities, read_predictions
from ..evaluation.results import get_source, read_results
from ..hardware import choose_precision
from .agreement import Check, compare_metrics, compare_numbers, compare_predictions, compare_words
from .checks import (
    CODE_FILES,
    REQUIRED,
    UNSAFE_SUFFIXES,
    compare_exports,
    find_card_problems,
    find_code_problem,
    is_published,
    match_entry,
    needs_code,
)
from .hub_calls import TIMEOUT, Place, find_difference, list_remote, retry, talk_to_hub
from .stranger import StrangerError, open_stranger, pass_on

# Packages whose version may change the last bits of a prediction.
NUMERIC_PACKAGES = tuple(name for name in PACKAGES if name in ("torch", "torchvision", "transformers", "timm"))


def verify_model(
    name: str,
    revision: str | None = None,
    source: SourceArguments | None = None,
    subset: int | None = None,
    run_code: bool = False,
    exactness: str = "auto",
    timeout: float = TIMEOUT,
) -> list[Check]:
    """Check every number that a model was published with.

    Args:
        name: a folder, or a Hub id, of which a fresh copy is fetched.
        revision: branch, tag or commit of a Hub id.
        source: the data; by default that which results.json names.
        subset: check the predictions of this many test images only, and none of the numbers that need them all.
        run_code: whether to run Python files that are not this version's own.
        exactness: "exact" where the very same predictions are to be had, "rounded" where other hardware rounds
            otherwise; "auto" takes exact on the published hardware, precision and versions.
        timeout: seconds that the Hub may be silent.

    Returns:
        All checks; the model is reproduced if each is ok.

    Raises:
        UserError: There is no such model, or it was published without results.json, or the data are others.
        HubError: It could not be fetched.
    """
    with find_copy(name, revision, timeout) as folder:
        results = read_results(folder)
        data = load_data(get_source(results, source or SourceArguments()))
        expected, found = results["data"]["hashes"]["test"], data.hashes["test"]
        checks = [compare_words(f"test {kind}, SHA-256", expected[kind], found[kind]) for kind in sorted(expected)]
        if not all(check.ok for check in checks):
            return checks  # on other images, no number means anything
        checks += check_card(folder, results)
        if (problem := find_code_problem(folder)) is not None:
            checks.append(Check("Python files", " and ".join(CODE_FILES), f"{problem}", None, run_code))
            if not run_code:
                return checks  # nothing of it is run
        checks += [compare_words(f"{path}, SHA-256", *hashes) for path, *hashes in compare_exports(folder, results)]
        published = read_published(folder, results)
        for section, frame in published.items():
            checks += check_predictions_file(section, frame, data, results)
        return checks + list(check_fresh(folder, results, data, published, subset, exactness))


@contextmanager
def find_copy(name: str, revision: str | None, timeout: float) -> Iterator[Path]:
    """The folder of that name, or a fresh copy of the Hub's in an empty cache that is deleted afterwards.

    Raises:
        UserError: A path that is no folder, or a repository without what a run publishes, or with pickles.
        HubError: It could not be fetched, or what came is not what the Hub says it is.
    """
    folder = Path(name)
    if folder.is_dir():
        if revision is not None:
            raise UserError(f"revision={revision!r} is of a Hub id, and {name!r} is a folder; leave it out")
        check_names(name, [path.name for path in folder.iterdir()])
        yield folder
        return
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UserError(f"{name!r} is not a folder; allowed: a run's folder, or a Hub id as USER/NAME")
    place = Place(name, revision, "reading")
    with tempfile.TemporaryDirectory(prefix="hf_cifar_verify_") as cache:
        with talk_to_hub(place, timeout):
            api = HfApi(endpoint=constants.ENDPOINT)
            commit = retry(api.model_info, name, revision=revision).sha
            remote = retry(list_remote, api, name, commit)
            check_names(name, list(remote))
            paths = sorted(path for path in remote if is_published(path))
            place.doing = "downloading"
            copy = Path(
                api.snapshot_download(
                    name, revision=commit, cache_dir=cache, allow_patterns=paths, max_workers=4, etag_timeout=timeout
                )
            )
            if different := find_difference(copy, paths, remote):
                raise HubError(f"{name}: {different} came with another checksum than the Hub gives; fetch it again")
        yield copy


def check_names(name: str, paths: list[str]) -> None:
    """Refuse a repository that lacks what a run publishes, or holds what can run code when it is loaded.

    Raises:
        UserError: With the first such file.
    """
    for path in REQUIRED:
        if path not in paths:
            raise UserError(f"{name} holds no {path}; allowed: a run published by recipes/push.py")
    for path in paths:
        if PurePosixPath(path).suffix in UNSAFE_SUFFIXES:
            raise UserError(
                f"{name} holds {path}, a kind of file that can run code when it is loaded; allowed: safetensors"
            )


def check_card(folder: Path, results: dict) -> list[Check]:
    """The card's metadata and text, and every number of its model-index against results.json."""
    problems = [
        Check("README.md", "a valid card", problem, None, False) for problem in find_card_problems(folder, results)
    ]
    if problems:
        return problems
    entries = ModelCard.load(folder / "README.md").data.eval_results or []
    rows = [match_entry(entry, results) for entry in entries]
    valid = compare_words("README.md", "a valid card", "a valid card")
    return [valid] + [compare_numbers(f"README.md, {name}", *numbers, 1e-9) for name, *numbers in rows]


def read_published(folder: Path, results: dict) -> dict[str, pd.DataFrame]:
    """The published predictions of the test images, by section of results.json."""
    names = {"metrics": "test", "metrics_tta": "test_tta"}
    paths = {
        section: folder / "predictions" / f"{name}.parquet" for section, name in names.items() if section in results
    }
    return {section: read_predictions(path) for section, path in paths.items() if path.is_file()}


def check_predictions_file(section: str, frame: pd.DataFrame, data: ImageData, results: dict) -> list[Check]:
    """Published predictions: of the test images, in their order, and giving every published number exactly."""
    table, classes, name = data.test, data.class_names, f"predictions of {section}"
    columns = ["index", "label", *(PREFIX + each for each in classes)]
    if list(frame) != columns or len(frame) != len(table):
        found = f"{len(frame)} rows of {', '.join(map(str, frame))}"
        return [Check(name, f"{len(table)} rows of {', '.join(columns)}", found, None, False)]
    for column in ("index", "label"):
        if different := int((frame[column].to_numpy() != read_column(table, column)).sum()):
            return [Check(f"{name}: {column}", "as the test images'", f"{different} differ", None, False)]
    probabilities = get_probabilities(frame)
    if not np.isfinite(probabilities).all() or probabilities.min() < 0:
        return [Check(name, "probabilities", "negative or not finite", None, False)]
    metrics = compute_all_metrics(probabilities, frame["label"].to_numpy(), classes)
    return compare_metrics(f"{section}.test from its predictions", results[section]["test"], metrics, exact=True)


def check_fresh(
    folder: Path, results: dict, data: ImageData, published: dict, subset: int | None, exactness: str
) -> Iterator[Check]:
    """What the model itself says, in a process without this package."""
    table = data.test if subset is None else data.test.select(range(min(subset, len(data.test))))
    if subset is not None and "metrics" not in published:
        raise UserError(f"subset={subset}: no predictions/test.parquet was published; leave it out")
    precision, is_same = match_place(results["environment"])
    exact = is_same if exactness == "auto" else exactness == "exact"
    try:
        with open_stranger(folder, precision, run_code=needs_code(folder)) as stranger:
            expected = results["model"]["weights_sha256"]
            yield compare_words("model.safetensors, SHA-256 of the weights", expected, stranger.weights_sha256)
            for section in ("metrics", "metrics_tta"):
                if section in results and (subset is None or section in published):
                    tta = "none" if section == "metrics" else results["recipe"]["tta"]
                    metrics, frame = predict(stranger, table, tta)
                    if section in published:
                        yield from compare_predictions(section, published[section][: len(table)], frame, exact)
                    if subset is None:
                        yield from compare_metrics(f"{section}.test", results[section]["test"], metrics, exact)
    except StrangerError as error:
        yield Check("loading and running it without this package", "works", str(error), None, False)


def match_place(environment: dict) -> tuple[str, bool]:
    """The precision to predict in, and whether this is the hardware, precision and versions of the published run."""
    precision = environment["precision"] if environment["precision"] == choose_precision() else "fp32"
    here = describe_environment(precision, 1)
    is_same = all(here[key] == environment[key] for key in ("hardware", "precision")) and all(
        here["packages"].get(name) == environment["packages"].get(name) for name in NUMERIC_PACKAGES
    )
    return precision, is_same


def predict(stranger, table: datasets.Dataset, tta: str) -> tuple[dict, pd.DataFrame]:
    """Metrics and predictions of a table, by the code that measured the run."""
    with tempfile.TemporaryDirectory(prefix="hf_cifar_verify_") as scratch:
        place = (Path(scratch), torch.device("cpu"), "fp32")  # of this end; the stranger has its own
        metrics, _ = measure_tables(stranger, pass_on, {"test": table}, *place, tta)
        frame = read_predictions(next((Path(scratch) / "predictions").iterdir()))
    return metrics["test"], frame
