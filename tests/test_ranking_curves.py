"""ROC and precision-recall curves: their areas are scikit-learn's, up to the grid."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_auc_score

from hf_cifar.evaluation.ranking_curves import FALSE_POSITIVE_RATES, RECALLS, compute_ranking_curves


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(4, size=2000)
    logits = 2.0 * np.eye(4)[labels] + generator.normal(size=(2000, 4))
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels


def test_the_area_is_roc_auc(case):
    values, labels = case
    curves = compute_ranking_curves(values, labels)
    areas = np.trapezoid(curves.true_positive_rates, FALSE_POSITIVE_RATES, axis=1)
    assert areas.mean() == pytest.approx(roc_auc_score(labels, values, multi_class="ovr"), abs=2e-3)


def test_precision_is_the_best_at_a_recall_or_above(case):
    values, labels = case
    curves = compute_ranking_curves(values, labels)
    precision, recall, _ = precision_recall_curve(labels == 2, values[:, 2])
    for place in (0, 30, 77, 100):
        assert curves.precisions[2, place] == precision[recall >= RECALLS[place] - 1e-12].max()


def test_degenerate_predictions(case):
    _, labels = case
    perfect = compute_ranking_curves(np.eye(4)[labels], labels)
    assert (perfect.true_positive_rates == 1).all() and (perfect.precisions == 1).all()
    constant = compute_ranking_curves(np.full((2000, 4), 0.25), labels)
    assert constant.true_positive_rates == pytest.approx(np.tile(FALSE_POSITIVE_RATES, (4, 1)))
    assert list(compute_ranking_curves(np.full((9, 4), 0.25), np.arange(9) % 2 * 3).classes) == [0, 3]
    assert compute_ranking_curves(np.full((9, 4), 0.25), np.zeros(9, dtype=int)) is None
