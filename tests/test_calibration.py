"""Calibration: bins that do not depend on order, errors that are known, a temperature that is found again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from hf_cifar.errors import UserError
from hf_cifar.evaluation.calibration import (
    apply_temperature,
    build_reliability_table,
    compute_calibration_error,
    describe_calibration,
    fit_temperature,
    take_logarithm,
)
from hf_cifar.evaluation.metrics import CALIBRATION_SCORES
from hf_cifar.evaluation.scores import compute_negative_log_likelihood, estimate_scores
from hf_cifar.evaluation.statistics import draw_counts


def make_logits(seed: int, count: int = 2000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are calibrated: labels are drawn from their softmax."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.standard_normal((count, classes))
    return logits, (logits + generator.gumbel(size=logits.shape)).argmax(1)


def compute_plainly(probabilities: np.ndarray, labels: np.ndarray, num_bins: int) -> float:
    """The definition, for images of different confidences that the bins divide."""
    order = probabilities.max(1).argsort()
    hits = probabilities.argmax(1) == labels
    parts = np.split(order, num_bins)
    return float(np.mean([abs(hits[part].mean() - probabilities.max(1)[part].mean()) for part in parts]))


@pytest.mark.parametrize("num_bins", [1, 4, 15])
def test_the_error_is_its_definition(num_bins):
    logits, labels = make_logits(0, 600)
    probabilities = softmax(2 * logits, axis=1)
    expected = compute_plainly(probabilities, labels, num_bins)
    assert compute_calibration_error(probabilities, labels, num_bins=num_bins) == pytest.approx(expected, abs=1e-12)
    table = build_reliability_table(probabilities, labels, num_bins)
    assert [row["count"] for row in table] == [600 // num_bins] * num_bins
    assert sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in table) / 600 == pytest.approx(
        expected
    )
    assert [row["confidence"] for row in table] == sorted(row["confidence"] for row in table)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.booleans())
def test_counts_are_repeated_images_and_order_plays_no_part(seed, count, tied):
    logits, labels = make_logits(seed, count)
    probabilities = softmax(np.round(logits / 2) if tied else logits, axis=1)
    counts = next(draw_counts(count, 3, seed))
    values = compute_calibration_error(probabilities, labels, counts)
    for value, row in zip(values, counts.astype(int), strict=True):
        repeated = np.repeat(probabilities, row, axis=0), np.repeat(labels, row)
        assert value == pytest.approx(compute_calibration_error(*repeated), abs=1e-12)
    order = np.random.default_rng(seed).permutation(count)
    expected = compute_calibration_error(probabilities[order], labels[order])
    assert compute_calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-12)


def test_a_calibrated_model_has_a_small_error_and_a_proud_one_a_large_one():
    logits, labels = make_logits(1, 20_000)
    calibrated = compute_calibration_error(softmax(logits, axis=1), labels)
    proud = softmax(3 * logits, axis=1)
    assert calibrated < 0.012
    expected = proud.max(1).mean() - (proud.argmax(1) == labels).mean()  # too sure in every bin
    assert compute_calibration_error(proud, labels) == pytest.approx(expected, abs=0.005) and expected > 0.1


def test_errors_of_degenerate_predictions():
    labels = np.array([0, 1, 2, 0])
    assert compute_calibration_error(np.eye(3)[labels], labels) == 0
    assert compute_calibration_error(np.eye(3)[(labels + 1) % 3], labels) == 1
    constant = np.tile([0.6, 0.3, 0.1], (4, 1))  # one bin, right on half of the images
    assert compute_calibration_error(constant, labels) == pytest.approx(0.1)
    assert build_reliability_table(constant, labels) == [
        {"confidence": pytest.approx(0.6), "accuracy": 0.5, "count": 4}
    ]
    assert compute_calibration_error(constant[:1], labels[:1]) == pytest.approx(0.4)
    with pytest.raises(UserError, match="num_bins=0"):
        compute_calibration_error(constant, labels, num_bins=0)
    with pytest.raises(UserError, match="1 of 4 rows"):
        compute_calibration_error(np.where(np.arange(4)[:, None] == 2, np.nan, constant), labels)


def test_the_error_has_an_interval():
    logits, labels = make_logits(2, 1500)
    probabilities = softmax(3 * logits, axis=1)
    result = estimate_scores({"error": compute_calibration_error}, probabilities, labels, 300)["error"]
    assert result["low"] < result["value"] < result["high"] < result["low"] + 0.1


@pytest.mark.parametrize("temperature", [0.2, 1, 1.7, 8])
def test_the_temperature_is_found_again(temperature):
    logits, labels = make_logits(3, 20_000)
    fit = fit_temperature(temperature * logits, labels)
    assert fit["temperature"] == pytest.approx(temperature, rel=0.04) and fit["reason"] is None
    assert fit["after"] <= fit["before"]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.3, 5))
def test_the_minimum_is_another_optimizers(seed, scale):
    logits, labels = make_logits(seed, 100)
    logits *= scale
    fit = fit_temperature(logits, labels)

    def measure_loss(inverse: np.ndarray) -> float:
        return -log_softmax(logits * inverse[0], axis=1)[np.arange(100), labels].mean()

    expected = minimize(measure_loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12})
    assert fit["reason"] or fit["temperature"] == pytest.approx(1 / expected.x[0], rel=1e-3)
    assert fit["reason"] or fit["after"] == pytest.approx(expected.fun, abs=1e-8)


def test_logits_and_log_probabilities_have_one_temperature():
    logits, labels = make_logits(4)
    probabilities = softmax(2 * logits, axis=1)
    fit, other = fit_temperature(2 * logits, labels), fit_temperature(take_logarithm(probabilities), labels)
    assert fit == pytest.approx(other, abs=1e-9)
    scaled = apply_temperature(probabilities, fit["temperature"])
    np.testing.assert_allclose(scaled, softmax(2 * logits / fit["temperature"], axis=1), atol=1e-12)
    assert compute_negative_log_likelihood(scaled, labels) == pytest.approx(fit["after"])
    assert (scaled.argmax(1) == probabilities.argmax(1)).all()
    assert compute_calibration_error(scaled, labels) < compute_calibration_error(probabilities, labels)
    np.testing.assert_allclose(apply_temperature(probabilities, 1), probabilities, atol=1e-15)


def test_temperatures_of_degenerate_predictions():
    labels = np.arange(40) % 4
    for logits in (5 * np.eye(4)[labels], np.zeros((40, 4)), np.array([[1.0, 0]])):  # perfect, constant, one image
        fit = fit_temperature(logits, labels[: len(logits)])
        assert fit["temperature"] == 1 and fit["before"] == fit["after"] and "no temperature is best" in fit["reason"]
    hopeless = fit_temperature(5 * np.eye(4)[(labels + 1) % 4], labels)
    assert hopeless["temperature"] == pytest.approx(20, rel=1e-3) and "at or beyond the bounds" in hopeless["reason"]
    skewed = fit_temperature(np.log(np.tile([0.7, 0.1, 0.1, 0.1], (40, 1))), np.where(labels < 2, 0, labels))
    assert skewed["reason"] is None  # constant, but half of the labels are its first class
    assert apply_temperature(np.array([[0.7, 0.1, 0.1, 0.1]]), skewed["temperature"])[0, 0] == pytest.approx(0.5)


def test_probabilities_of_zero_stay_finite():
    probabilities = np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [0.9, 0.1, 0]])
    labels = np.array([0, 2, 1, 0])
    fit = fit_temperature(take_logarithm(probabilities), labels)
    assert all(np.isfinite(fit[key]) for key in ("temperature", "before", "after"))
    scaled = apply_temperature(probabilities, 4)
    assert np.isfinite(scaled).all() and scaled.sum(1) == pytest.approx(np.ones(4))
    np.testing.assert_allclose(apply_temperature(probabilities, 1), probabilities, atol=1e-15)
    with np.errstate(divide="ignore"), pytest.raises(UserError, match="4 of 4 rows of logits"):
        fit_temperature(np.log(probabilities), labels)


@pytest.mark.parametrize("temperature", [0, -1, np.nan, np.inf])
def test_bad_temperatures_are_refused(temperature):
    with pytest.raises(UserError, match="temperature="):
        apply_temperature(np.array([[0.5, 0.5]]), temperature)


def test_the_section_says_what_scaling_does_to_test_images():
    logits, labels = make_logits(0)
    sharp = softmax(3 * logits, axis=1)  # three times too confident
    section = describe_calibration(
        CALIBRATION_SCORES, (sharp[:1000], labels[:1000]), (sharp[1000:], labels[1000:]), 200
    )
    assert section["temperature"] == pytest.approx(3, rel=0.15) and section["fitted_on"] == "validation"
    before, after = section["test"]["before"], section["test"]["after"]
    for name in CALIBRATION_SCORES:
        assert after[name]["value"] < before[name]["value"] and after[name]["low"] <= after[name]["high"]
    assert before["calibration_error"]["value"] == compute_calibration_error(sharp[:1000], labels[:1000])
    counts = [sum(row["count"] for row in rows) for rows in section["reliability"].values()]
    assert counts == [1000, 1000]


def test_without_validation_images_no_temperature_is_fitted():
    logits, labels = make_logits(1)
    section = describe_calibration(CALIBRATION_SCORES, (softmax(logits, axis=1), labels), None, 50)
    assert section["temperature"] is None and "no validation images" in section["reason"]
    assert set(section["test"]) == set(section["reliability"]) == {"before"}
