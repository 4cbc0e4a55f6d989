"""Owns a split's metrics: local `evaluate` modules over scikit-learn, further scores, bootstrap intervals."""

from collections.abc import Callable
from functools import partial

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support
from transformers import EvalPrediction

from .calibration import compute_calibration_error
from .scores import (
    Score,
    compute_balanced_accuracy,
    compute_brier,
    compute_kappa,
    compute_matthews,
    compute_negative_log_likelihood,
    compute_roc_auc_per_class,
    compute_top_k_accuracy,
    divide,
    estimate_scores,
)
from .statistics import add_interval

RESAMPLES = 2000
CALIBRATION_SCORES: dict[str, Score] = {
    "calibration_error": compute_calibration_error,
    "negative_log_likelihood": compute_negative_log_likelihood,
    "brier": compute_brier,
}
_CITATION = "Pedregosa et al. 2011, Scikit-learn: Machine Learning in Python, JMLR 12"
_FEATURES = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})


class _ClassMetric(evaluate.Metric):
    """An `evaluate` module on predicted and true class numbers that no script is fetched for."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__, citation=_CITATION, inputs_description="class numbers", features=_FEATURES
        )


class Accuracy(_ClassMetric):
    """Top-1 accuracy."""

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class PrecisionRecallF1(_ClassMetric):
    """Precision, recall and F1: macro, weighted by support, and per class; 0 where nothing was predicted."""

    def _compute(self, predictions: list[int], references: list[int], num_classes: int) -> dict[str, object]:
        def score(average: str | None) -> tuple:
            return precision_recall_fscore_support(
                references, predictions, labels=range(num_classes), average=average, zero_division=0
            )

        names = ("precision", "recall", "f1")
        result = {
            average: dict(zip(names, map(float, score(average)[:3]), strict=True)) for average in ("macro", "weighted")
        }
        rows = zip(*score(None), strict=True)
        result["per_class"] = [dict(zip((*names, "support"), map(float, row), strict=True)) for row in rows]
        return result


class ConfusionMatrix(_ClassMetric):
    """Counts by true class (rows) and predicted class (columns)."""

    def _compute(self, predictions: list[int], references: list[int], num_classes: int) -> dict[str, list[list[int]]]:
        matrix = confusion_matrix(references, predictions, labels=range(num_classes))
        return {"confusion_matrix": matrix.tolist()}


def build_compute_metrics(num_classes: int) -> Callable[[EvalPrediction], dict[str, float]]:
    """For `Trainer(compute_metrics=...)`: accuracy and macro F1."""
    accuracy, f1 = Accuracy(keep_in_memory=True), PrecisionRecallF1(keep_in_memory=True)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        classes = {"predictions": logits.argmax(-1), "references": prediction.label_ids}
        macro = f1.compute(**classes, num_classes=num_classes)["macro"]
        return accuracy.compute(**classes) | {"macro_f1": macro["f1"]}

    return compute_metrics


def compute_all_metrics(probabilities: np.ndarray, labels: np.ndarray, class_names: list[str]) -> dict[str, object]:
    """Everything that results.json holds about one split.

    Args:
        probabilities: float (N, K), rows sum to 1.
        labels: integers (N,).
        class_names: K names.

    Returns:
        Numbers as `{"value", "low", "high"}` with the bootstrap's 95 % interval; `per_class` and `roc_auc_per_class`
        by name; counts. Of `scores` and `roc_auc_per_class`, one that is undefined has None, and a `reason`.
    """
    num_classes = len(class_names)
    classes = {"predictions": probabilities.argmax(-1), "references": labels}
    scores = PrecisionRecallF1(keep_in_memory=True).compute(**classes, num_classes=num_classes)
    matrix = ConfusionMatrix(keep_in_memory=True).compute(**classes, num_classes=num_classes)["confusion_matrix"]
    samples = compute_from_confusion(resample_confusion(np.array(matrix)))
    result = {"num_images": len(labels)}
    accuracy = Accuracy(keep_in_memory=True).compute(**classes)["accuracy"]
    result["accuracy"] = add_interval(accuracy, samples["accuracy"])
    for average in ("macro", "weighted"):
        result[average] = {
            name: add_interval(value, samples[average][name]) for name, value in scores[average].items()
        }
    result["per_class"] = {
        class_name: {
            name: add_interval(row[name], samples["per_class"][name][:, k]) for name in ("precision", "recall", "f1")
        }
        | {"support": int(row["support"])}
        for k, (class_name, row) in enumerate(zip(class_names, scores["per_class"], strict=True))
    }
    result["confusion_matrix"] = matrix
    clipped = np.clip(probabilities, 1e-12, None)
    losses = -np.log(clipped[np.arange(len(labels)), labels])
    value = float(log_loss(labels, clipped / clipped.sum(1, keepdims=True), labels=range(num_classes)))
    result["negative_log_likelihood"] = add_interval(value, resample_mean(losses))
    estimates = estimate_scores(list_scores(num_classes), probabilities, labels, RESAMPLES)
    *areas, estimates["roc_auc"] = estimates["roc_auc"]
    return result | {"scores": estimates, "roc_auc_per_class": dict(zip(class_names, areas, strict=True))}


def compute_areas(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """ROC-AUC of each class against the rest, and last their mean: (..., K + 1)."""
    areas = compute_roc_auc_per_class(probabilities, labels, weights)
    return np.concatenate([areas, areas.mean(-1, keepdims=True)], axis=-1)


def list_scores(num_classes: int) -> dict[str, Score]:
    """Scores beside accuracy, precision, recall, F1 and loss; top-5 accuracy says nothing of 5 classes or fewer."""
    top = {"top_5_accuracy": partial(compute_top_k_accuracy, k=5)} if num_classes > 5 else {}
    return top | {
        "balanced_accuracy": compute_balanced_accuracy,
        "kappa": compute_kappa,
        "matthews": compute_matthews,
        "roc_auc": compute_areas,
        "brier": compute_brier,
        "calibration_error": compute_calibration_error,
    }


def resample_confusion(matrix: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Bootstrap a confusion matrix: drawing N images with replacement is one multinomial draw over its cells.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap; exact for any metric of the matrix.

    Args:
        matrix: integers (K, K).
        resamples: how many.
        seed: of the generator.

    Returns:
        Integers (resamples, K, K).
    """
    counts = matrix.ravel()
    draws = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=resamples)
    return draws.reshape(resamples, *matrix.shape)


def resample_mean(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Bootstrap the mean of values (N,): float (resamples,)."""
    generator = np.random.default_rng(seed)
    return np.array([values[generator.integers(len(values), size=len(values))].mean() for _ in range(resamples)])


def compute_from_confusion(matrices: np.ndarray) -> dict[str, object]:
    """Accuracy, precision, recall and F1 of many confusion matrices at once.

    Args:
        matrices: integers (R, K, K), true class first.

    Returns:
        `accuracy` (R,), `macro` and `weighted` with (R,) each, `per_class` with (R, K) each.
    """
    hits = np.einsum("rkk->rk", matrices).astype(float)
    predicted, support = matrices.sum(1), matrices.sum(2)
    parts = {"precision": (hits, predicted), "recall": (hits, support), "f1": (2 * hits, predicted + support)}
    per_class = {name: np.nan_to_num(divide(*part)) for name, part in parts.items()}  # 0 where nothing was predicted
    total = matrices.sum((1, 2))
    return {
        "accuracy": hits.sum(1) / total,
        "macro": {name: values.mean(1) for name, values in per_class.items()},
        "weighted": {name: (values * support).sum(1) / total for name, values in per_class.items()},
        "per_class": per_class,
    }
