"""Owns calibration: whether confidences are right as often as they say, and the temperature that mends them."""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from ..errors import UserError
from .scores import (
    Score,
    check_finite,
    check_labels,
    check_predictions,
    check_probabilities,
    divide,
    estimate_scores,
)

NUM_BINS = 15
TEMPERATURES = (0.05, 20.0)  # the fit stays within them
SMALLEST = float(np.finfo(np.float32).tiny)  # what a probability of 0 is taken for: in float32 it fell below this


def compute_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, num_bins: int = NUM_BINS
) -> np.ndarray:
    """Expected calibration error (ECE) of the top class: mean of |accuracy - confidence| over bins of equal mass.

    Chance differences within bins add up, so it is above 0 for a perfectly calibrated model, too, by more the fewer
    images there are; a resample of the images adds as much again, see `add_interval`.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, ICML; equal mass as in Nixon et al. 2019,
    Measuring Calibration in Deep Learning, CVPR workshops.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: integers (N,).
        weights: of the images, (N,) or (R, N), not negative and not all 0.
        num_bins: images of equal confidence share a bin, so some may be empty.

    Returns:
        0 to 1, one value or (R,).
    """
    mass, confidence, hits = sum_bins(probabilities, labels, weights, num_bins)
    error = (abs(hits - confidence).sum(-1)) / mass.sum(-1)
    return error[0] if np.ndim(weights) < 2 else error


def build_reliability_table(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS
) -> list[dict[str, float]]:
    """What a reliability diagram shows: for each bin with images its mean `confidence`, `accuracy` and `count`."""
    mass, confidence, hits = (sums[0] for sums in sum_bins(probabilities, labels, None, num_bins))
    return [
        {"confidence": float(confidence[i] / mass[i]), "accuracy": float(hits[i] / mass[i]), "count": int(mass[i])}
        for i in np.flatnonzero(mass)
    ]


def sum_bins(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, num_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, weighted confidence and weighted hits of each bin of equal weight, sorted by confidence.

    An image's bin is where the middle of its share of the weight falls, counted with all of its confidence: then the
    order of the images plays no part, and a weight of 2 is the same as the image twice.

    Returns:
        (R, num_bins) each; R is 1 for weights (N,) or None.

    Raises:
        UserError: See `check_predictions`; or there is no bin.
    """
    probabilities, labels = check_predictions(probabilities, labels)
    if num_bins < 1:
        raise UserError(f"num_bins={num_bins} is out of range; allowed: 1 or more, such as {NUM_BINS}")
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=float)
    order = probabilities.max(1).argsort()
    confidence = probabilities.max(1)[order]
    hits = (probabilities.argmax(1) == labels)[order]
    weights = np.atleast_2d(weights)[:, order]
    below = np.pad(weights.cumsum(1), ((0, 0), (1, 0)))  # below[:, i]: weight of the first i images
    first, last = (np.searchsorted(confidence, confidence, side=side) for side in ("left", "right"))
    middle = (below[:, first] + below[:, last]) / 2
    bins = np.minimum(divide(num_bins * middle, below[:, -1:]), num_bins - 1).astype(int)
    cells = (bins + num_bins * np.arange(len(weights))[:, None]).ravel()
    shape = (len(weights), num_bins)

    def add_up(values: np.ndarray) -> np.ndarray:
        return np.bincount(cells, values.ravel(), minlength=shape[0] * shape[1]).reshape(shape)

    return add_up(weights), add_up(weights * confidence), add_up(weights * hits)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> dict[str, float | str | None]:
    """The temperature T that makes softmax(logits / T) most likely; it changes confidences, never the top class.

    The mean negative log-likelihood is convex in 1 / T, so it has one minimum, which a bounded search over ln T finds.
    Fit it on validation images: on test images it would be a choice by them.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, ICML.

    Args:
        logits: finite (N, K), or log-probabilities, see `take_logarithm`.
        labels: integers (N,).

    Returns:
        `temperature`; the mean negative log-likelihood `before` and `after`, in nats; `reason`, None for an ordinary
        minimum, else why there is none: then the temperature is 1, or a bound of `TEMPERATURES`.

    Raises:
        UserError: Logits are not finite, or labels do not fit.
    """
    logits = check_finite(logits, "logits")
    labels = check_labels(labels, logits.shape)
    rows = np.arange(len(labels))

    def measure_loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    before = measure_loss(0)
    if (logits[rows, labels] == logits.max(1)).all():
        reason = "no other class is more probable than the label on any image, so no temperature is best; left at 1"
        return {"temperature": 1.0, "before": before, "after": before, "reason": reason}
    bounds = np.log(TEMPERATURES)
    found = minimize_scalar(measure_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x
    reason = None
    if abs(bounds - found).min() < 1e-4:  # the search comes close to a bound, but not onto it
        reason = f"the best temperature is at or beyond the bounds, {TEMPERATURES[0]} and {TEMPERATURES[1]}"
    after = measure_loss(found)
    return {"temperature": float(np.exp(found)), "before": before, "after": after, "reason": reason}


def describe_calibration(
    scores: Mapping[str, Score],
    test: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray] | None,
    resamples: int,
) -> dict[str, object]:
    """The `calibration` section of results.json: test scores before and after temperature scaling.

    Args:
        scores: what is given before and after.
        test, validation: probabilities (N, K) and labels (N,); the temperature is fitted on the validation images.
        resamples: of the test images, for intervals.

    Returns:
        `temperature`, `fitted_on`, `reason`; `test` and `reliability` with `before` and, where there is a
        temperature, `after`.
    """
    probabilities, labels = test
    states = {"before": probabilities}
    if validation is None:
        fit = {"temperature": None, "reason": "no validation images of a run to fit a temperature on"}
    else:
        fit = fit_temperature(take_logarithm(validation[0]), validation[1])
        states["after"] = apply_temperature(probabilities, fit["temperature"])
    return {
        "temperature": fit["temperature"],
        "fitted_on": None if validation is None else "validation",
        "reason": fit["reason"],
        "test": {state: estimate_scores(scores, values, labels, resamples) for state, values in states.items()},
        "reliability": {state: build_reliability_table(values, labels) for state, values in states.items()},
    }


def take_logarithm(probabilities: np.ndarray) -> np.ndarray:
    """Finite log-probabilities (N, K); 0 counts as the smallest normal float32."""
    return np.log(np.maximum(np.asarray(probabilities, dtype=float), SMALLEST))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at another temperature: softmax(ln p / T), which is softmax(logits / T) of their logits.

    Args:
        probabilities: (N, K).
        temperature: above 0; above 1 lowers confidences.

    Returns:
        Float (N, K), rows sum to 1.

    Raises:
        UserError: The temperature is not a positive finite number; or see `check_probabilities`.
    """
    if not 0 < temperature < np.inf:
        raise UserError(
            f"temperature={temperature} is out of range; allowed: finite numbers above 0, 1 changes nothing"
        )
    return softmax(take_logarithm(check_probabilities(probabilities)) / temperature, axis=1)
