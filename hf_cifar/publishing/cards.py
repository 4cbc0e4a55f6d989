"""Owns model cards and the README's table: generated from results.json and nothing else."""

from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..files import write_text
from ..reporting.formatting import format_count, format_estimate, format_seconds, get_dataset_title, make_templates

TEMPLATES = make_templates("hf_cifar.publishing")


def render_card(results: dict) -> str:
    """A model card as Markdown with its metadata, from one run's results."""
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
    body = TEMPLATES.get_template("card.md.j2").render(results=results)
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


def render_table(runs: dict[str, dict]) -> str:
    """The README's table of results as Markdown.

    Args:
        runs: by folder name below model_cards/, a run's results.
    """
    rows = ["| model | test accuracy | macro F1 | trained in | parameters |", "|---|---|---|---|---|"]
    for name, results in runs.items():
        test, cost, model = results["metrics"]["test"], results["cost"], results["model"]
        cells = (
            f"[{model['name']}](model_cards/{name})",
            format_estimate(test["accuracy"]),
            format_estimate(test["macro"]["f1"]),
            format_seconds(cost["train_seconds"] + cost["feature_seconds"]),
            format_count(model["parameters"]),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def write_card(folder: Path, results: dict) -> None:
    """Write a run's README.md."""
    write_text(folder / "README.md", render_card(results))
