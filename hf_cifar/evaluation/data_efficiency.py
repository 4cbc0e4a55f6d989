"""Owns accuracy against the number of labels: runs at several budgets, grouped by recipe, and who is ahead where."""

import json
from collections.abc import Sequence
from itertools import combinations, groupby
from typing import TYPE_CHECKING

import numpy as np

from .seeds import describe_options
from .statistics import add_interval, adjust_holm, bootstrap_accuracies, compute_mcnemar, decide

if TYPE_CHECKING:
    from .comparison import Run

# Options that say how many labels there are, and those that follow from it: how long is trained, in which batches.
BUDGET = ("train_fraction", "images_per_class")
LENGTH = (
    "num_train_epochs", "max_steps", "warmup_steps", "per_device_train_batch_size", "early_stopping_patience",
    "whitening_bias_epochs",
)  # fmt: skip


def describe_curve(runs: Sequence["Run"]) -> dict:
    """`data_efficiency` of comparison.json.

    Args:
        runs: on one test set, of one recipe or more, at several numbers of training images.

    Returns:
        `points`: a group's accuracy at one number of images, the mean of its seeds, with the interval over test
        images; `groups`, by name; `comparisons`: the verdict on two groups at each number of images that both have,
        by McNemar's exact test on their first seeds after Holm's correction for all of them; `sentences`.
    """
    groups: dict[str, dict[int, list[Run]]] = {}
    for members in group_recipes(runs):
        name = members[-1].results["model"]["name"]
        name = name if name not in groups else f"{name} ({members[-1].folder})"
        groups[name] = {size: list(same) for size, same in groupby(members, count_labels)}
    points = [
        {
            "name": f"{name}, {size:,} images", "group": name, "images": size, "seeds": len(same),
            "kind": "cnn" if same[0].results["model"]["base_model"] is None else "transfer",
        }
        for name, sizes in groups.items() for size, same in sizes.items()
    ]  # fmt: skip
    hits = np.array([np.mean([run.hits for run in same], 0) for sizes in groups.values() for same in sizes.values()])
    for point, mean, samples in zip(points, hits.mean(1), bootstrap_accuracies(hits).T, strict=True):
        point["accuracy"] = add_interval(mean, samples)
    comparisons = compare_budgets(groups)
    sentences = word_curve(points, list(groups), comparisons)
    return {"points": points, "groups": list(groups), "comparisons": comparisons, "sentences": sentences}


def group_recipes(runs: Sequence["Run"]) -> list[list["Run"]]:
    """Runs that differ in nothing but budget, length and seed, each group by ascending budget and seed.

    The curve is of predictions without test-time augmentation, so it does not matter which runs have it.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        recipe = describe_options(run.results)
        options = {key: value for key, value in recipe["options"].items() if key not in (*BUDGET, *LENGTH, "tta")}
        same = json.dumps({**recipe, "options": options, "tta": None}, sort_keys=True, default=str)
        groups.setdefault(same, []).append(run)
    return [
        sorted(members, key=lambda run: (count_labels(run), run.results["recipe"]["seed"]))
        for members in groups.values()
    ]


def count_labels(run: "Run") -> int:
    """Images that a run was trained on."""
    return run.results["data"]["sizes"]["train"]


def compare_budgets(groups: dict[str, dict[int, list["Run"]]]) -> list[dict]:
    """The verdict on the first of two groups at each budget that both have."""
    found = [
        {"first": first, "second": second, "images": size}
        for first, second in combinations(groups, 2)
        for size in sorted(groups[first].keys() & groups[second].keys())
    ]
    if not found:
        return []
    pairs = [[groups[each[key]][each["images"]][0].hits for key in ("first", "second")] for each in found]
    only = np.array([[(first & ~second).sum(), (second & ~first).sum()] for first, second in pairs])
    adjusted = adjust_holm(compute_mcnemar(*only.T))
    for each, counts, p_value in zip(found, only, adjusted, strict=True):
        each |= {"p_adjusted": float(p_value), "verdict": decide(p_value, *counts)}
    return found


def find_lead(comparisons: list[dict], groups: list[str], images: int) -> str | None:
    """The group that is better than each other one at a budget; None where none is."""
    for group in groups:
        won = {each["second"] for each in comparisons if is_won(each, images, group, "first", "better")}
        won |= {each["first"] for each in comparisons if is_won(each, images, group, "second", "worse")}
        if won == set(groups) - {group}:
            return group
    return None


def is_won(comparison: dict, images: int, group: str, side: str, verdict: str) -> bool:
    """Whether a group on this side of a comparison won it, at this budget."""
    return (comparison["images"], comparison[side], comparison["verdict"]) == (images, group, verdict)


def word_curve(points: list[dict], groups: list[str], comparisons: list[dict]) -> list[str]:
    """Who is ahead at the budgets that two groups share; nothing in between or beyond is guessed."""
    shares = {(point["group"], point["images"]): f"{100 * point['accuracy']['value']:.1f} %" for point in points}
    if len(groups) == 1:
        listing = "; ".join(f"{share} with {size:,}" for (_, size), share in shares.items())
        return [f"{groups[0]} by number of labels: {listing}."]
    sentences = []
    for first, second in combinations(groups, 2):
        chosen = [each for each in comparisons if (each["first"], each["second"]) == (first, second)]
        sentences += word_pair(first, second, chosen, shares)
    sizes = sorted({point["images"] for point in points})
    return [
        *sentences,
        f"Below {sizes[0]:,}, above {sizes[-1]:,} and between the numbers tried, nothing was measured.",
    ]


def word_pair(first: str, second: str, comparisons: list[dict], shares: dict[tuple[str, int], str]) -> list[str]:
    """Two groups: stretches of budgets with one verdict, and where the lead changes."""
    if not comparisons:
        return [f"{first} and {second} were not trained with the same number of labels, so they are not compared."]
    leaders = {"better": f"{first} is ahead", "worse": f"{second} is ahead", "tie": "a tie"}
    stretches = [list(same) for _, same in groupby(comparisons, key=lambda each: each["verdict"])]
    parts = []
    for stretch in stretches:
        sizes = [each["images"] for each in stretch]
        where = f"with {sizes[0]:,} labels" if len(sizes) == 1 else f"from {sizes[0]:,} to {sizes[-1]:,} labels"
        figures = "; ".join(f"{size:,}: {shares[first, size]} against {shares[second, size]}" for size in sizes)
        parts.append(f"{where} {leaders[stretch[0]['verdict']]} ({figures})")
    sentences = [f"{first} against {second}: {', '.join(parts)}."]
    for before, after in zip(stretches, stretches[1:], strict=False):
        sentences.append(
            f"Between {before[-1]['images']:,} and {after[0]['images']:,} labels the verdict changes; where, was not "
            "measured."
        )
    return sentences
