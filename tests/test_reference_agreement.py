"""Agreement with people: equal to scipy's divergence and rank correlation; subsets leave out what they say."""

import numpy as np
import pytest
from scipy.stats import entropy, spearmanr

from hf_cifar.data.reference import Dispute, ReferenceData
from hf_cifar.evaluation import reference_agreement as agreement


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A model's probabilities, labels, and people's shares that resemble them, of 300 images in 4 classes."""
    generator = np.random.default_rng(0)
    shares = generator.dirichlet([0.3] * 4, size=300)
    shares[:50] = np.eye(4)[generator.integers(4, size=50)]
    values = 0.7 * shares + 0.3 * generator.dirichlet([0.5] * 4, size=300)
    return values, shares.argmax(1), shares


def test_divergence_and_correlation_are_scipys(case):
    values, labels, shares = case
    found = agreement.measure_human_agreement({"a": values, "b": values[::-1]}, labels, shares, resamples=500)
    for name, own in (("a", values), ("b", values[::-1])):
        expected = {
            "kl_divergence": entropy(shares, np.maximum(own, 1e-12), axis=1).mean(),
            "entropy_correlation": spearmanr(entropy(shares, axis=1), entropy(own, axis=1)).statistic,
            "majority_accuracy": (own.argmax(1) == shares.argmax(1)).mean(),
        }
        for key, value in expected.items():
            assert found[name][key]["value"] == pytest.approx(value, abs=1e-6), key
            assert found[name][key]["low"] < found[name][key]["value"] < found[name][key]["high"]
    assert found["a"]["entropy_correlation"]["low"] > found["b"]["entropy_correlation"]["high"]


def test_a_model_that_is_equally_sure_of_all_has_no_correlation(case):
    _, labels, shares = case
    found = agreement.measure_human_agreement({"a": np.full((300, 4), 0.25)}, labels, shares, resamples=50)
    assert found["a"]["entropy_correlation"] is None


def test_groups_by_agreement_hold_each_image_once(case):
    values, labels, shares = case
    hits = values.argmax(1) == labels
    groups = agreement.measure_by_agreement({"a": hits}, labels, shares)
    assert sum(group["images"] for group in groups) == 300
    assert groups[0]["images"] == (shares.max(1) > 1 - 1e-9).sum() and groups[0]["low"] == groups[0]["high"] == 1
    right = sum(group["images"] * group["accuracy"]["a"]["value"] for group in groups)
    assert right == pytest.approx(hits.sum())


def test_subsets_leave_out_duplicates_and_labels_without_a_majority():
    def dispute(index: int, given: int) -> Dispute:
        return Dispute(index, 0, {"given": given, "guessed": 5 - given, "neither": 0, "both": 0})

    indices, hits = np.arange(10, 20), np.array([True] * 5 + [False] * 5)
    reference = ReferenceData(duplicates=[(10, 0), (11, 3), (99, 5)], disputes=[dispute(19, 2), dispute(18, 3)])
    found = agreement.measure_subsets({"a": hits}, indices, reference)
    assert {name: each["images"] for name, each in found.items()} == {
        "all": 10, "without_duplicates": 8, "without_disputed": 9, "without_both": 7
    }  # fmt: skip
    assert found["without_both"]["accuracy"]["a"]["value"] == pytest.approx(3 / 7)
    everything = ReferenceData(duplicates=[(int(index), 0) for index in indices])
    assert list(agreement.measure_subsets({"a": hits}, indices, everything)) == ["all"]


def test_the_interval_of_a_share_is_the_bootstraps():
    hits = np.arange(400) % 10 > 0
    found = agreement.estimate_share(hits)
    draws = np.random.default_rng(1).choice(hits, size=(4000, 400)).mean(1)
    assert found["value"] == 0.9 and np.quantile(draws, [0.025, 0.975]) == pytest.approx(
        [found["low"], found["high"]], abs=0.005
    )
