"""Owns comparing finished runs: same test images or nothing, and differences with paired intervals."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..arguments import SourceArguments
from ..data.table import ImageData, load_data
from ..errors import UserError
from .metrics import RESAMPLES
from .predictions import get_probabilities, read_predictions
from .results import get_source, read_results
from .statistics import add_interval


@dataclass
class Run:
    """A finished run: its name, folder, results.json and test predictions."""

    name: str
    folder: Path
    results: dict
    predictions: pd.DataFrame

    @property
    def predicted(self) -> np.ndarray:
        """Predicted class numbers (N,)."""
        return get_probabilities(self.predictions).argmax(-1)


def load_runs(folders: list[str]) -> list[Run]:
    """Read runs and check that they can be compared.

    Raises:
        UserError: Fewer than two, one is not finished, or their test images differ.
    """
    if len(folders) < 2:
        raise UserError(f"{len(folders)} run given; a comparison needs at least two run folders")
    runs = []
    for folder in map(Path, folders):
        results = read_results(folder)
        predictions = read_predictions(folder / "predictions" / "test.parquet")
        runs.append(Run(results["model"]["name"], folder, results, predictions))
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise UserError(f"a run folder is given twice ({', '.join(folders)}); give each once")
    names = [run.name for run in runs]
    for run in runs:  # two runs of one recipe are told apart by their folders
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


def compare_pair(run: Run, other: Run, seed: int = 0) -> dict[str, object]:
    """Accuracy of `run` minus that of `other`, with a paired bootstrap interval.

    Resampling images with replacement draws from four cells (both right, one right, the other, neither), so it is one
    multinomial draw per resample.

    Returns:
        `difference` with its interval; counts `only_first`, `only_second`, `both`, `neither`; `verdict`:
        "better", "worse" or "tie".
    """
    labels = run.predictions["label"].to_numpy()
    right, other_right = run.predicted == labels, other.predicted == labels
    cells = (right & ~other_right, ~right & other_right, right & other_right, ~right & ~other_right)
    counts = np.array([cell.sum() for cell in cells])
    total = counts.sum()
    draws = np.random.default_rng(seed).multinomial(total, counts / total, size=RESAMPLES)
    difference = add_interval((counts[0] - counts[1]) / total, (draws[:, 0] - draws[:, 1]) / total)
    verdict = "better" if difference["low"] > 0 else "worse" if difference["high"] < 0 else "tie"
    names = ("only_first", "only_second", "both", "neither")
    return {"difference": difference, "verdict": verdict, **dict(zip(names, map(int, counts), strict=True))}


def find_confusions(matrix: list[list[int]], class_names: list[str], count: int = 3) -> list[tuple[str, str, int]]:
    """The most frequent confusions: true class, predicted class, images."""
    cells = [
        (class_names[row], class_names[column], int(value))
        for (row, column), value in np.ndenumerate(np.array(matrix))
        if row != column and value
    ]
    return sorted(cells, key=lambda cell: -cell[2])[:count]
