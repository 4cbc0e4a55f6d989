"""Canonical order: blocks are put back, anything else is refused with the file's name."""

import numpy as np
import pytest

from hf_cifar.data import integrity
from hf_cifar.data.integrity import hash_array, put_in_canonical_order
from hf_cifar.errors import UserError

FILES = [f"batch_{i}.png" for i in range(5)]


@pytest.fixture
def miniature(monkeypatch):
    """CIFAR-10 with blocks of 4 images: images, labels, and the module's constants made to fit."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(0, 10, 20)
    hashes = {f"block_{i}": hash_array(images[4 * i : 4 * i + 4]) for i in range(5)}
    monkeypatch.setattr(integrity, "BLOCK_SIZE", 4)
    monkeypatch.setattr(integrity, "TRAIN_BLOCK_SHA256", hashes)
    monkeypatch.setattr(integrity, "LABELS_SHA256", {"train": hash_array(labels.astype(np.uint8))})
    return images, labels


def test_canonical_content_passes_unchanged(miniature):
    images, labels = put_in_canonical_order(*miniature, "train", FILES, "labels.json")
    assert np.array_equal(images, miniature[0]) and np.array_equal(labels, miniature[1])


def test_blocks_in_another_order_are_put_back(miniature):
    order = np.array([3, 0, 4, 2, 1])
    rows = (order[:, None] * 4 + np.arange(4)).ravel()
    images, labels = put_in_canonical_order(
        miniature[0][rows], miniature[1][rows], "train", ["all.parquet"], "all.parquet"
    )
    assert np.array_equal(images, miniature[0]) and np.array_equal(labels, miniature[1])


def test_an_altered_pixel_names_its_file(miniature):
    images = miniature[0].copy()
    images[9, 3, 3, 0] ^= 1
    with pytest.raises(UserError, match=r"batch_2\.png: images 8 to 11 have SHA-256"):
        put_in_canonical_order(images, miniature[1], "train", FILES, "labels.json")


def test_a_block_twice_is_refused(miniature):
    rows = np.r_[0:16, 0:4]
    with pytest.raises(UserError, match="block_4 is missing"):
        put_in_canonical_order(miniature[0][rows], miniature[1][rows], "train", FILES, "labels.json")


def test_altered_labels_are_refused(miniature):
    labels = miniature[1].copy()
    labels[0] = (labels[0] + 1) % 10
    with pytest.raises(UserError, match=r"labels\.json: the train labels are not CIFAR-10's"):
        put_in_canonical_order(miniature[0], labels, "train", FILES, "labels.json")


def test_a_truncated_split_is_refused(miniature):
    with pytest.raises(UserError, match="has 19 images"):
        put_in_canonical_order(miniature[0][:19], miniature[1][:19], "train", FILES, "labels.json")
