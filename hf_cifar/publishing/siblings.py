"""Owns a card's comparison with other models that were tested on the same images."""

from collections.abc import Sequence

from ..evaluation.comparison import Run
from ..evaluation.statistics import compare_models
from ..reporting.comparison_text import MISSING, format_markdown
from ..reporting.formatting import format_count, format_estimate, format_seconds

OPPOSITE = {"better": "worse", "worse": "better", "tie": "tie"}
HEADING = ["model", "accuracy", "with TTA", "parameters", "trained in", "its accuracy against this model's"]


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
        "\n\nOne run of each, on the same test images. The last column goes by whether the two 95 % intervals "
        "overlap; they are not paired by image, so a small difference may be missed. `recipes/compare.py RUN RUN` pairs them."
    )


def compare_by_images(runs: Sequence[Run], place: int) -> str:
    """A comparison in Markdown of the run at a place with the others, image by image; empty where it is alone."""
    if len(runs) < 2:
        return ""
    others = [number for number in range(len(runs)) if number != place]
    verdicts = {}
    for pair in compare_models({str(number): run.hits for number, run in enumerate(runs)}):
        numbers, text = (int(pair["first"]), int(pair["second"])), "{difference:+.2f} points [{low:+.2f}, {high:+.2f}]"
        if place in numbers:
            is_first = numbers[0] == place  # the pair's difference is the first's lead
            sign = -1 if is_first else 1
            ends = sorted(sign * 100 * pair["difference"][key] for key in ("low", "high"))
            value = sign * 100 * pair["difference"]["value"]
            verdict = OPPOSITE[pair["verdict"]] if is_first else pair["verdict"]
            verdicts[others.index(numbers[1] if is_first else numbers[0])] = (
                f"{verdict}: {text.format(difference=value, low=ends[0], high=ends[1])}"
            )
    table = make_table(runs[place].results, [runs[number].results for number in others], verdicts)
    return table + (
        "\n\nOne run of each, on the same test images, compared image by image: McNemar's exact test after Holm's "
        "correction, at 5 %. A tie means that these images do not tell which is better."
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
    note = "" if len(hardware) == 1 else "\n\nTimes are of different hardware or numbers of threads."
    return format_markdown(table) + note
