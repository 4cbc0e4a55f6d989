"""Owns what several seeds of one recipe say together."""

import statistics
from pathlib import Path

from ..errors import UserError
from .results import read_results_file

FOLDER = "seeds"  # beside a published results.json: those of the recipe's other seeds, seed<N>.json


def read_seeds(folder: Path, results: dict) -> list[dict]:
    """The results of all seeds of a published run, its own first.

    Raises:
        UserError: A seed's file is damaged, or is of another recipe, data or seed than it should be.
    """
    runs = [results]
    for path in sorted((folder / FOLDER).glob("seed*.json")):
        other = read_results_file(path)
        if describe_options(other) != describe_options(results):
            raise UserError(f"{path} is of another recipe than {folder}/results.json; make the run again")
        if other["recipe"]["seed"] in [run["recipe"]["seed"] for run in runs]:
            raise UserError(f"{path} has seed {other['recipe']['seed']}, as another run of {folder}; keep one of them")
        runs.append(other)
    return runs


def describe_options(results: dict) -> dict:
    """What two seeds of one recipe have in common."""
    recipe = results["recipe"]
    own = ("seed", "overwrite_run", "dataset", "disable_tqdm")  # the data is compared by its hashes
    options = {key: value for key, value in recipe["options"].items() if key not in own}
    common = {"data": results["data"]["hashes"], "precision": results["environment"]["precision"]}
    return {**recipe, "options": options, "command": None, "seed": None} | common


def summarize_seeds(runs: list[dict], section: str = "metrics") -> dict[str, float] | None:
    """Mean and standard deviation (with n - 1) of test accuracy over seeds.

    Args:
        runs: results of one recipe.
        section: "metrics", or "metrics_tta" for those with test-time augmentation.

    Returns:
        `mean`, `deviation`, `count`; None for fewer than two runs, or where one lacks the section.
    """
    if len(runs) < 2 or not all(section in run for run in runs):
        return None
    values = [run[section]["test"]["accuracy"]["value"] for run in runs]
    return {"mean": statistics.mean(values), "deviation": statistics.stdev(values), "count": len(values)}
