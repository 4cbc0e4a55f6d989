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


def put_in_order(images, labels, file_names, chunk: int = 3) -> list[np.ndarray]:
    chunks = ((list(range(i, i + chunk)), images[i : i + chunk]) for i in range(0, len(images), chunk))
    parts = put_in_canonical_order(chunks, labels, "train", file_names, "labels.json")
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def test_canonical_content_passes_unchanged(miniature):
    images, labels, indices = put_in_order(*miniature, FILES)
    assert indices.tolist() == list(range(20))
    assert np.array_equal(images, miniature[0]) and np.array_equal(labels, miniature[1])


@pytest.mark.parametrize("chunk", [1, 3, 4, 7, 20])
def test_blocks_in_another_order_are_put_back(miniature, chunk):
    order = np.array([3, 0, 4, 2, 1])
    rows = (order[:, None] * 4 + np.arange(4)).ravel()
    images, labels, _ = put_in_order(miniature[0][rows], miniature[1][rows], ["all.parquet"], chunk)
    assert np.array_equal(images, miniature[0]) and np.array_equal(labels, miniature[1])


def test_an_altered_pixel_names_its_file(miniature):
    images = miniature[0].copy()
    images[9, 3, 3, 0] ^= 1
    with pytest.raises(UserError, match=r"batch_2\.png: images 8 to 11 have SHA-256"):
        put_in_order(images, miniature[1], FILES)


def test_a_block_twice_is_refused(miniature):
    rows = np.r_[0:16, 0:4]
    with pytest.raises(UserError, match="block_4 is missing"):
        put_in_order(miniature[0][rows], miniature[1][rows], FILES)


def test_altered_labels_are_refused(miniature):
    labels = miniature[1].copy()
    labels[0] = (labels[0] + 1) % 10
    with pytest.raises(UserError, match=r"labels\.json: the train labels are not CIFAR-10's"):
        put_in_order(miniature[0], labels, FILES)


def test_a_truncated_split_is_refused(miniature):
    with pytest.raises(UserError, match=r"labels\.json: the train split has 19 labels; CIFAR-10's has 20"):
        put_in_order(miniature[0][:19], miniature[1][:19], FILES)
    for count, file in ((19, 4), (16, 0), (0, 0)):
        with pytest.raises(UserError, match=rf"batch_{file}\.png.*the train split has {count} images"):
            put_in_order(miniature[0][:count], miniature[1], FILES) if count else list(
                put_in_canonical_order(iter([]), miniature[1], "train", FILES, "labels.json")
            )
    with pytest.raises(UserError, match="the train split has 21 images"):
        put_in_order(np.concatenate([miniature[0], miniature[0][:1]]), miniature[1], FILES)
