"""Owns the verdict on a dataset: whether its content is what it says it is, and what is odd about it."""

import datasets
import numpy as np

from .store import iterate_images, read_column
from .table import ImageData


def describe_content(data: ImageData, exact_duplicates: int) -> list[str]:
    """What is known about the content, a sentence each.

    Args:
        data: as loaded, which has checked it.
        exact_duplicates: test images that are among the training images byte for byte.
    """
    lines = [
        {
            "cifar10": "Every block of 10,000 images and all labels have CIFAR-10's SHA-256, in the official order.",
            "cifar10-sample": "The bundled sample of CIFAR-10, not CIFAR-10.",
        }.get(data.name, "There is no official hash to check this dataset against.")
    ]
    skipped = sum(map(len, data.skipped.values()))
    lines.append(f"{skipped:,} images could not be decoded and were left out." if skipped else "All images decode.")
    for kind, count in data.converted.items():
        lines.append(f"{count:,} images were converted to RGB from {kind}.")
    for split, table in (("train", data.train), ("test", data.test)):
        if repeated := len(table) - count_distinct(table):
            lines.append(f"{repeated:,} {split} images repeat another one byte for byte.")
        counts = np.bincount(read_column(table, "label"), minlength=len(data.class_names))
        if missing := [name for name, count in zip(data.class_names, counts, strict=True) if not count]:
            lines.append(f"{len(missing):,} classes have no {split} image, as {missing[0]!r}.")
    lines.append(f"{exact_duplicates:,} test images are among the training images byte for byte.")
    return lines


def count_distinct(table: datasets.Dataset) -> int:
    """How many different images a table holds."""
    return len({hash(image.tobytes()) for images in iterate_images(table) for image in images})


def format_verdict(data: ImageData, exact_duplicates: int) -> str:
    """The verdict as text, with hashes."""
    title = f"{data.name} from {data.source}: {len(data.train):,} train and {len(data.test):,} test images of "
    lines = [title + f"{data.image_size} x {data.image_size} pixels, {len(data.class_names)} classes"]
    for split, hashes in data.hashes.items():
        lines += [f"{split} {what}: SHA-256 {value}" for what, value in hashes.items()]
    for split, names in data.skipped.items():
        lines += [f"left out of {split}: {name}" for name in names]
    if skipped := sum(map(len, data.skipped.values())):
        verdict = f"usable without the {skipped:,} images that were left out"
    elif data.name == "cifar10":
        verdict = "this is CIFAR-10, whole and unaltered"
    else:
        verdict = "readable; whoever has the same SHA-256s has the same data"
    return "\n".join([*lines, *describe_content(data, exact_duplicates), f"Verdict: {verdict}."])
