"""Scores against scikit-learn, with weights, ties and what is undefined; intervals from shared resamples."""

import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from hf_cifar.errors import UserError
from hf_cifar.evaluation.scores import (
    compute_balanced_accuracy,
    compute_brier,
    compute_kappa,
    compute_matthews,
    compute_negative_log_likelihood,
    compute_roc_auc,
    compute_roc_auc_per_class,
    compute_top_k_accuracy,
    estimate_scores,
)
from hf_cifar.evaluation.statistics import bootstrap_accuracies, draw_counts

SCORES = {
    "top_1": partial(compute_top_k_accuracy, k=1),
    "top_2": partial(compute_top_k_accuracy, k=2),
    "kappa": compute_kappa,
    "matthews": compute_matthews,
    "balanced_accuracy": compute_balanced_accuracy,
    "roc_auc": compute_roc_auc,
    "roc_auc_per_class": compute_roc_auc_per_class,
    "negative_log_likelihood": compute_negative_log_likelihood,
    "brier": compute_brier,
}


def make_predictions(seed: int, count: int = 60, classes: int = 4, levels: int | None = None) -> tuple:
    """Probabilities, labels and weights; with few `levels` of logits there are many ties."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    logits = generator.standard_normal((count, classes)) + np.eye(classes)[labels]
    if levels:
        logits = np.round(logits * levels / 4)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities, labels, generator.exponential(size=count)


def ask_scikit_learn(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None) -> dict:
    classes = probabilities.shape[1]
    predicted, actual = probabilities.argmax(1), np.eye(classes)[labels]
    given_weights = {"sample_weight": weights}
    return {
        "top_1": reference.accuracy_score(labels, predicted, **given_weights),
        "kappa": reference.cohen_kappa_score(labels, predicted, **given_weights),
        "matthews": reference.matthews_corrcoef(labels, predicted, **given_weights),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted, **given_weights),
        "roc_auc": reference.roc_auc_score(labels, probabilities, multi_class="ovr", **given_weights),
        "roc_auc_per_class": [
            reference.roc_auc_score(labels == k, probabilities[:, k], **given_weights) for k in range(classes)
        ],
        "negative_log_likelihood": reference.log_loss(labels, probabilities, **given_weights),
        "brier": classes * reference.mean_squared_error(actual, probabilities, **given_weights),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(40, 90), st.integers(3, 5), st.sampled_from([None, 2, 4]), st.booleans())
def test_scores_are_scikit_learns(seed, count, classes, levels, weighted):
    probabilities, labels, weights = make_predictions(seed, count, classes, levels)
    labels[:classes] = range(classes)
    weights = weights if weighted else None
    for name, expected in ask_scikit_learn(probabilities, labels, weights).items():
        np.testing.assert_allclose(SCORES[name](probabilities, labels, weights), expected, atol=1e-9, err_msg=name)


def test_top_k_is_scikit_learns_and_breaks_ties_as_argmax():
    probabilities, labels, weights = make_predictions(0, 200, 6)
    for k in (1, 2, 5):
        expected = reference.top_k_accuracy_score(labels, probabilities, k=k, sample_weight=weights)
        assert compute_top_k_accuracy(probabilities, labels, weights, k) == pytest.approx(expected, abs=1e-12)
    assert compute_top_k_accuracy(probabilities, labels, k=6) == 1
    uniform, labels = np.full((6, 3), 1 / 3), np.array([0, 0, 0, 1, 1, 2])
    assert [compute_top_k_accuracy(uniform, labels, k=k) for k in (1, 2, 3)] == pytest.approx([1 / 2, 5 / 6, 1])
    for k in (0, 4):
        with pytest.raises(UserError, match=f"k={k} is out of range; allowed: 1 to 3"):
            compute_top_k_accuracy(uniform, labels, k=k)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([None, 2]))
def test_counts_are_repeated_images(seed, levels):
    probabilities, labels, _ = make_predictions(seed, levels=levels)
    counts = next(draw_counts(60, 3, seed))
    for name, score in SCORES.items():
        values = score(probabilities, labels, counts)
        for value, row in zip(values, counts.astype(int), strict=True):
            repeated = score(np.repeat(probabilities, row, axis=0), np.repeat(labels, row))
            np.testing.assert_allclose(value, repeated, atol=1e-9, err_msg=name)  # NaN where the other is


def test_zeros_and_ones():
    labels = np.array([0, 1, 2, 1])
    perfect, wrong = np.eye(3)[labels], np.eye(3)[(labels + 1) % 3]
    values = {name: score(perfect, labels, None) for name, score in SCORES.items()}
    assert values["negative_log_likelihood"] == values["brier"] == 0
    assert {name for name in values if (np.array(values[name]) == 1).all()} == {*SCORES} - {
        "negative_log_likelihood", "brier"
    }  # fmt: skip
    assert compute_negative_log_likelihood(wrong, labels) == pytest.approx(-np.log(1e-12))  # finite
    assert compute_brier(wrong, labels) == 2


def test_one_class_predicted_is_no_skill():
    probabilities, labels = np.tile([0.2, 0.5, 0.3], (30, 1)), np.arange(30) % 3
    weights = np.random.default_rng(0).random((50, 30))  # sums of which are rounded
    for weighting in (None, *weights):
        assert compute_kappa(probabilities, labels, weighting) == pytest.approx(0, abs=1e-12)
        assert compute_matthews(probabilities, labels, weighting) == 0
        assert compute_balanced_accuracy(probabilities, labels, weighting) == pytest.approx(1 / 3)
        assert compute_roc_auc_per_class(probabilities, labels, weighting) == pytest.approx([0.5] * 3)
        assert np.isnan(compute_kappa(probabilities, np.ones(30, dtype=int), weighting))


def test_a_missing_class_is_none_with_a_reason():
    probabilities, labels, _ = make_predictions(0, 300)
    kept = labels != 2
    results = estimate_scores(SCORES, probabilities[kept], labels[kept], 200)
    undefined = {"value": None, "low": None, "high": None, "reason": "no image of class 2"}
    assert results["roc_auc"] == results["balanced_accuracy"] == results["roc_auc_per_class"][2] == undefined
    for result in (results["kappa"], results["matthews"], results["brier"], results["roc_auc_per_class"][0]):
        assert result["low"] < result["value"] < result["high"]


def test_one_class_or_one_image_only():
    probabilities = np.array([[0.1, 0.9], [0.2, 0.8]])
    for count in (1, 2):
        results = estimate_scores(SCORES, probabilities[:count], np.ones(count, dtype=int), 50)
        assert results["kappa"]["reason"] == results["roc_auc"]["reason"] == "all images are of class 1"
        assert results["matthews"]["value"] == 0 and results["top_1"]["value"] == 1
        assert results["brier"]["low"] <= results["brier"]["value"] <= results["brier"]["high"]


def test_a_rare_class_leaves_no_interval_unless_it_is_drawn():
    probabilities, labels, _ = make_predictions(0, 300)
    labels[labels == 2] = 1
    labels[0] = 2  # the only one: 37 % of the resamples are without it
    result = estimate_scores({"auc": compute_roc_auc_per_class}, probabilities, labels, 400)["auc"]
    assert result[2]["value"] is not None and result[2]["low"] is None and "of 400 resamples" in result[2]["reason"]
    assert result[1]["low"] < result[1]["value"] < result[1]["high"]


def test_intervals_share_their_resamples():
    probabilities, labels, _ = make_predictions(0, 300)
    result = estimate_scores(SCORES, probabilities, labels, 500, seed=4)
    hits = probabilities.argmax(1) == labels
    samples = bootstrap_accuracies(hits[None], 500, seed=4)[:, 0]
    assert result["top_1"]["low"] == pytest.approx(np.quantile(samples, 0.025))
    losses = -np.log(probabilities[np.arange(300), labels])
    width = result["negative_log_likelihood"]["high"] - result["negative_log_likelihood"]["low"]
    assert width == pytest.approx(2 * 1.96 * losses.std() / 300**0.5, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(2, 4), st.sampled_from([None, 1]))
def test_whatever_comes_the_numbers_are_finite_or_none(seed, count, classes, levels):
    probabilities, labels, _ = make_predictions(seed, count, classes, levels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = estimate_scores(SCORES, probabilities, labels, 20)
    for result in results.values():
        for estimate in result if isinstance(result, list) else [result]:
            numbers = [estimate[key] for key in ("value", "low", "high")]
            assert all(number is None or np.isfinite(number) for number in numbers)
            assert None not in numbers or estimate["reason"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, y: (np.where(np.arange(60)[:, None] % 20 == 7, np.nan, p), y), "3 of 60 rows .*first: row 7"),
        (lambda p, y: (np.log(p), y), "60 of 60 rows of probabilities are negative"),
        (lambda p, y: (p * 2, y), "do not sum to 1"),
        (lambda p, y: (p[0], y), "shape"),
        (lambda p, y: (p[:0], y[:0]), "N at least 1"),
        (lambda p, y: (p, y[1:]), "labels are int64 of shape"),
        (lambda p, y: (p, y.astype(str)), "one integer for each row"),
        (lambda p, y: (p, y + 1), "labels go from 1 to 4; allowed: 0 to 3"),
    ],
)
def test_bad_predictions_are_refused(change, message):
    probabilities, labels, _ = make_predictions(0)
    for score in SCORES.values():
        with pytest.raises(UserError, match=message):
            score(*change(probabilities, labels), None)
