"""Owns model cards: generated from results.json and nothing else."""

from pathlib import Path

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..files import write_text

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("hf_cifar.publishing"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,
)


def render_card(results: dict) -> str:
    """A model card as Markdown with its metadata, from one run's results."""
    data, test, model = results["data"], results["metrics"]["test"], results["model"]
    dataset = "CIFAR-10" if data["name"] == "cifar10" else "sample of CIFAR-10"
    metadata = ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="image-classification",
        datasets=["uoft-cs/cifar10"],
        tags=["hf_cifar", model["type"]],
        model_name=model["name"],
        # The Hub would list the numbers of a sample as CIFAR-10's.
        eval_results=list_eval_results(test) if data["name"] == "cifar10" else None,
    )
    body = TEMPLATES.get_template("card.md.j2").render(results=results, dataset=dataset)
    card = ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{body}")
    return str(card)


def list_eval_results(test: dict) -> list[EvalResult]:
    """The test metrics as the Hub's `model-index` has them."""
    scores = {"accuracy": test["accuracy"], **test["macro"]}
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type="uoft-cs/cifar10",
            dataset_name="CIFAR-10",
            dataset_split="test",
            metric_type=name,
            metric_value=estimate["value"],
        )
        for name, estimate in scores.items()
    ]


def write_card(folder: Path, results: dict) -> None:
    """Write a run's README.md."""
    write_text(folder / "README.md", render_card(results))
