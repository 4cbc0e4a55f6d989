"""Owns model cards and the README's table: generated from results.json and nothing else."""

from collections.abc import Collection
from pathlib import Path

from huggingface_hub import ModelCard

from ..errors import UserError
from ..evaluation.seeds import summarize_seeds
from ..files import write_text
from ..reporting.comparison_text import format_markdown
from ..reporting.formatting import (
    escape,
    format_count,
    format_estimate,
    format_exports,
    format_seconds,
    format_spread,
    make_templates,
)
from . import card_procedure, card_text
from .card_metadata import build_metadata, write_extras
from .provenance import find_base_id, find_licence, list_citations

TEMPLATES = make_templates("hf_cifar.publishing")
TEMPLATES.filters |= {"table": format_markdown, "escape": escape, "exports": format_exports}
FIGURES = ("confusion_matrix", "learning_curves")  # of a run, see `write_run_figures`


def render_card(
    results: dict, seeds: list[dict] | None = None, comparison: str = "", figures: Collection[str] = FIGURES
) -> str:
    """A model card as Markdown with its metadata, from one run's results.

    Args:
        results: the run's.
        seeds: results of all seeds of its recipe, its own among them, see `read_seeds`.
        comparison: with other models, see `siblings.py`; empty for none.
        figures: those of `FIGURES` that the run's folder has.
    """
    spreads = [summarize_seeds(seeds or [], section) for section in ("metrics", "metrics_tta")]
    base_model = results["model"]["base_model"]
    body = TEMPLATES.get_template("card.md.j2").render(
        results=results,
        text=card_text,
        procedure=card_procedure,
        spreads=spreads,
        comparison=comparison,
        figures=figures,
        limitations=card_text.list_limitations(results, has_seeds=spreads[0] is not None),
        base_id=find_base_id(base_model),
        licence=find_licence(base_model),
        citations=list_citations(results),
    )
    return str(ModelCard(f"---\n{build_metadata(results).to_yaml()}\n---\n\n{body}"))


def write_card(folder: Path, results: dict, seeds: list[dict] | None = None, comparison: str = "") -> None:
    """Write a run's README.md, and the files that its metadata speak of; for the arguments see `render_card`."""
    write_extras(folder, results)
    figures = [name for name in FIGURES if (folder / "figures" / f"{name}.png").is_file()]
    write_text(folder / "README.md", render_card(results, seeds, comparison, figures))


def render_table(runs: dict[str, list[dict]]) -> str:
    """The README's table of results as Markdown.

    Args:
        runs: by folder name below model_cards/, the results of a run and of its recipe's other seeds.
    """
    rows = [
        "| model | test accuracy | with TTA | mean of seeds: without, with | macro F1 | trained in | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, seeds in runs.items():
        results = seeds[0]
        test, cost, model = results["metrics"]["test"], results["cost"], results["model"]
        spreads = [summarize_seeds(seeds, section) for section in ("metrics", "metrics_tta")]
        cells = (
            f"[{model['name']}](model_cards/{name})",
            format_estimate(test["accuracy"]),
            format_estimate(results["metrics_tta"]["test"]["accuracy"]) if "metrics_tta" in results else "–",
            ", ".join(format_spread(spread) for spread in spreads if spread) or "one seed",
            format_estimate(test["macro"]["f1"]),
            format_seconds(cost["train_seconds"] + cost["feature_seconds"]),
            format_count(model["parameters"]),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def put_between_marks(text: str, name: str, content: str) -> str:
    """Replace what stands between the comments `<!-- name -->` and `<!-- end of name -->` of a Markdown text.

    Raises:
        UserError: A mark is missing.
    """
    start, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    if start not in text or end not in text.split(start, 1)[1]:
        raise UserError(f"there are no marks {start.strip()} and {end.strip()}; put them around what is generated")
    before, rest = text.split(start, 1)
    return before + start + content + end + rest.split(end, 1)[1]
