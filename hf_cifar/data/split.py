"""Owns which training images are used: the one split into train and validation, and nested subsets of train."""

import hashlib
import math

import datasets
import numpy as np
import torch

from ..arguments import DataArguments
from ..errors import UserError
from .keyed import SPLIT, SUBSET, draw_bits
from .store import read_column

# SHA-256 of CIFAR-10's sorted validation indices for validation_size=0.1 and split_seed=0.
CIFAR10_VALIDATION_SHA256 = "631075b215a4a183874c40785b458e7e5da4d6d64fff691976565197b91db699"


def count_validation_images(num_images: int, validation_size: float, num_classes: int) -> int:
    """Number of validation images: a fraction if below 1, else a count.

    Raises:
        UserError: The size is negative, or leaves a split without an image of every class.
    """
    if not math.isfinite(validation_size):
        raise UserError(f"validation_size={validation_size} is not a number; allowed: a fraction below 1, or a count")
    count = round(validation_size * num_images) if validation_size < 1 else int(validation_size)
    if validation_size < 0 or (count and not num_classes <= count <= num_images - num_classes):
        raise UserError(
            f"validation_size={validation_size:g} gives {count} of {num_images} images; allowed: 0 (no validation), "
            f"a fraction below 1, or a count from {num_classes} to {num_images - num_classes}"
        )
    return count


def split_train_validation(
    labels: np.ndarray,
    indices: np.ndarray,
    validation_size: float = 0.1,
    seed: int = 0,
    class_names: list[str] | None = None,
    purpose: int = SPLIT,
) -> tuple[np.ndarray, np.ndarray]:
    """Split stratified by class and keyed by (seed, canonical index), so that no library version can move it.

    Args:
        labels: integers (N,).
        indices: canonical indices (N,).
        validation_size: a fraction below 1, or a count; 0 for none.
        seed: the split's own seed, apart from the training seed.
        class_names: for messages.
        purpose: of the draw, from `keyed`; another purpose splits in another way.

    Returns:
        Row numbers of train and of validation, each sorted. Classes' shares are exact to one image, and every class
        keeps an image for training.

    Raises:
        UserError: The size does not fit, or a class has a single image, which cannot be on both sides.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if validation_size and counts.min(initial=2) < 2:
        label = classes[counts.argmin()]
        name = class_names[label] if class_names else label
        raise UserError(
            f"class {name!r} has a single training image, which cannot be split; allowed: 2 or more images of each "
            "class. Add images or remove the class"
        )
    count = count_validation_images(len(labels), validation_size, len(classes))
    keys = draw_bits(torch.as_tensor(indices), seed, purpose).numpy()
    is_validation = np.zeros(len(labels), dtype=bool)
    taken = seen = 0
    for label in classes:
        rows = np.flatnonzero(labels == label)
        seen += len(rows)
        quota = round(count * seen / len(labels)) - taken  # cumulative rounding: the quotas sum to count exactly
        quota = min(quota, len(rows) - 1)
        is_validation[rows[np.argsort(keys[rows], kind="stable")][:quota]] = True
        taken += quota
    return np.flatnonzero(~is_validation), np.flatnonzero(is_validation)


def hash_indices(indices: np.ndarray) -> str:
    """SHA-256 of the sorted canonical indices as little-endian int64: a split's fingerprint."""
    return hashlib.sha256(np.sort(indices).astype("<i8").tobytes()).hexdigest()


def split_table(
    table: datasets.Dataset, validation_size: float = 0.1, seed: int = 0
) -> tuple[datasets.Dataset, datasets.Dataset | None]:
    """Train and validation tables of a training table; None for no validation. See `split_train_validation`."""
    labels, indices = read_column(table, "label"), read_column(table, "index")
    class_names = table.features["label"].names
    train, validation = split_train_validation(labels, indices, validation_size, seed, class_names)
    return table.select(train), table.select(validation) if len(validation) else None


def choose_subset(
    labels: np.ndarray, indices: np.ndarray, fraction: float = 1.0, per_class: int | None = None, seed: int = 0
) -> np.ndarray:
    """Rows of a stratified subset, sorted; of the same seed, a smaller one lies inside every larger one.

    Each class's images are put in one order, keyed by (seed, canonical index), of which a subset takes the first.

    Args:
        labels, indices: integers (N,).
        fraction: share of each class, rounded; at least one image of each.
        per_class: images of each class, instead.
        seed: of the order.

    Raises:
        UserError: A class has fewer than `per_class` images.
    """
    keys = draw_bits(torch.as_tensor(indices), seed, SUBSET).numpy()
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if per_class is not None and per_class > len(rows):
            raise UserError(
                f"images_per_class={per_class} is more than the {len(rows)} training images of class {label}; "
                f"allowed: 1 to {np.unique(labels, return_counts=True)[1].min()}"
            )
        count = max(1, round(fraction * len(rows))) if per_class is None else per_class
        chosen.append(rows[np.argsort(keys[rows], kind="stable")][:count])
    return np.sort(np.concatenate(chosen))


def prepare_tables(table: datasets.Dataset, args: DataArguments) -> tuple[datasets.Dataset, datasets.Dataset | None]:
    """The tables to train on and to validate on, as `args` have them; a subset leaves the validation images alone."""
    train, validation = split_table(table, args.validation_size, args.split_seed)
    if args.train_fraction == 1 and args.images_per_class is None:
        return train, validation
    labels, indices = read_column(train, "label"), read_column(train, "index")
    rows = choose_subset(labels, indices, args.train_fraction, args.images_per_class, args.split_seed)
    return train.select(rows), validation
