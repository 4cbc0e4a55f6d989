"""Owns the one split of the training data into train and validation."""

import hashlib
import math

import datasets
import numpy as np
import torch

from ..errors import UserError
from .keyed import SPLIT, draw_bits
from .table import read_column

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
    labels: np.ndarray, indices: np.ndarray, validation_size: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Split stratified by class and keyed by (seed, canonical index), so that no library version can move it.

    Args:
        labels: integers (N,).
        indices: canonical indices (N,).
        validation_size: a fraction below 1, or a count; 0 for none.
        seed: the split's own seed, apart from the training seed.

    Returns:
        Row numbers of train and of validation, each sorted. Classes' shares are exact to one image.
    """
    classes = np.unique(labels)
    count = count_validation_images(len(labels), validation_size, len(classes))
    keys = draw_bits(torch.as_tensor(indices), seed, SPLIT).numpy()
    is_validation = np.zeros(len(labels), dtype=bool)
    taken = seen = 0
    for label in classes:
        rows = np.flatnonzero(labels == label)
        seen += len(rows)
        quota = round(count * seen / len(labels)) - taken  # cumulative rounding: the quotas sum to count exactly
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
    train, validation = split_train_validation(labels, indices, validation_size, seed)
    return table.select(train), table.select(validation) if len(validation) else None
