"""Owns scores of probabilities beyond accuracy and F1, each for many weightings of the images at once.

Every score takes probabilities (N, K), labels (N,) and optional weights of the images, (N,) or (R, N), not negative
and not all 0, and gives one value, or (R,). Bootstrap counts are such weights. Where a score is not defined it is
NaN; `estimate_scores`, from which files are written, has None and a reason instead.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from scipy import sparse

from ..errors import UserError
from .statistics import CONFIDENCE, RESAMPLES, add_interval, draw_counts

FLOOR = 1e-12  # a probability below it counts as this much in the negative log-likelihood, which stays finite
Score = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


def check_predictions(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) as float64 and their labels (N,) as int64.

    Raises:
        UserError: See `check_probabilities` and `check_labels`.
    """
    probabilities = check_probabilities(probabilities)
    return probabilities, check_labels(labels, probabilities.shape)


def check_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) as float64.

    Raises:
        UserError: They are of another shape, or rows of them are not finite, negative, or do not sum to 1.
    """
    probabilities = check_finite(probabilities, "probabilities")
    wrong = (probabilities < 0).any(1) | (abs(probabilities.sum(1) - 1) > 1e-3)
    if wrong.any():
        raise UserError(
            f"{wrong.sum()} of {len(wrong)} rows of probabilities are negative or do not sum to 1 "
            f"(first: row {wrong.argmax()}); give the softmax of the logits"
        )
    return probabilities


def check_finite(values: np.ndarray, name: str) -> np.ndarray:
    """Logits or probabilities (N, K) as float64.

    Raises:
        UserError: They are of another shape, or rows of them are not finite.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise UserError(f"{name} have shape {values.shape}; allowed: (N, K), N at least 1 and K at least 2")
    unfinished = ~np.isfinite(values).all(1)
    if unfinished.any():
        raise UserError(
            f"{unfinished.sum()} of {len(values)} rows of {name} hold NaN or infinity (first: row "
            f"{unfinished.argmax()}); allowed: finite numbers. Predict again with weights that are finite"
        )
    return values


def check_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels of predictions of shape (N, K) as int64.

    Raises:
        UserError: They are not N integers from 0 to K - 1.
    """
    labels = np.asarray(labels)
    if labels.shape != shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(
            f"labels are {labels.dtype} of shape {labels.shape} for predictions of shape {shape}; "
            "allowed: one integer for each row"
        )
    if labels.min() < 0 or labels.max() >= shape[1]:
        raise UserError(
            f"labels go from {labels.min()} to {labels.max()}; allowed: 0 to {shape[1] - 1}, the columns' numbers"
        )
    return labels.astype(np.int64)


def compute_top_k_accuracy(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, k: int = 5
) -> np.ndarray:
    """Share of images whose label is among the k most probable classes; of equal ones the first counts, as in argmax.

    Raises:
        UserError: k is not from 1 to K.
    """
    probabilities, labels = check_predictions(probabilities, labels)
    if not 1 <= k <= probabilities.shape[1]:
        raise UserError(f"k={k} is out of range; allowed: 1 to {probabilities.shape[1]}, the number of classes")
    own = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    rank = ((probabilities > own) | ((probabilities == own) & earlier)).sum(1)
    return average(rank < k, weights)


def compute_kappa(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Cohen's kappa: agreement beyond chance; undefined where labels and predictions are all of one class.

    Source: Cohen 1960, Educational and Psychological Measurement 20.
    """
    hits, actual, predicted = compute_margins(probabilities, labels, weights)
    expected = (actual * predicted).sum(-1)
    return divide(hits.sum(-1) - expected, drop_rounding(1 - expected))


def compute_matthews(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Matthews correlation coefficient for K classes; 0 where labels or predictions are all of one class.

    Source: Gorodkin 2004, Computational Biology and Chemistry 28.
    """
    hits, actual, predicted = compute_margins(probabilities, labels, weights)
    covariance = hits.sum(-1) - (actual * predicted).sum(-1)
    variances = [drop_rounding(1 - (shares**2).sum(-1)) for shares in (actual, predicted)]
    return np.nan_to_num(divide(covariance, np.sqrt(variances[0] * variances[1])))


def compute_balanced_accuracy(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Mean of the classes' recalls; undefined where a class has no image."""
    hits, actual, _ = compute_margins(probabilities, labels, weights)
    return divide(hits, actual).mean(-1)


def compute_margins(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The confusion matrix's diagonal and its sums by true and by predicted class, as shares of all: (..., K) each."""
    probabilities, labels = check_predictions(probabilities, labels)
    predicted, identity = probabilities.argmax(1), np.eye(probabilities.shape[1])
    hits = identity[labels] * (labels == predicted)[:, None]
    shares = average(np.concatenate([hits, identity[labels], identity[predicted]], axis=1), weights)
    return tuple(np.split(shares, 3, axis=-1))


def compute_roc_auc_per_class(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Area under the ROC curve of each class against the rest, undefined where there are none of either.

    It is the chance that an image of the class has a higher probability of it than one of the rest; ties count half.
    Source: Hanley & McNeil 1982, Radiology 143.

    Returns:
        (..., K).
    """
    probabilities, labels = check_predictions(probabilities, labels)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=float)
    columns = np.ascontiguousarray(weights.T)  # (N, ...): images are gathered as whole rows
    areas = []
    for k, scores in enumerate(probabilities.T):
        own, rest = np.flatnonzero(labels == k), np.flatnonzero(labels != k)
        levels, level_of_own = np.unique(scores[own], return_inverse=True)
        # An image of the rest loses half to the levels from its own on, and half to those above it. A sparse product
        # adds these halves up by level, four times as fast as cumulative sums over all of the rest.
        from_level = [np.searchsorted(levels, scores[rest], side=side) for side in ("left", "right")]
        halves = sparse.csr_array(
            (np.full(2 * len(rest), 0.5), (np.concatenate(from_level), np.tile(rest, 2))),
            shape=(len(levels) + 1, len(labels)),
        )
        beaten = (halves @ columns).cumsum(0)  # (levels + 1, ...): weight of the rest below each level; last, of all
        gains = (columns[own] * beaten[level_of_own]).sum(0)
        areas.append(divide(gains, columns[own].sum(0) * beaten[-1]))
    return np.stack(areas, axis=-1)


def compute_roc_auc(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean over classes of `compute_roc_auc_per_class`; undefined where one of them is."""
    return compute_roc_auc_per_class(probabilities, labels, weights).mean(-1)


def compute_negative_log_likelihood(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Mean of -ln of the label's probability, in nats; probabilities count as `FLOOR` at least."""
    probabilities, labels = check_predictions(probabilities, labels)
    return average(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], FLOOR)), weights)


def compute_brier(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Brier score: mean of the squared errors' sum over all classes, 0 to 2 (for two classes twice the binary one).

    Source: Brier 1950, Monthly Weather Review 78.
    """
    probabilities, labels = check_predictions(probabilities, labels)
    return average(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1), weights)


def average(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weighted mean over images of values (N,) or (N, J): weights' leading shape, then J."""
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    return divide((weights @ values.astype(float)).T, weights.sum(-1)).T


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element-wise division, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def drop_rounding(values: np.ndarray) -> np.ndarray:
    """0 for what is left of 1 - 1, of which weights that are no whole numbers may leave a trace."""
    return np.where(values > 1e-12, values, 0.0)


def estimate_scores(
    scores: Mapping[str, Score],
    probabilities: np.ndarray,
    labels: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict | list[dict]]:
    """Scores with 95 % bootstrap intervals, all from the same resamples of the images.

    Args:
        scores: by name, functions of probabilities, labels and weights; `functools.partial` sets other arguments.
        probabilities: (N, K), rows sum to 1.
        labels: integers (N,).
        resamples, seed: see `draw_counts`.

    Returns:
        By name `{"value", "low", "high"}`, or a list of those for a score per class. The numbers of an undefined
        score are None, and `reason` says why. Resamples where a score is undefined (a rare class may not be drawn)
        are left out; if they are more than 5 %, there is no interval, but a `reason`.

    Raises:
        UserError: See `check_predictions`.
    """
    probabilities, labels = check_predictions(probabilities, labels)
    values = {name: score(probabilities, labels, None) for name, score in scores.items()}
    samples = {name: [] for name in scores}
    for counts in draw_counts(len(labels), resamples, seed):
        for name, score in scores.items():
            samples[name].append(score(probabilities, labels, counts))
    reason = explain_undefined(labels, probabilities.shape[1])
    results = {}
    for name, value in values.items():
        draws = np.concatenate(samples[name])  # (R,) or (R, K)
        each = zip(np.atleast_1d(value), draws.reshape(resamples, -1).T, strict=True)
        # Resampling raises it: see `compute_calibration_error`.
        method = "basic" if name == "calibration_error" else "percentile"
        estimates = [estimate(*pair, reason, method) for pair in each]
        results[name] = estimates if np.ndim(value) else estimates[0]
    return results


def estimate(
    value: float, draws: np.ndarray, reason: str, method: Literal["percentile", "basic"]
) -> dict[str, float | str | None]:
    """A score with its interval, as far as they are defined; see `estimate_scores`."""
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "reason": reason}
    missing = np.isnan(draws)
    if missing.mean() > 1 - CONFIDENCE:
        reason = f"undefined on {missing.sum()} of {len(draws)} resamples: a class has too few images"
        return {"value": float(value), "low": None, "high": None, "reason": reason}
    interval = add_interval(value, draws[~missing], method)
    return interval if method == "percentile" else {name: max(end, 0.0) for name, end in interval.items()}


def explain_undefined(labels: np.ndarray, num_classes: int) -> str:
    """Why a score of these labels may be undefined."""
    present = np.unique(labels)
    if len(present) == 1:
        return f"all images are of class {present[0]}"
    return f"no image of class {', '.join(map(str, np.setdiff1d(range(num_classes), present)))}"
