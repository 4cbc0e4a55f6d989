"""The split: exact, stratified, keyed, and pinned for CIFAR-10."""

import hashlib
import lzma
from pathlib import Path

import numpy as np
import pytest

from hf_cifar.arguments import DataArguments
from hf_cifar.data.constants import LABELS_SHA256
from hf_cifar.data.split import (
    CIFAR10_VALIDATION_SHA256,
    choose_subset,
    hash_indices,
    prepare_tables,
    split_table,
    split_train_validation,
)
from hf_cifar.data.store import read_column
from hf_cifar.errors import UserError


@pytest.fixture(scope="module")
def cifar10_labels() -> np.ndarray:
    """CIFAR-10's real 50,000 training labels (two to a byte)."""
    packed = np.frombuffer(
        lzma.decompress((Path(__file__).parent / "data/cifar10_train_labels.xz").read_bytes()), np.uint8
    )
    labels = np.stack([packed >> 4, packed & 15], axis=1).ravel()
    assert hashlib.sha256(labels.tobytes()).hexdigest() == LABELS_SHA256["train"]
    return labels.astype(np.int64)


def test_cifar10s_split_is_pinned(cifar10_labels):
    indices = np.arange(50_000)
    train, validation = split_train_validation(cifar10_labels, indices)
    assert (len(train), len(validation)) == (45_000, 5_000)
    assert np.bincount(cifar10_labels[validation]).tolist() == [500] * 10
    assert hash_indices(validation) == CIFAR10_VALIDATION_SHA256


def test_train_and_validation_share_nothing_and_miss_nothing(data):
    train, validation = split_table(data.train)
    together = np.concatenate([read_column(train, "index"), read_column(validation, "index")])
    assert sorted(together) == sorted(read_column(data.train, "index"))


def test_membership_follows_the_index_not_the_row(cifar10_labels):
    indices = np.arange(50_000)
    order = np.random.default_rng(0).permutation(50_000)
    _, validation = split_train_validation(cifar10_labels, indices)
    _, moved = split_train_validation(cifar10_labels[order], indices[order])
    assert sorted(indices[order][moved]) == sorted(validation)


def test_counts_fractions_and_odd_sizes_are_exact():
    labels = np.random.default_rng(0).integers(0, 7, 1003)
    for size, expected in ((0.1, 100), (137, 137), (0, 0)):
        train, validation = split_train_validation(labels, np.arange(1003), size)
        assert (len(train), len(validation)) == (1003 - expected, expected)
        shares = np.bincount(labels[validation], minlength=7) - expected * np.bincount(labels) / 1003
        assert np.abs(shares).max() <= 1


def test_seeds_give_different_splits():
    labels = np.arange(1000) % 10
    first, second = (split_train_validation(labels, np.arange(1000), seed=seed)[1] for seed in (0, 1))
    assert len(np.intersect1d(first, second)) < 40


@pytest.mark.parametrize("size", [-0.1, 999, 3, float("nan"), float("inf")])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(UserError, match="validation_size"):
        split_train_validation(np.arange(1000) % 10, np.arange(1000), size)


def test_subsets_are_nested_and_stratified(cifar10_labels):
    indices = np.arange(50_000)
    smaller = set()
    for fraction in (0.001, 0.0103, 0.1, 0.5, 0.77):
        rows = choose_subset(cifar10_labels, indices, fraction)
        assert smaller < set(rows.tolist()) and (np.diff(rows) > 0).all()
        assert set(np.bincount(cifar10_labels[rows]).tolist()) == {round(fraction * 5000)}
        smaller = set(rows.tolist())
    five = choose_subset(cifar10_labels, indices, per_class=5)
    assert np.bincount(cifar10_labels[five]).tolist() == [5] * 10
    assert set(five.tolist()) == set(choose_subset(cifar10_labels, indices, fraction=0.001).tolist())
    other = choose_subset(cifar10_labels, indices, per_class=5, seed=1)
    assert set(five.tolist()) != set(other.tolist())


def test_a_tiny_share_still_has_every_class():
    labels = np.array([0] * 90 + [1] * 5)
    assert set(labels[choose_subset(labels, np.arange(95), 0.01)]) == {0, 1}


def test_too_many_images_per_class_are_refused():
    with pytest.raises(
        UserError, match="images_per_class=6 is more than the 5 training images of class 1; allowed: 1"
    ):
        choose_subset(np.array([0] * 90 + [1] * 5), np.arange(95), per_class=6)


def test_a_subset_of_the_training_images_leaves_validation_alone(data):
    whole, validation = prepare_tables(data.train, DataArguments())
    part, same = prepare_tables(data.train, DataArguments(images_per_class=5))
    assert len(part) == 50 and read_column(same, "index").tolist() == read_column(validation, "index").tolist()
    assert set(read_column(part, "index")) < set(read_column(whole, "index"))


def test_a_class_with_one_image_is_named():
    with pytest.raises(UserError, match="class 'b' has a single training image"):
        split_train_validation(np.array([0] * 20 + [1]), np.arange(21), 0.1, class_names=["a", "b"])
