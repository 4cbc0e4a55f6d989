"""Owns the comparison report: Markdown from a template, HTML from the Markdown, figures beside them."""

import base64
import itertools
import mimetypes
import re
from pathlib import Path

import numpy as np
from markdown_it import MarkdownIt

from ..data.store import read_images
from ..data.table import ImageData
from ..evaluation.comparison import Run, compare_pair, find_confusions
from ..evaluation.predictions import get_probabilities
from ..files import write_text, write_then_rename
from . import figures
from .formatting import format_count, format_estimate, format_seconds, make_templates

TEMPLATES = make_templates("hf_cifar.reporting")
SAMPLES_PER_GROUP = 6
REPORT_FILES = ("report.md", "report.html", "figures")


def write_comparison(runs: list[Run], data: ImageData, folder: Path) -> dict[str, Path]:
    """Write `report.md`, `report.html` (self-contained) and `figures/`.

    Args:
        runs: two or more, on the same test set.
        data: the dataset that they were tested on, for pictures.
        folder: replaced as a whole when everything is written; see `check_output_folder`.

    Returns:
        The paths of `report.md` and `report.html`.
    """
    class_names = runs[0].results["data"]["class_names"]
    tests = {run.name: run.results["metrics"]["test"] for run in runs}
    drawings = {
        "learning_curves": figures.draw_learning_curves({run.name: run.results["history"] for run in runs}),
        "class_scores": figures.draw_class_scores({name: test["per_class"] for name, test in tests.items()}),
        "confusion_matrices": figures.draw_confusion_matrices(
            {name: test["confusion_matrix"] for name, test in tests.items()}, class_names
        ),
        "sample_predictions": draw_samples(runs, data),
    }
    text = TEMPLATES.get_template("comparison.md.j2").render(
        runs=runs,
        pairs=[(a, b, compare_pair(a, b)) for a, b in itertools.combinations(runs, 2)],
        confusions={run.name: find_confusions(tests[run.name]["confusion_matrix"], class_names) for run in runs},
        leads=find_class_leads(runs[0], runs[1]),
        is_sample=data.is_sample,
        class_names=class_names,
    )
    with write_then_rename(folder, replace_folder=True) as temporary:
        for name, figure in drawings.items():
            figures.save_figure(figure, temporary / "figures" / f"{name}.png")
        write_text(temporary / "report.md", text)
        write_text(temporary / "report.html", render_html(text, temporary))
    return {"markdown": folder / "report.md", "html": folder / "report.html"}


def format_table(runs: list[Run]) -> str:
    """The runs side by side as plain text."""
    rows = [("", "test accuracy", "macro F1", "training", "parameters", "images/s")]
    for run in runs:
        test, cost = run.results["metrics"]["test"], run.results["cost"]
        rows.append(
            (
                run.name,
                format_estimate(test["accuracy"]),
                format_estimate(test["macro"]["f1"]),
                format_seconds(cost["train_seconds"] + cost["feature_seconds"]),
                format_count(run.results["model"]["parameters"]),
                f"{cost['test_images_per_second']:.0f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if runs[0].results["data"]["name"] == "cifar10-sample":
        lines.append(
            "NOTE: measured on the bundled sample, not on CIFAR-10; these numbers say nothing about the models."
        )
    return "\n".join(lines)


def find_class_leads(run: Run, other: Run) -> dict[str, tuple[str, float]]:
    """For each of two runs, the class whose F1 leads the other's most, and by how much; left out where none leads."""
    scores = [
        {name: row["f1"]["value"] for name, row in each.results["metrics"]["test"]["per_class"].items()}
        for each in (run, other)
    ]
    leads = {name: scores[0][name] - scores[1][name] for name in scores[0]}
    best, worst = max(leads, key=leads.get), min(leads, key=leads.get)
    result = {run.name: (best, leads[best])} if leads[best] > 0 else {}
    return result | ({other.name: (worst, -leads[worst])} if leads[worst] < 0 else {})


def draw_samples(runs: list[Run], data: ImageData):
    """Test images that all runs miss, that one alone gets right, and that all get right."""
    labels = runs[0].predictions["label"].to_numpy()
    right = np.stack([run.predicted == labels for run in runs])  # (R, N)
    groups = {"all right": right.all(0)}
    groups |= {f"only {run.name}": right[i] & (right.sum(0) == 1) for i, run in enumerate(runs)}
    groups["all wrong"] = ~right.any(0)
    chosen, headings = [], []
    for heading, mask in groups.items():
        rows = np.flatnonzero(mask)[:SAMPLES_PER_GROUP]
        chosen += rows.tolist()
        headings += [heading] * len(rows)
    names = data.class_names
    predictions = {}
    for run in runs:
        probabilities = get_probabilities(run.predictions)[chosen]
        predictions[run.name] = [(names[row.argmax()], float(row.max())) for row in probabilities]
    truths = [names[label] for label in labels[chosen]]
    return figures.draw_sample_predictions(read_images(data.test)[chosen], truths, predictions, headings)


def render_html(text: str, folder: Path) -> str:
    """Markdown to one self-contained HTML page; pictures named relative to `folder` are embedded."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)

    def embed(match: re.Match) -> str:
        path = folder / match[1]
        return f'src="data:{mimetypes.guess_type(path)[0]};base64,{base64.b64encode(path.read_bytes()).decode()}"'

    title = next(line for line in text.splitlines() if line.startswith("# ")).removeprefix("# ")
    page = TEMPLATES.get_template("page.html.j2").render(
        title=title, body=re.sub(r'src="(figures/[^"]+)"', embed, body)
    )
    return page
