"""Owns how predictions agree with what is known of CIFAR-10's test images: human labels, duplicates, disputes."""

from collections.abc import Mapping

import numpy as np
from scipy.special import entr
from scipy.stats import rankdata

from ..data.reference import ReferenceData
from .scores import FLOOR, check_predictions
from .statistics import RESAMPLES, add_interval, draw_counts

LEVELS = (1.0, 0.95, 0.8, 0.5)  # lower ends of the groups of images by the share of people who choose the label
MAJORITY = 3  # of the five people who were asked about a disputed label
Estimate = dict[str, float]


def measure_human_agreement(
    probabilities: Mapping[str, np.ndarray], labels: np.ndarray, shares: np.ndarray, resamples: int = RESAMPLES
) -> dict[str, dict[str, Estimate | None]]:
    """How far models' probabilities are from people's, with 95 % bootstrap intervals over the same resamples.

    Source: Peterson et al. 2019, Human uncertainty makes classification more robust, ICCV.

    Args:
        probabilities: by model, (N, K).
        labels: integers (N,).
        shares: float (N, K), of the people who choose each class; rows sum to 1.
        resamples: of the images.

    Returns:
        By model: `kl_divergence` of the model from people, mean over images, in nats; `entropy_correlation`,
        Spearman's, of the model's entropy with people's (ranks are those among all images), None where either is the
        same for all images; `majority_accuracy`, the share of images on which the model's class is most people's.
    """
    human = entr(shares).sum(1)  # entropies, in nats
    columns, points = [np.ones(len(labels))], {}
    for name, each in probabilities.items():
        each, _ = check_predictions(each, labels)
        cross_entropy = -(shares * np.log(np.maximum(each, FLOOR))).sum(1)
        first, second = (rankdata(values) - (len(labels) + 1) / 2 for values in (human, entr(each).sum(1)))
        hits = each.argmax(1) == shares.argmax(1)
        own = [cross_entropy - human, hits, first, second, first**2, second**2, first * second]
        columns += own
        points[name] = np.mean(own, axis=1)
    matrix = np.stack(columns, axis=1).astype(float)
    sums = np.concatenate([counts @ matrix for counts in draw_counts(len(labels), resamples)])
    means = sums[:, 1:].reshape(resamples, len(probabilities), -1) / sums[:, :1, None]
    results = {}
    for place, (name, point) in enumerate(points.items()):
        value, draws = correlate(point[2:]), correlate(means[:, place, 2:])
        results[name] = {
            "kl_divergence": add_interval(point[0], means[:, place, 0]),
            "entropy_correlation": None if np.isnan(value) else add_interval(value, draws[~np.isnan(draws)]),
            "majority_accuracy": add_interval(point[1], means[:, place, 1]),
        }
    return results


def correlate(means: np.ndarray) -> np.ndarray:
    """Pearson's correlation from means (..., 5) of x, y, x^2, y^2 and xy; NaN where x or y does not vary."""
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    product = np.maximum(xx - x**2, 0) * np.maximum(yy - y**2, 0)
    covariance = xy - x * y
    return np.divide(covariance, np.sqrt(product), out=np.full(np.shape(product), np.nan), where=product > 1e-9)


def measure_by_agreement(
    hits: Mapping[str, np.ndarray], labels: np.ndarray, shares: np.ndarray
) -> list[dict[str, object]]:
    """Accuracy on images grouped by how many people choose the label.

    Args:
        hits: by model, whether it was right, bool (N,).
        labels, shares: see `measure_human_agreement`.

    Returns:
        By group that has images: `low` and `high`, the shares it holds (the lower end included, the upper one not);
        `images`; `accuracy` by model.
    """
    agreed = shares[np.arange(len(labels)), labels]
    groups, upper = [], np.inf
    for lower in (*LEVELS, 0.0):
        mask = (agreed >= lower - 1e-9) & (agreed < upper - 1e-9)
        if mask.any():
            accuracy = {name: estimate_share(own[mask]) for name, own in hits.items()}
            groups.append({"low": lower, "high": min(upper, 1.0), "images": int(mask.sum()), "accuracy": accuracy})
        upper = lower
    return groups


def measure_subsets(
    hits: Mapping[str, np.ndarray], indices: np.ndarray, reference: ReferenceData
) -> dict[str, dict[str, object]]:
    """Accuracy on all test images, and without those that should not count.

    Args:
        hits: by model, whether it was right, bool (N,).
        indices: canonical indices of the test images (N,).
        reference: duplicates and disputes; what it has not is left out.

    Returns:
        By subset (`all`, `without_duplicates`, `without_disputed`, `without_both`): `images` and `accuracy` by model.
        Disputed are labels that fewer than three of five people uphold. A subset without images is left out.
    """
    masks = {"all": np.ones(len(indices), dtype=bool)}
    if reference.duplicates is not None:
        masks["without_duplicates"] = ~np.isin(indices, [test for test, _ in reference.duplicates])
    if reference.disputes is not None:
        masks["without_disputed"] = ~np.isin(indices, find_disputed(reference))
    if len(masks) == 3:
        masks["without_both"] = masks["without_duplicates"] & masks["without_disputed"]
    return {
        subset: {
            "images": int(mask.sum()),
            "accuracy": {name: estimate_share(own[mask]) for name, own in hits.items()},
        }
        for subset, mask in masks.items()
        if mask.any()
    }


def find_disputed(reference: ReferenceData) -> list[int]:
    """Canonical indices of test images whose label fewer than three of five people uphold."""
    return [dispute.index for dispute in reference.disputes or [] if dispute.votes["given"] < MAJORITY]


def estimate_share(hits: np.ndarray, seed: int = 0) -> Estimate:
    """A share with its bootstrap interval: drawing N of N booleans with replacement is one binomial draw."""
    draws = np.random.default_rng(seed).binomial(len(hits), hits.mean(), RESAMPLES)
    return add_interval(hits.mean(), draws / len(hits))
