"""Mistakes: counted like scikit-learn's confusion matrix, ordered by confidence; label suspects are cleanlab's."""

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from sklearn.metrics import confusion_matrix

from hf_cifar.evaluation import mistakes


@pytest.fixture
def predictions() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three models' probabilities of 600 images in 5 classes, right on most, and labels, some of them altered."""
    generator = np.random.default_rng(0)
    truths = generator.integers(5, size=600)
    labels = truths.copy()
    labels[:20] = (truths[:20] + 1) % 5
    logits = 4.0 * np.eye(5)[truths] + generator.normal(size=(3, 600, 5))
    values = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    return dict(zip("abc", values, strict=True)), labels


def test_confused_pairs_are_the_largest_cells_of_the_confusion_matrix(predictions):
    values, labels = predictions
    values = values["a"]
    found = mistakes.find_confused_pairs(values, labels, 4)
    matrix = confusion_matrix(labels, values.argmax(1))
    np.fill_diagonal(matrix, 0)
    assert [len(each.rows) for each in found] == sorted(matrix.ravel(), reverse=True)[:4]
    for each in found:
        assert matrix[each.true, each.predicted] == len(each.rows)
        assert set(labels[each.rows]) == {each.true} and set(values[each.rows].argmax(1)) == {each.predicted}
        assert (np.diff(values[each.rows].max(1)) <= 0).all()


def test_confident_mistakes_are_all_mistakes_the_surest_first(predictions):
    values, labels = predictions
    rows = mistakes.find_confident_mistakes(values["a"], labels)
    assert set(rows) == set(np.flatnonzero(values["a"].argmax(1) != labels))
    assert (np.diff(values["a"][rows].max(1)) <= 0).all()


def test_shared_mistakes_are_those_of_all_and_of_one(predictions):
    values, labels = predictions
    shared, only = mistakes.find_shared_mistakes(values, labels)
    misses = {name: set(np.flatnonzero(each.argmax(1) != labels)) for name, each in values.items()}
    assert set(shared) == misses["a"] & misses["b"] & misses["c"]
    assert set(only["a"]) == misses["a"] - misses["b"] - misses["c"]
    mean = np.mean([each[shared].max(1) for each in values.values()], axis=0)
    assert (np.diff(mean) <= 0).all()


def test_suspects_are_cleanlabs_and_those_all_models_doubt_come_first(predictions):
    values, labels = predictions
    found = mistakes.find_label_suspects(values, labels)
    for name, each in values.items():
        expected = set(np.flatnonzero(find_label_issues(labels, each)))
        assert {suspect.row for suspect in found if name in suspect.models} == expected
    votes = [len(suspect.models) for suspect in found]
    assert votes == sorted(votes, reverse=True)
    first = [suspect for suspect in found if len(suspect.models) == 3]
    altered = [suspect.row < 20 for suspect in first]
    assert len(altered) >= 10 and np.mean(altered) > 0.9
    assert all(suspect.suggested != labels[suspect.row] for suspect in found)
    assert all(a.quality <= b.quality for a, b in zip(first, first[1:], strict=False))


@pytest.mark.parametrize("labels", [np.zeros(6, dtype=int), np.array([0, 0, 1, 1, 1, 3])])
def test_missing_classes_and_a_constant_prediction_do_no_harm(labels):
    values = np.tile([0.7, 0.1, 0.1, 0.1], (6, 1))
    assert len(mistakes.find_confused_pairs(values, labels)) == len(set(labels) - {0})
    mistakes.find_label_suspects({"a": values, "b": values}, labels)
    shared, only = mistakes.find_shared_mistakes({"a": values, "b": values}, labels)
    assert len(shared) == (labels != 0).sum() and not any(map(len, only.values()))
