"""Metrics against scikit-learn, intervals against what is known of them."""

import numpy as np
import pytest
from sklearn import metrics as reference
from transformers import EvalPrediction

from hf_cifar.evaluation.metrics import (
    build_compute_metrics,
    compute_all_metrics,
    compute_from_confusion,
    resample_confusion,
    resample_mean,
)

NAMES = [f"class {k}" for k in range(5)]


@pytest.fixture(scope="module")
def predictions() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (400, 5) of which class 4 is never predicted, and labels."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 400)
    logits = generator.standard_normal((400, 5)) + 1.5 * np.eye(5)[labels]
    logits[:, 4] = -9
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(1, keepdims=True), labels


def test_every_number_is_scikit_learns(predictions):
    probabilities, labels = predictions
    predicted = probabilities.argmax(1)
    result = compute_all_metrics(probabilities, labels, NAMES)
    assert result["accuracy"]["value"] == reference.accuracy_score(labels, predicted)
    for average in ("macro", "weighted"):
        expected = reference.precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)
        assert [result[average][name]["value"] for name in ("precision", "recall", "f1")] == pytest.approx(
            expected[:3]
        )
    report = reference.classification_report(labels, predicted, target_names=NAMES, output_dict=True, zero_division=0)
    for name in NAMES:
        row = result["per_class"][name]
        assert (
            row["precision"]["value"],
            row["recall"]["value"],
            row["f1"]["value"],
            row["support"],
        ) == pytest.approx(
            (report[name]["precision"], report[name]["recall"], report[name]["f1-score"], report[name]["support"])
        )
    assert result["confusion_matrix"] == reference.confusion_matrix(labels, predicted).tolist()
    assert result["negative_log_likelihood"]["value"] == pytest.approx(reference.log_loss(labels, probabilities))
    assert result["per_class"]["class 4"]["precision"]["value"] == 0  # never predicted


def test_scores_of_a_matrix_are_those_of_its_predictions(predictions):
    probabilities, labels = predictions
    result = compute_all_metrics(probabilities, labels, NAMES)
    scores = compute_from_confusion(np.array(result["confusion_matrix"])[None])
    assert scores["accuracy"][0] == pytest.approx(result["accuracy"]["value"])
    for average in ("macro", "weighted"):
        for name, values in scores[average].items():
            assert values[0] == pytest.approx(result[average][name]["value"])


def test_the_interval_of_accuracy_is_the_binomials(predictions):
    probabilities, labels = predictions
    accuracy = compute_all_metrics(probabilities, labels, NAMES)["accuracy"]
    error = 1.96 * (accuracy["value"] * (1 - accuracy["value"]) / 400) ** 0.5
    assert accuracy["low"] == pytest.approx(accuracy["value"] - error, abs=0.006)
    assert accuracy["high"] == pytest.approx(accuracy["value"] + error, abs=0.006)


def test_resampling_a_matrix_is_resampling_images(predictions):
    probabilities, labels = predictions
    predicted = probabilities.argmax(1)
    matrix = reference.confusion_matrix(labels, predicted)
    by_cells = compute_from_confusion(resample_confusion(matrix))["macro"]["f1"]
    generator = np.random.default_rng(1)
    rows = generator.integers(0, 400, (600, 400))
    by_images = [
        reference.f1_score(labels[r], predicted[r], average="macro", labels=range(5), zero_division=0) for r in rows
    ]
    assert by_cells.mean() == pytest.approx(np.mean(by_images), abs=0.004)
    assert by_cells.std() == pytest.approx(np.std(by_images), rel=0.12)


def test_the_bootstrap_of_a_mean_has_its_standard_error():
    values = np.random.default_rng(0).exponential(size=500)
    assert resample_mean(values).std() == pytest.approx(values.std() / 500**0.5, rel=0.08)


def test_the_trainers_metrics_take_plain_and_tupled_logits():
    logits = np.eye(10)[[1, 2, 3, 3]]
    compute = build_compute_metrics(10)
    for predictions in (logits, (logits, "hidden states")):
        result = compute(EvalPrediction(predictions, np.array([1, 2, 3, 4])))
        assert result["accuracy"] == 0.75 and 0 < result["macro_f1"] < 1
