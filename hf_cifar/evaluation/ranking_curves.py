"""Owns ROC and precision-recall curves of each class against the rest, on a grid that curves can be averaged on."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from .scores import check_predictions

# Much of an accurate model's ROC curve lies below a false-positive rate of 1 %.
FALSE_POSITIVE_RATES = np.concatenate([[0.0], np.geomspace(1e-4, 1, 161)])
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class RankingCurves:
    """Curves of the classes that have both images and others beside them.

    Attributes:
        classes: their numbers (C,).
        true_positive_rates: (C, 162), at `FALSE_POSITIVE_RATES`.
        precisions: (C, 101), the highest at each of `RECALLS` or a higher recall.
    """

    classes: np.ndarray
    true_positive_rates: np.ndarray
    precisions: np.ndarray


def compute_ranking_curves(probabilities: np.ndarray, labels: np.ndarray) -> RankingCurves | None:
    """One curve per class against the rest, by scikit-learn; None where all images are of one class.

    Args:
        probabilities: (N, K).
        labels: integers (N,).
    """
    probabilities, labels = check_predictions(probabilities, labels)
    classes = np.unique(labels)
    if len(classes) < 2:
        return None
    rates, precisions = [], []
    for number in classes:
        is_own = labels == number
        false_positives, true_positives, _ = roc_curve(is_own, probabilities[:, number])
        # Several points may share a rate; the highest of them is what the model reaches there.
        places = np.searchsorted(false_positives, FALSE_POSITIVE_RATES, side="right") - 1
        exact = false_positives[places] == FALSE_POSITIVE_RATES
        between = np.interp(FALSE_POSITIVE_RATES, false_positives, true_positives)
        rates.append(np.where(exact, true_positives[places], between))
        precision, recall, _ = precision_recall_curve(is_own, probabilities[:, number])  # recall falls from 1 to 0
        best = np.maximum.accumulate(precision)
        precisions.append(best[len(recall) - 1 - np.searchsorted(recall[::-1], RECALLS - 1e-12)])
    return RankingCurves(classes, np.stack(rates), np.stack(precisions))
