"""Owns a card's comparison with other models that were tested on the same images."""

from collections.abc import Sequence

from ..evaluation.comparison import Run
from ..evaluation.statistics import compare_models
from ..reporting.comparison_text import MISSING, format_markdown
from ..reporting.formatting import format_count, format_estimate, format_seconds

HEADING = ["model", "accuracy", "with TTA", "parameters", "trained in", "against this model"]


def compare_by_intervals(results: dict, others: Sequence[dict]) -> str:
    """A comparison in Markdown where only results are at hand; empty where no other has the same test images."""
    test = results["data"]["hashes"]["test"]
    others = [other for other in others if other["data"]["hashes"]["test"] == test and other is not results]
    if not others:
        return ""
    own, verdicts = results["metrics"]["test"]["accuracy"], {}
    for place, other in enumerate(others):
        accuracy = other["metrics"]["test"]["accuracy"]
        higher, lower = accuracy["low"] > own["high"], accuracy["high"] < own["low"]
        verdicts[place] = "higher" if higher else "lower" if lower else "not told apart"
    return make_table(results, others, verdicts) + (
        "The last column is of accuracy, and goes by whether the two 95 % intervals overlap. They are not paired by "
        "image, so a small difference may be missed; `recipes/compare.py RUN RUN` pairs them."
    )


def compare_by_images(runs: Sequence[Run], place: int) -> str:
    """A comparison in Markdown of the run at a place with the others, image by image; empty where it is alone."""
    if len(runs) < 2:
        return ""
    others = [run for number, run in enumerate(runs) if number != place]
    # This model is last, so it is the second of each of its pairs, which then speak of the other's lead.
    hits = {number: run.hits for number, run in enumerate((*others, runs[place]))}
    verdicts = {}
    for pair in compare_models(hits):
        if pair["second"] == len(others):
            value, low, high = (100 * pair["difference"][key] for key in ("value", "low", "high"))
            verdicts[pair["first"]] = f"{pair['verdict']}: {value:+.2f} points [{low:+.2f}, {high:+.2f}]"
    return make_table(runs[place].results, [run.results for run in others], verdicts) + (
        "The last column is of accuracy, image by image: McNemar's exact test after Holm's correction, at 5 %. A tie "
        "means that these images do not tell which is better."
    )


def make_table(results: dict, others: Sequence[dict], verdicts: dict[int, str]) -> str:
    """This model and the others, the most accurate first, and a word on their hardware."""
    rows = [(results, "this model"), *((other, verdicts[place]) for place, other in enumerate(others))]
    rows.sort(key=lambda row: -row[0]["metrics"]["test"]["accuracy"]["value"])
    table = [HEADING]
    for each, verdict in rows:
        tta, cost, model = each.get("metrics_tta"), each["cost"], each["model"]
        table.append(
            [
                model["name"],
                format_estimate(each["metrics"]["test"]["accuracy"]),
                format_estimate(tta["test"]["accuracy"]) if tta else MISSING,
                format_count(model["parameters"]),
                format_seconds(cost["train_seconds"] + cost["feature_seconds"]),
                verdict,
            ]
        )
    hardware = {each["environment"]["hardware"] for each, _ in rows}
    note = "" if len(hardware) == 1 else "Times are of different hardware or numbers of threads. "
    return f"{format_markdown(table)}\n\nOne run of each, on the same test images. {note}"
