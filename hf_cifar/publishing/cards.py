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
    values = {
        "accuracy": test["accuracy"]["value"],
        **{name: test["macro"][name]["value"] for name in ("precision", "recall", "f1")},
    }
    metadata = ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="image-classification",
        datasets=["uoft-cs/cifar10"],
        tags=["hf_cifar", model["type"]],
        model_name=model["name"],
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type="uoft-cs/cifar10",
                dataset_name=dataset,
                dataset_split="test",
                metric_type=name,
                metric_value=value,
            )
            for name, value in values.items()
        ],
    )
    body = TEMPLATES.get_template("card.md.j2").render(results=results, dataset=dataset)
    card = ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{body}")
    return str(card)


def write_card(folder: Path, results: dict) -> None:
    """Write a run's README.md."""
    write_text(folder / "README.md", render_card(results))
