"""Mistakes: what is chosen to be looked at, and what people's votes say."""

import numpy as np
import pytest
from scipy.stats import entropy

from hf_cifar.data.reference import Dispute, ReferenceData
from hf_cifar.evaluation.mistakes import (
    compare_with_people,
    find_suspected_labels,
    rank_confident_mistakes,
    split_by_hits,
)


@pytest.fixture
def predictions():
    """Probabilities of 300 images and their labels, of which the first five are wrong labels."""
    generator = np.random.default_rng(0)
    truths = generator.integers(0, 4, 300)
    probabilities = np.full((300, 4), 0.02)
    probabilities[np.arange(300), truths] = 0.94
    labels = truths.copy()
    labels[:5] = (truths[:5] + 1) % 4
    return probabilities, labels


def test_mistakes_are_ranked_by_confidence():
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert rank_confident_mistakes(probabilities, np.array([1, 0, 0, 0])).tolist() == [1, 3, 0]


def test_images_are_split_by_who_is_right():
    groups = split_by_hits(np.array([[1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 0, 1]], dtype=bool))
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        "all": [0], "none": [2], "0": [1], "1": [], "2": [],
    }  # fmt: skip
    assert set(split_by_hits(np.ones((1, 3), dtype=bool))) == {"all", "none"}


def test_wrong_labels_are_suspected_first(predictions):
    probabilities, labels = predictions
    rows, guesses = find_suspected_labels([probabilities, probabilities], labels)
    assert set(rows[:5]) == set(range(5)) and (guesses[:5] == probabilities[rows[:5]].argmax(1)).all()
    assert len(find_suspected_labels([probabilities], np.zeros(300, dtype=int))[0]) == 0  # one class: nothing to say


def test_a_class_without_images_does_not_matter(predictions):
    probabilities, labels = predictions
    kept = labels != 3
    rows, _ = find_suspected_labels([probabilities[kept]], labels[kept])
    assert len(rows) < 10


def test_people_are_compared_with(predictions):
    probabilities, labels = predictions
    shares = np.zeros((10_000, 4))
    shares[:, 0], shares[:, 1] = 0.75, 0.25
    shares[::2] = [0.25, 0.25, 0.25, 0.25]
    disputes = [Dispute(7, 1, {"given": 1, "guessed": 4, "neither": 0, "both": 0}),
                Dispute(8, 1, {"given": 4, "guessed": 1, "neither": 0, "both": 0})]  # fmt: skip
    reference = ReferenceData(shares, disputes, [(0, 11), (1, 12)])
    indices = np.arange(300)
    facts = compare_with_people(probabilities, labels, indices, reference)
    expected = np.mean([entropy(share, values) for share, values in zip(shares[:300], probabilities, strict=True)])
    assert facts["human_divergence"]["value"] == pytest.approx(expected)
    assert facts["human_divergence"]["low"] < expected < facts["human_divergence"]["high"]
    assert facts["without_duplicates"]["left_out"] == 2
    assert facts["without_duplicates"]["value"] == pytest.approx(295 / 298)
    assert facts["without_disputed"]["left_out"] == 1
    assert compare_with_people(probabilities, labels, indices, ReferenceData()) == {}
