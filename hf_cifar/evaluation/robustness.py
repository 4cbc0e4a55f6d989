"""Owns accuracy on corrupted test images: made part by part, so that it can be interrupted, and summed up."""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..data.store import map_images, read_column
from ..data.table import ImageData
from ..files import write_json
from ..models.loading import hash_weights
from .corruptions import FAMILIES, SEVERITIES, corrupt, list_corruptions
from .metrics import RESAMPLES
from .predictions import match_classes, predict_probabilities
from .statistics import add_interval, bootstrap_accuracies

QUICK_IMAGES = 1000
LEVELS = {"quick": (1, 3, 5), "full": SEVERITIES}  # severities; quick takes `QUICK_IMAGES`, full all test images
EXTRA = "extra"  # the family that does not count in means, see `corruptions.FAMILIES`


def measure_robustness(
    model: PreTrainedModel,
    processor,
    data: ImageData,
    level: str,
    cache_dir: Path,
    device: torch.device,
    precision: str,
    frost_photos: Sequence[np.ndarray] = (),
    seed: int = 0,
) -> dict[str, object]:
    """The `robustness` section of results.json: accuracy under each corruption and severity.

    What is done is kept in the cache, filed under weights, image processor, images, precision and seed, so that an
    interrupted measurement goes on.

    Args:
        model, processor: as loaded.
        data: the test images are corrupted as stored.
        level: of `LEVELS`.
        cache_dir: where finished parts are kept.
        device, precision: how to run.
        frost_photos: of `load_frost_photos`; without any, frost is left out.
        seed: of the corruptions' draws.
    """
    table = choose_images(data.test, level)
    images, rows = map_images(table)
    labels, indices = read_column(table, "label"), read_column(table, "index")
    columns = match_classes(model.config.id2label, data.class_names)
    frost_key = [hashlib.sha256(photo.tobytes()).hexdigest() for photo in frost_photos]
    key = {
        "weights": hash_weights(model), "processor": processor.to_dict(), "test": data.hashes["test"],
        "indices": hashlib.sha256(indices.tobytes()).hexdigest(), "precision": precision, "seed": seed,
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    folder = cache_dir / "robustness" / digest

    def classify(chosen: np.ndarray) -> tuple[np.ndarray, float]:
        """Whether each image is classified rightly, and the seconds that took."""
        started = time.perf_counter()
        probabilities = predict_probabilities(model, processor, chosen, device, precision, description=None)
        return probabilities[:, columns].argmax(1) == labels[: len(chosen)], time.perf_counter() - started

    clean = np.ascontiguousarray(images[rows])
    classify(clean[:250])  # warms up
    hits, plain_seconds = classify(clean)
    clean_accuracy, names = float(hits.mean()), list_corruptions(frost_photos)
    parts, seconds = {}, []
    tasks = [(name, severity) for name in names for severity in LEVELS[level]]
    for name, severity in tqdm(tasks, desc=f"Robustness, {level}", unit="corruption"):
        path = folder / f"{name}-{severity}.json"
        part_key = {"name": name, "severity": severity, "images": len(table)}
        part_key |= {"photos": frost_key} if name == "frost" else {}
        part = read_part(path, part_key)
        if part is None:
            started = time.perf_counter()
            hits, _ = classify(corrupt(clean, name, severity, seed, indices, frost_photos))
            part = {**part_key, "seconds": time.perf_counter() - started, "hits": pack(hits)}
            write_json(path, part)
        parts[name, severity] = unpack(part["hits"], len(table))
        seconds.append(part["seconds"])
    left_out = {} if frost_photos else {"frost": "it needs photographs of frost (--frost_photos)"}
    return summarize_parts(parts, left_out) | {
        "level": level,
        "num_images": len(table),
        "seed": seed,
        "clean_accuracy": clean_accuracy,
        "images_per_second": len(table) / float(np.mean(seconds)),
        "plain_images_per_second": len(table) / plain_seconds,
    }


def choose_images(table: datasets.Dataset, level: str) -> datasets.Dataset:
    """All test images, or for "quick" the first of each class, as many of each as there are."""
    if level == "full" or len(table) <= QUICK_IMAGES:
        return table
    labels = read_column(table, "label")
    rank = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return table.select(np.sort(np.lexsort((labels, rank))[:QUICK_IMAGES]))


def summarize_parts(parts: dict[tuple[str, int], np.ndarray], left_out: dict[str, str]) -> dict[str, object]:
    """Accuracies by corruption, by family and over all that count, from whether each image was right, bool (N,).

    The mean counts every corruption and severity alike; its interval is over images, each with all its corruptions.
    """
    corruptions, families = {}, {}
    for family, names in FAMILIES.items():
        for name in (each for each in names if any(key[0] == each for key in parts)):
            severities = {str(key[1]): float(hits.mean()) for key, hits in parts.items() if key[0] == name}
            corruptions[name] = {"family": family, "severities": severities}
            families.setdefault(family, []).append(np.mean(list(severities.values())))
    counted = [hits for (name, _), hits in parts.items() if corruptions[name]["family"] != EXTRA]
    shares = np.mean(counted, axis=0)  # of an image's corruptions under which it was right
    samples = bootstrap_accuracies(shares[None], RESAMPLES)[:, 0]
    return {
        "mean_accuracy": add_interval(float(shares.mean()), samples),
        "families": {family: float(np.mean(values)) for family, values in families.items()},
        "corruptions": corruptions,
        "left_out": left_out,
    }


def read_part(path: Path, key: dict) -> dict | None:
    """A finished part; None where there is none, or it is damaged or another's."""
    try:
        part = json.loads(path.read_text(encoding="utf-8"))
        is_whole = all(part[name] == value for name, value in key.items()) and part["seconds"] > 0
        return part if is_whole and len(unpack(part["hits"], key["images"])) == key["images"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def pack(hits: np.ndarray) -> str:
    """Booleans (N,) as hexadecimal digits, with a checksum in front."""
    content = np.packbits(hits).tobytes()
    return hashlib.sha256(content).hexdigest()[:16] + content.hex()


def unpack(text: str, count: int) -> np.ndarray:
    """What `pack` packed.

    Raises:
        ValueError: It was altered.
    """
    content = bytes.fromhex(text[16:])
    if hashlib.sha256(content).hexdigest()[:16] != text[:16]:
        raise ValueError("checksum")
    return np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=count).astype(bool)
