"""Owns made-up finished runs: results.json and predictions that are valid, quick to write and the same each time."""

import functools
import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hf_cifar.arguments import SourceArguments
from hf_cifar.data.store import read_column
from hf_cifar.data.table import load_data
from hf_cifar.evaluation.metrics import compute_all_metrics
from hf_cifar.evaluation.predictions import PREFIX, write_predictions
from hf_cifar.evaluation.results import SCHEMA_VERSION, write_results

EPOCHS = 4


def make_run(
    folder: Path,
    name: str = "CNN",
    kind: str = "cnn",
    accuracy: float = 0.9,
    seed: int = 0,
    num_images: int = 500,
    num_classes: int = 10,
    probabilities: np.ndarray | None = None,
    **changes: Any,
) -> Path:
    """Write `results.json` and `predictions/{validation,test}.parquet` of a run without a model.

    With 500 images and 10 classes the test set is that of the bundled sample, so pictures can be drawn. Runs share
    which images are hard, as real models do, and differ by name and seed.

    Args:
        folder: of the run; made.
        name: of the model; it is a part of the recipe, so only runs of one name are seeds of one model.
        kind: "cnn" (from scratch) or "transfer".
        accuracy: on test, exact up to rounding to whole images.
        seed: of the recipe.
        num_images, num_classes: of the test set.
        probabilities: of the test images (N, K), instead of made-up ones; `accuracy` is ignored then.
        changes: of results.json, by path with double underscores, as `cost__train_seconds=3.0`; `...` takes out.

    Returns:
        The folder.
    """
    index, labels, data = make_data(num_images, num_classes)
    names = data["class_names"]
    own = zlib.crc32(f"{name} {seed}".encode())
    if probabilities is None:
        probabilities = make_probabilities(labels, num_classes, accuracy, own)
    validation = make_probabilities(labels, num_classes, accuracy, own + 1)
    for split, values in (("validation", validation), ("test", probabilities)):
        columns = pd.DataFrame(values, columns=[PREFIX + each for each in names])
        frame = pd.concat([pd.DataFrame({"index": index, "label": labels}), columns], axis=1)
        write_predictions(folder / "predictions" / f"{split}.parquet", frame)
    results = describe_run(name, kind, seed, data, accuracy)
    for split, values in (("validation", validation), ("test", probabilities)):
        results["metrics"][split] = compute_all_metrics(values, labels, names)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = functools.reduce(lambda section, key: section[key], parents, results)
        if value is ...:
            place.pop(last, None)
        else:
            place[last] = value
    write_results(folder, results)
    return folder


@functools.cache
def make_data(num_images: int, num_classes: int) -> tuple[np.ndarray, np.ndarray, dict]:
    """Indices (N,), labels (N,) and the `data` section of results.json."""
    if (num_images, num_classes) == (500, 10):
        sample = load_data(SourceArguments("sample"))
        index, labels = read_column(sample.test, "index"), read_column(sample.test, "label")
        common = {"name": sample.name, "source": sample.source, "class_names": sample.class_names}
        hashes = sample.hashes
    else:
        index = np.arange(num_images)
        labels = index % num_classes
        common = {"name": "made-up", "source": "made", "class_names": [f"class {k}" for k in range(num_classes)]}
        hashes = {
            split: {part: hash_text(f"{split} {part} {num_images} {num_classes}") for part in ("images", "labels")}
            for split in ("train", "test")
        }
    sizes = {"train": 900, "validation": num_images, "test": num_images}
    return index, labels, {**common, "sizes": sizes, "hashes": hashes, "validation_sha256": hash_text("validation")}


def make_probabilities(labels: np.ndarray, num_classes: int, accuracy: float, seed: int) -> np.ndarray:
    """Probabilities (N, K) that are right on the stated share of the images, mostly on the same easy ones."""
    generator, count = np.random.default_rng(seed), len(labels)
    difficulty = np.random.default_rng(12345).random(count) + 0.3 * generator.random(count)
    right = np.argsort(np.argsort(difficulty)) < round(accuracy * count)
    neighbours = labels + 1 + (generator.random(count) < 0.3) * (num_classes > 2)  # two classes that are confused
    predicted = np.where(right, labels, neighbours % num_classes)
    confidence = 0.55 + 0.45 * generator.random(count) * np.where(right, 1, 0.8)
    values = np.repeat((1 - confidence[:, None]) / (num_classes - 1), num_classes, axis=1)
    values[np.arange(count), predicted] = confidence
    return values


def describe_run(name: str, kind: str, seed: int, data: dict, accuracy: float) -> dict:
    """results.json without metrics."""
    is_transfer = kind == "transfer"
    base_model = {"name": "offline:efficientnet-lite0", "revision": None, "weights_sha256": hash_text("base")}
    options = {
        "dataset": "sample", "train_fraction": 1.0, "images_per_class": None, "seed": seed, "run": name,
        "model_name_or_path": base_model["name"] if is_transfer else None,
    }  # fmt: skip
    history = [
        {
            "epoch": float(epoch),
            "loss": 2.0 / epoch,
            "learning_rate": 0.01 / epoch,
            "validation_loss": 2.1 / epoch,
            "validation_accuracy": accuracy * epoch / EPOCHS,
            "validation_macro_f1": accuracy * epoch / EPOCHS,
        }
        for epoch in range(1, EPOCHS + 1)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": name,
            "type": "timm_wrapper" if is_transfer else "cifar_cnn",
            "architecture": "tf_efficientnet_lite0" if is_transfer else "CifarCnnForImageClassification",
            "parameters": 3_400_000 if is_transfer else 800_000,
            "flops_per_image": 390_000_000 if is_transfer else 78_000_000,
            "image_size": 160 if is_transfer else 32,
            "weights_sha256": hash_text(f"{name} {seed}"),
            "base_model": base_model if is_transfer else None,
        },
        "data": {**data, "sizes": dict(data["sizes"])},
        "recipe": {
            "command": f"python recipes/train.py --seed {seed}",
            "selection": "best epoch by validation accuracy",
            "seed": seed,
            "tta": "none",
            "options": options,
        },
        "history": history,
        "metrics": {},
        "cost": {
            "train_seconds": 3.0 if is_transfer else 870.0,
            "feature_seconds": 88.0 if is_transfer else 0.0,
            "epochs": float(EPOCHS),
            "train_images_per_second": 824.6,
            "test_images_per_second": 515.0 if is_transfer else 2200.0,
            "peak_memory_bytes": 2_000_000_000,
        },
        "environment": {
            "date": "2026-11-25T00:00:00+00:00",
            "commit": None,
            "python": "3.11.7",
            "packages": {"torch": "2.14.1"},
            "hardware": "AMD EPYC, 2 threads",
            "precision": "fp32",
            "world_size": 1,
        },
    }


def hash_text(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
