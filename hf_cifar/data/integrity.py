"""Owns content hashes and the canonical order: an image's index is its row in CIFAR-10's official order."""

import hashlib
from collections.abc import Iterator

import numpy as np

from ..errors import UserError
from .constants import BLOCK_SIZE, LABELS_SHA256, TEST_BLOCK_SHA256, TRAIN_BLOCK_SHA256
from .raw import Chunks


def hash_array(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order, as hex."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def put_in_canonical_order(
    chunks: Chunks, labels: np.ndarray, split: str, file_names: list[str], label_file: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Check CIFAR-10's decoded content and put its blocks of 10,000 images into the official order.

    Only blocks that came too early are kept in memory.

    Args:
        chunks: of images uint8 (n, 32, 32, 3), in the source's order.
        labels: integers (N,), N = 50,000 for train and 10,000 for test.
        split: "train" or "test".
        file_names: where the images came from, one name per block or one for all, for messages.
        label_file: where the labels came from.

    Yields:
        Images, labels and canonical indices in the official order, a block at a time.

    Raises:
        UserError: A block or the labels are not CIFAR-10's; the message names the file.
    """
    expected = TRAIN_BLOCK_SHA256 if split == "train" else TEST_BLOCK_SHA256
    order = {sha256: position for position, sha256 in enumerate(expected.values())}
    all_files = ", ".join(file_names)
    if len(labels) != BLOCK_SIZE * len(order):
        raise UserError(explain_count(label_file, split, len(labels), "labels", len(order)))
    waiting: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    written: list[np.ndarray] = []
    number = -1
    for number, block in enumerate(gather_blocks(chunks)):
        file_name = file_names[number] if len(file_names) == len(order) > number else all_files
        if len(block) != BLOCK_SIZE or number == len(order):
            raise UserError(explain_count(file_name, split, number * BLOCK_SIZE + len(block), "images", len(order)))
        found = hash_array(block)
        position = order.get(found)
        if position is None:
            raise UserError(
                f"{file_name}: images {number * BLOCK_SIZE} to {(number + 1) * BLOCK_SIZE - 1} have SHA-256 "
                f"{found[:16]}..., which is none of CIFAR-10's {split} blocks. The file was altered or damaged: "
                "delete it and fetch it again"
            )
        waiting[position] = block, labels[number * BLOCK_SIZE : (number + 1) * BLOCK_SIZE]
        while len(written) in waiting:
            images, block_labels = waiting.pop(len(written))
            yield images, block_labels, np.arange(BLOCK_SIZE) + len(written) * BLOCK_SIZE
            written.append(block_labels)
    if len(written) < number + 1 == len(order):
        missing = list(expected)[len(written)]
        raise UserError(f"{all_files}: {missing} is missing, another block is there twice; fetch it again")
    if len(written) < len(order):
        raise UserError(explain_count(all_files, split, (number + 1) * BLOCK_SIZE, "images", len(order)))
    if hash_array(np.concatenate(written).astype(np.uint8)) != LABELS_SHA256[split]:
        raise UserError(
            f"{label_file}: the {split} labels are not CIFAR-10's (SHA-256 differs from "
            f"{LABELS_SHA256[split][:16]}...). The file was altered or damaged: delete it and fetch it again"
        )


def explain_count(file_name: str, split: str, found: int, what: str, num_blocks: int) -> str:
    """One line about a split that has too few or too many images or labels."""
    return (
        f"{file_name}: the {split} split has {found} {what}; CIFAR-10's has {BLOCK_SIZE * num_blocks}. The file is "
        "truncated or another dataset: delete it and fetch it again"
    )


def gather_blocks(chunks: Chunks) -> Iterator[np.ndarray]:
    """Images in blocks of 10,000, the last of which may be smaller."""
    parts, count = [], 0
    for _, images in chunks:
        while count + len(images) >= BLOCK_SIZE:
            taken = BLOCK_SIZE - count
            yield np.concatenate([*parts, images[:taken]]) if parts else images[:taken]
            parts, count, images = [], 0, images[taken:]
        if len(images):
            parts.append(images)
            count += len(images)
    if parts:
        yield np.concatenate(parts)
