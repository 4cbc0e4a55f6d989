"""Owns what a source hands over: labels at once, images in chunks as they are decoded."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from .constants import CLASS_NAMES
from .decoding import Findings

ALLOWED = (
    "auto, hub, npm, sample, cifar100, a Hub id (as uoft-cs/cifar10), a folder (parquet files, class_name/*.png, "
    "save_to_disk), or CIFAR's python archive (.tar.gz)"
)
# Rows of the split, and their images uint8 (n, S, S, 3).
Chunks = Iterator[tuple[list[int], np.ndarray]]


@dataclass
class RawSplit:
    """One split, not yet decoded.

    Attributes:
        labels: int64 (N,), class numbers.
        read: decodes, given a storage size in pixels (None: the images' own) and `Findings` to fill.
        indices: int64 (N,), what identifies each image for good; None for its row.
        file_names, label_file: where images and labels are, for messages.
    """

    labels: np.ndarray
    read: Callable[[int | None, Findings], Chunks]
    indices: np.ndarray | None = None
    file_names: list[str] = field(default_factory=list)
    label_file: str = ""


@dataclass
class RawData:
    """A dataset, not yet decoded.

    Attributes:
        name: "cifar10" (its content will be checked), "cifar10-sample", "cifar100", a Hub id or a folder's name.
        splits: train and test.
        class_names: in the order of their numbers.
    """

    name: str
    splits: dict[str, RawSplit]
    class_names: list[str] = field(default_factory=lambda: list(CLASS_NAMES))


@dataclass
class Source:
    """A place that holds a dataset: what to call it, a key that changes with its content, and how to read it."""

    description: str
    key: str
    read: Callable[[], RawData]
