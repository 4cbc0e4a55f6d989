"""Metrics against scikit-learn, intervals against what is known of them."""

import json

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


def test_further_scores_are_scikit_learns(predictions):
    probabilities, labels = predictions
    predicted, result = probabilities.argmax(1), compute_all_metrics(probabilities, labels, NAMES)
    areas = reference.roc_auc_score(np.eye(5)[labels], probabilities, average=None)
    expected = {
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
        "kappa": reference.cohen_kappa_score(labels, predicted),
        "matthews": reference.matthews_corrcoef(labels, predicted),
        "roc_auc": areas.mean(),
        "brier": ((probabilities - np.eye(5)[labels]) ** 2).sum(1).mean(),
    }
    scores = result["scores"]
    assert {name: scores[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert set(scores) == {*expected, "calibration_error"}  # top-5 accuracy of 5 classes is always 1
    assert [row["value"] for row in result["roc_auc_per_class"].values()] == pytest.approx(areas.tolist(), abs=1e-9)
    assert all(
        score["low"] <= score["value"] <= score["high"] for name, score in scores.items() if "error" not in name
    )
    assert scores["calibration_error"]["low"] >= 0


def test_a_class_that_is_missing_leaves_scores_undefined_and_says_so(predictions):
    probabilities, labels = predictions
    rows = labels != 2
    result = compute_all_metrics(probabilities[rows], labels[rows], NAMES)
    for score in (result["scores"]["roc_auc"], result["roc_auc_per_class"]["class 2"]):
        assert score == {"value": None, "low": None, "high": None, "reason": "no image of class 2"}
    assert result["roc_auc_per_class"]["class 1"]["value"] > 0.5
    json.dumps(result, allow_nan=False)


def test_top_5_accuracy_of_many_classes():
    probabilities = np.full((30, 12), 1 / 12)
    labels = np.arange(30) % 12
    top = compute_all_metrics(probabilities, labels, [str(k) for k in range(12)])["scores"]["top_5_accuracy"]
    assert top["value"] == (labels < 5).mean()  # of equal ones the first count
