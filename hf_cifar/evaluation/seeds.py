"""Owns what several seeds of one recipe say together."""

import functools
import json
from pathlib import Path

from ..arguments import DataArguments, ModelArguments, RecipeArguments
from ..errors import UserError
from .results import read_results_file
from .statistics import summarize_group

FOLDER = "seeds"  # beside a published results.json: those of the recipe's other seeds, seed<N>.json
# What seeds may differ in: the data is compared by its hashes, and the rest changes no number.
OWN = ("seed", "overwrite_run", "dataset", "disable_tqdm", "logging_nan_inf_filter")


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
    """What two seeds of one recipe have in common.

    Options at their default are left out: a run of an earlier version does not have those that were added since.
    """
    recipe, defaults = results["recipe"], get_defaults()
    options = {
        key: value for key, value in recipe["options"].items()
        if key not in OWN and not (key in defaults and value == defaults[key])
    }  # fmt: skip
    common = {"data": results["data"]["hashes"], "precision": results["environment"]["precision"]}
    return {**recipe, "options": options, "command": None, "seed": None} | common


@functools.cache
def get_defaults() -> dict[str, object]:
    """The defaults of our own options, as JSON has them."""
    given = {
        key: value for kind in (DataArguments, ModelArguments, RecipeArguments) for key, value in vars(kind()).items()
    }
    return json.loads(json.dumps(given, default=str))


def group_seeds(results: list[dict]) -> list[list[int]]:
    """Positions of the runs that differ in nothing but the seed, each group in the given order.

    A second run of one recipe with the same seed is a group of its own: it adds no seed.
    """
    groups: list[list[int]] = []
    recipes = [json.dumps(describe_options(each), sort_keys=True) for each in results]
    for i, each in enumerate(results):
        for group in groups:
            seeds = [results[j]["recipe"]["seed"] for j in group]
            if recipes[group[0]] == recipes[i] and each["recipe"]["seed"] not in seeds:
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def summarize_seeds(runs: list[dict], section: str = "metrics") -> dict[str, float] | None:
    """Test accuracy over seeds.

    Args:
        runs: results of one recipe.
        section: "metrics", or "metrics_tta" for those with test-time augmentation.

    Returns:
        See `summarize_group`; None for fewer than two runs, or where one lacks the section.
    """
    if len(runs) < 2 or not all(section in run for run in runs):
        return None
    return summarize_group([run[section]["test"]["accuracy"]["value"] for run in runs])
