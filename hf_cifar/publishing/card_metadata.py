"""Owns what the Hub's machines read of a model: a card's metadata, evaluation results, example pictures."""

import functools
import io
from pathlib import Path

import pandas as pd
import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from PIL import Image

from ..data.constants import CLASS_NAMES
from ..data.sources import SAMPLE_FOLDER
from ..files import write_text, write_then_rename
from ..reporting.formatting import get_dataset_title
from .provenance import find_base_id, find_licence

EVAL_FOLDER = ".eval_results"
EVAL_FILES = {"metrics": "hf_cifar.yaml", "metrics_tta": "hf_cifar_tta.yaml"}  # the Hub wants a file per way
NUM_EXAMPLES = 3
CIFAR10 = ("cifar10", "cifar10-sample")  # names in results.json


def build_metadata(results: dict) -> ModelCardData:
    """The metadata of a model card."""
    data, model = results["data"], results["model"]
    base_id, hub_id = find_base_id(model["base_model"]), find_hub_id(data["name"])
    base = {"base_model": base_id, "base_model_relation": "finetune"} if base_id else {}
    is_indexed = is_listed(data["name"])
    index = {"model_name": model["name"], "eval_results": list_eval_results(results)} if is_indexed else {}
    widget = [
        {"src": f"figures/{name}", "example_title": title.capitalize()}
        for title, name in name_examples(data["name"]).items()
    ]
    return ModelCardData(
        **find_licence(model["base_model"]).metadata,
        **base,
        **({"widget": widget} if widget else {}),
        library_name="transformers",
        pipeline_tag="image-classification",
        datasets=[hub_id] if hub_id else None,
        metrics=["accuracy", "precision", "recall", "f1"],
        tags=list(dict.fromkeys(["hf_cifar", "vision", model["type"], model["architecture"]])),
        **index,
    )


def find_hub_id(name: str) -> str | None:
    """The Hub's id of a dataset in results.json; None for a local one."""
    known = {"cifar10": "uoft-cs/cifar10", "cifar10-sample": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}
    return known.get(name, name if "/" in name else None)


def is_listed(name: str) -> bool:
    """Whether the Hub may list results on a dataset; those of a sample it would list as CIFAR-10's."""
    return find_hub_id(name) is not None and name != "cifar10-sample"


def list_eval_results(results: dict) -> list[EvalResult]:
    """The test metrics as the Hub's `model-index` has them, unrounded."""
    dataset, test = results["data"]["name"], results["metrics"]["test"]
    scores = [("accuracy", "accuracy", test["accuracy"])]
    if "metrics_tta" in results:
        scores += [("accuracy", f"accuracy with TTA ({results['recipe']['tta']})",
                    results["metrics_tta"]["test"]["accuracy"])]  # fmt: skip
    scores += [(name, f"macro {name}", estimate) for name, estimate in test["macro"].items()]
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image Classification",
            dataset_type=find_hub_id(dataset),
            dataset_name=get_dataset_title(dataset),
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=estimate["value"],
        )
        for kind, name, estimate in scores
    ]


def list_eval_files(results: dict) -> dict[str, str]:
    """What `.eval_results/` holds, by file name: test accuracy without and with test-time augmentation.

    The Hub shows it on a dataset's leaderboard, once that dataset is one of its benchmarks.
    Source: https://huggingface.co/docs/hub/eval-results.
    """
    name = results["data"]["name"]
    if not is_listed(name):
        return {}
    notes = {"metrics": "top-1 accuracy", "metrics_tta": f"top-1 accuracy, test-time augmentation: "
             f"{results['recipe']['tta']}"}  # fmt: skip
    return {
        file: yaml.safe_dump(
            eval_result_entries_to_yaml(
                [
                    EvalResultEntry(
                        dataset_id=find_hub_id(name),
                        task_id="default",
                        value=results[section]["test"]["accuracy"]["value"],
                        date=results["environment"]["date"],
                        notes=notes[section],
                    )
                ]
            ),
            sort_keys=False,
        )
        for section, file in EVAL_FILES.items()
        if section in results
    }


@functools.cache
def load_examples() -> dict[str, Image.Image]:
    """A picture of each of three classes: the first test images of the bundled sample of CIFAR-10."""
    frame = pd.read_parquet(next((SAMPLE_FOLDER / "plain_text").glob("test-*.parquet"))).drop_duplicates("label")
    rows = zip(frame["label"][:NUM_EXAMPLES], frame["img"][:NUM_EXAMPLES], strict=True)
    return {CLASS_NAMES[label]: Image.open(io.BytesIO(image["bytes"])).convert("RGB") for label, image in rows}


def name_examples(dataset: str) -> dict[str, str]:
    """The example pictures' file names by class; none for data of which no picture is at hand."""
    return {name: f"example_{name}.png" for name in load_examples()} if dataset in CIFAR10 else {}


def write_extras(folder: Path, results: dict) -> None:
    """Write the example pictures that a card's metadata name, and `.eval_results/`."""
    for title, name in name_examples(results["data"]["name"]).items():
        with write_then_rename(folder / "figures" / name) as temporary:
            load_examples()[title].save(temporary)
    for name, content in list_eval_files(results).items():
        write_text(folder / EVAL_FOLDER / name, content)
