"""Owns model cards and the README's table: generated from results.json and nothing else."""

from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..errors import UserError
from ..evaluation.seeds import summarize_seeds
from ..files import write_text
from ..reporting.formatting import (
    format_count,
    format_estimate,
    format_seconds,
    format_spread,
    get_dataset_title,
    make_templates,
)

TEMPLATES = make_templates("hf_cifar.publishing")


def render_card(results: dict, seeds: list[dict] | None = None) -> str:
    """A model card as Markdown with its metadata, from one run's results.

    Args:
        results: the run's.
        seeds: results of all seeds of its recipe, its own among them, see `read_seeds`.
    """
    data, test, model = results["data"], results["metrics"]["test"], results["model"]
    metadata = ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="image-classification",
        datasets=[hub_id] if (hub_id := find_hub_id(data["name"])) else None,
        tags=["hf_cifar", model["type"]],
        model_name=model["name"],
        # The Hub would list the numbers of a sample as CIFAR-10's.
        eval_results=list_eval_results(test, data["name"]) if hub_id and data["name"] != "cifar10-sample" else None,
    )
    body = TEMPLATES.get_template("card.md.j2").render(
        results=results, spreads=[summarize_seeds(seeds or [], section) for section in ("metrics", "metrics_tta")]
    )
    card = ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{body}")
    return str(card)


def find_hub_id(name: str) -> str | None:
    """The Hub's id of a dataset in results.json; None for a local one."""
    known = {"cifar10": "uoft-cs/cifar10", "cifar10-sample": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}
    return known.get(name, name if "/" in name else None)


def list_eval_results(test: dict, dataset: str) -> list[EvalResult]:
    """The test metrics as the Hub's `model-index` has them."""
    scores = {"accuracy": test["accuracy"], **test["macro"]}
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=find_hub_id(dataset),
            dataset_name=get_dataset_title(dataset),
            dataset_split="test",
            metric_type=name,
            metric_name=name if name == "accuracy" else f"macro {name}",
            metric_value=estimate["value"],
        )
        for name, estimate in scores.items()
    ]


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


def write_card(folder: Path, results: dict) -> None:
    """Write a run's README.md."""
    write_text(folder / "README.md", render_card(results))
