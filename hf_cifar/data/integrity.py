"""Owns content hashes and the canonical order: an image's index is its row in CIFAR-10's official order."""

import hashlib

import numpy as np

from ..errors import UserError
from .constants import BLOCK_SIZE, LABELS_SHA256, TEST_BLOCK_SHA256, TRAIN_BLOCK_SHA256


def hash_array(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order, as hex."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def put_in_canonical_order(
    images: np.ndarray, labels: np.ndarray, split: str, file_names: list[str], label_file: str
) -> tuple[np.ndarray, np.ndarray]:
    """Check CIFAR-10's decoded content and put its blocks of 10,000 images into the official order.

    Args:
        images: uint8 (N, 32, 32, 3), N = 50,000 for train and 10,000 for test.
        labels: integers (N,).
        split: "train" or "test".
        file_names: where the blocks came from, one name per block or one for all, for messages.
        label_file: where the labels came from.

    Returns:
        Images and labels in the official order; the same arrays when they already are.

    Raises:
        UserError: A block or the labels are not CIFAR-10's; the message names the file.
    """
    expected = TRAIN_BLOCK_SHA256 if split == "train" else TEST_BLOCK_SHA256
    if len(images) != BLOCK_SIZE * len(expected) or len(labels) != len(images):
        raise UserError(
            f"{', '.join(file_names)}: the {split} split has {len(images)} images and {len(labels)} labels; "
            f"CIFAR-10's has {BLOCK_SIZE * len(expected)} of each. The file is truncated or another dataset: "
            "delete it and fetch it again"
        )
    blocks = images.reshape(len(expected), BLOCK_SIZE, *images.shape[1:])
    hashes = [hash_array(block) for block in blocks]
    for position, found in enumerate(hashes):
        if found not in expected.values():
            file_name = file_names[position] if len(file_names) == len(expected) else ", ".join(file_names)
            raise UserError(
                f"{file_name}: images {position * BLOCK_SIZE} to {(position + 1) * BLOCK_SIZE - 1} have SHA-256 "
                f"{found[:16]}..., which is none of CIFAR-10's {split} blocks. The file was altered or damaged: "
                "delete it and fetch it again"
            )
    order = [hashes.index(wanted) if wanted in hashes else -1 for wanted in expected.values()]
    if -1 in order:
        missing = list(expected)[order.index(-1)]
        raise UserError(f"{', '.join(file_names)}: {missing} is missing, another block is there twice; fetch it again")
    if order != sorted(order):
        images = blocks[order].reshape(images.shape)
        labels = labels.reshape(len(expected), BLOCK_SIZE)[order].reshape(-1)
    if hash_array(labels.astype(np.uint8)) != LABELS_SHA256[split]:
        raise UserError(
            f"{label_file}: the {split} labels are not CIFAR-10's (SHA-256 differs from "
            f"{LABELS_SHA256[split][:16]}...). The file was altered or damaged: delete it and fetch it again"
        )
    return images, labels
