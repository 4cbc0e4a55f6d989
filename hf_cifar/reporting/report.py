"""Owns the comparison's folder: comparison.json, report in Markdown and HTML, slides, figures; and pages in HTML."""

import base64
import dataclasses
import html
import mimetypes
import re
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ..data.table import ImageData
from ..evaluation.comparison import Run, compare_runs, group_runs
from ..evaluation.inference import measure_inference
from ..files import write_json, write_text, write_then_rename
from . import comparison_text as text
from .comparison_figures import draw_comparison
from .figures import draw_class_scores, draw_learning_curves, save_figure
from .formatting import escape, make_templates

if TYPE_CHECKING:
    from .understanding import Understanding

TEMPLATES = make_templates("hf_cifar.reporting")
TEMPLATES.filters |= {"table": text.format_markdown, "escape": escape}
REPORT_FILES = ("comparison.json", "report.md", "report.html", "slides.pptx", "figures")
CONTENTS_FROM = 4  # sections; a shorter page needs no table of contents


def report_runs(
    runs: list[Run],
    data: ImageData,
    folder: Path,
    curve: list[Run] | None = None,
    reference_data: str | None = None,
    load_models: bool = True,
) -> tuple[dict, dict[str, Path]]:
    """Compare runs and write everything about them.

    Args:
        runs, curve: see `compare_runs`; the first seed of each recipe is shown.
        data: that they were tested on.
        folder: see `write_comparison`.
        reference_data: see `understand`.
        load_models: time the models, and show where they look; without it only their results are read.

    Returns:
        The comparison, and the paths of what was written.
    """
    from .understanding import understand  # it draws with what is in here

    models = group_runs(runs)
    shown = [dataclasses.replace(seeds[0], name=name) for name, seeds in models.items()]
    inference = measure_inference(shown) if load_models else None
    comparison = compare_runs(runs, inference, curve)
    understanding = understand(shown, data, reference_data, load_models)
    return comparison, write_comparison(comparison, shown, understanding, data, folder)


def write_comparison(
    comparison: dict, runs: list[Run], understanding: "Understanding", data: ImageData, folder: Path
) -> dict[str, Path]:
    """Write everything that is in `REPORT_FILES`; the verdicts are the comparison's, here they are only shown.

    Args:
        comparison: as `compare_runs` makes it.
        runs: those that it compares; learning curves, scores per class and recipes are read from them.
        understanding: figures and facts about the predictions; the facts become a part of comparison.json.
        data: the dataset that they were tested on, for pictures of the classes.
        folder: replaced as a whole when everything is written; see `check_output_folder`.

    Returns:
        The paths of the files: "comparison", "markdown", "html" and "slides".
    """
    from .slides import write_slides  # python-pptx takes a second to import, and pages of data need none

    comparison = comparison | {"understanding": understanding.facts}
    shown = find_shown_runs(comparison, runs)
    figures, captions = draw_comparison(comparison)
    for name, (figure, caption) in draw_runs(shown, set(understanding.figures)).items():
        figures[name], captions[name] = figure, caption
    captions |= {name: understanding.captions.get(name, name.replace("_", " ")) for name in understanding.figures}
    with write_then_rename(folder, replace_folder=True) as temporary:
        for name, figure in (figures | understanding.figures).items():
            save_figure(figure, temporary / "figures" / f"{name}.png")
        content = render_markdown(comparison, shown, set(figures), list(understanding.figures), captions)
        write_json(temporary / "comparison.json", comparison)
        write_text(temporary / "report.md", content)
        write_text(temporary / "report.html", render_html(content, temporary))
        write_slides(temporary / "slides.pptx", comparison, shown, understanding.figures, data)
    keys = ("comparison", "markdown", "html", "slides")
    return {key: folder / name for key, name in zip(keys, REPORT_FILES, strict=False)}


def find_shown_runs(comparison: dict, runs: list[Run]) -> dict[str, Run]:
    """By model, the run that its numbers are of."""
    folders = {str(run.folder): run for run in runs}
    names = {run.name: run for run in reversed(runs)}
    found = {model["name"]: folders.get(str(model["run"]), names.get(model["name"])) for model in comparison["models"]}
    return {name: run for name, run in found.items() if run is not None}


def draw_runs(shown: dict[str, Run], drawn: set[str]) -> dict[str, tuple]:
    """Learning curves and scores per class, unless they are `drawn`, with their captions."""
    short = text.shorten_names(shown, 40)
    histories = {short[name]: run.results["history"] for name, run in shown.items() if run.results["history"]}
    drawings = {}
    if histories and "learning_curves" not in drawn:
        caption = "Label smoothing, where a recipe uses it, is in both losses: losses of two recipes do not compare."
        drawings["learning_curves"] = (draw_learning_curves(histories), caption)
    scores = {short[name]: run.results["metrics"]["test"]["per_class"] for name, run in shown.items()}
    if scores and "class_scores" not in drawn:
        drawings["class_scores"] = (draw_class_scores(scores), "F1 of each class on the test images.")
    return drawings


def render_markdown(
    comparison: dict, shown: dict[str, Run], figures: set[str], understood: list[str], captions: dict[str, str]
) -> str:
    """report.md from the template."""
    return TEMPLATES.get_template("comparison.md.j2").render(
        comparison=comparison,
        runs=shown,
        title=text.make_title(comparison, 80),
        summary=text.summarize(comparison),
        scores=text.make_score_rows(comparison),
        costs=text.make_cost_rows(comparison),
        pairs=text.make_pair_rows(comparison),
        tradeoffs=text.make_tradeoff_rows(comparison),
        robustness=text.make_robustness_rows(comparison),
        curve=text.make_curve_rows(comparison),
        recipes=make_recipe_rows(shown),
        limits=text.list_limits(comparison),
        steps=text.list_next_steps(comparison),
        figures=figures,
        understood=understood,
        captions=captions,
    )


def make_recipe_rows(shown: dict[str, Run]) -> text.Rows:
    """How each run was made."""
    rows = {name: [name] for name in ("", "command", "selection", "seed", "test-time augmentation", "images to train, "
            "validate, test", "data", "hardware", "precision", "date", "commit", "versions")}  # fmt: skip
    for name, run in shown.items():
        recipe, data, environment = (run.results[key] for key in ("recipe", "data", "environment"))
        sizes, packages = data["sizes"], environment["packages"]
        cells = (
            name, recipe["command"], recipe["selection"], recipe["seed"], recipe["tta"],
            f"{sizes['train']:,}, {sizes['validation']:,}, {sizes['test']:,}", data["source"], environment["hardware"],
            environment["precision"], environment["date"][:10], (environment["commit"] or "unknown")[:12],
            ", ".join(f"{each} {packages[each]}" for each in ("torch", "transformers") if each in packages),
        )  # fmt: skip
        for row, cell in zip(rows.values(), cells, strict=True):
            row.append(str(cell))
    return list(rows.values())


def format_table(comparison: dict) -> str:
    """The models as plain text, and what may be concluded."""
    rows = text.make_score_rows(comparison, ("macro_f1",)) + text.make_cost_rows(comparison)[1:]
    names = {
        "": "", "accuracy": "accuracy", "with test-time augmentation": "augmented", "macro F1": "macro F1",
        "mean ± deviation (seeds)": "over seeds", "training time": "training", "parameters": "parameters",
        "latency, one image": "latency", "inference, images/s in batches of 64": "images/s",
    }  # fmt: skip
    columns = [[names[row[0]], *row[1:]] for row in rows if row[0] in names]
    rows = [list(row) for row in zip(*columns, strict=True)]
    lines = [text.format_plain(rows), "", *text.summarize(comparison)]
    if comparison["data"]["is_sample"]:
        lines.append(
            "NOTE: measured on the bundled sample, not on CIFAR-10; these numbers say nothing about the models."
        )
    return "\n".join(lines)


def render_html(content: str, folder: Path) -> str:
    """Markdown to one self-contained HTML page; pictures named relative to `folder` are embedded.

    Sections have anchors and, where there are several, a table of contents; wide tables scroll in a box of their own.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(content)
    sections = mark_sections(tokens)
    body = markdown.renderer.render(tokens, markdown.options, {})
    body = body.replace("<table>", '<div class="table" tabindex="0"><table>').replace("</table>", "</table></div>")

    def embed(match: re.Match) -> str:
        path = folder / match[1]
        return f'src="data:{mimetypes.guess_type(path)[0]};base64,{base64.b64encode(path.read_bytes()).decode()}"'

    title = next(line for line in content.splitlines() if line.startswith("# ")).removeprefix("# ")
    return TEMPLATES.get_template("page.html.j2").render(
        title=re.sub(r"\\(.)", r"\1", title),
        sections=sections if len(sections) >= CONTENTS_FROM else [],
        body=re.sub(r'src="(figures/[^"]+)"', embed, body),
    )


def mark_sections(tokens: list[Token]) -> list[tuple[str, str]]:
    """Give second-level headings anchors; returns anchors and names, the names as HTML."""
    sections = []
    for opening, heading in zip(tokens, tokens[1:], strict=False):
        if opening.type == "heading_open" and opening.tag == "h2":
            name = "".join(child.content for child in heading.children or [])
            anchor = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or f"section-{len(sections)}"
            opening.attrSet("id", anchor)
            sections.append((anchor, html.escape(name)))
    return sections
