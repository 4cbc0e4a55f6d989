"""Owns what may be concluded from accuracies: paired intervals, exact tests, images needed, groups of seeds."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import stats

from ..errors import UserError

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
POWER = 0.8
RESAMPLES = 10_000
CHUNK_SIZE = 2**20  # counts in memory at once: 8 MB


def draw_counts(num_images: int, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Bootstrap images: how often each one is drawn, so that a score of a resample is a weighted score of all images.

    The draws are a function of the arguments, so models and scores that are computed apart share their resamples.

    Args:
        num_images: N.
        resamples: R; they come in chunks, which bounds the memory.
        seed: of the generator.

    Yields:
        Whole numbers as float64 (chunk, N), each row with sum N.
    """
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_SIZE // num_images)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        draws = generator.integers(num_images, size=(rows, num_images))
        draws += num_images * np.arange(rows)[:, None]
        yield np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape).astype(float)


def bootstrap_accuracies(hits: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Accuracies of many models on the same resamples of the images; their differences are paired.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap.

    Args:
        hits: (M, N), whether a model classified an image rightly; or the share of its seeds that did.
        resamples, seed: see `draw_counts`.

    Returns:
        Float (resamples, M).
    """
    columns = np.asarray(hits, dtype=float).T
    return np.concatenate([counts @ columns for counts in draw_counts(len(columns), resamples, seed)]) / len(columns)


def add_interval(
    value: float, samples: np.ndarray, method: Literal["percentile", "basic"] = "percentile"
) -> dict[str, float]:
    """A number with the bootstrap's 95 % interval.

    "basic" reflects the percentiles about the value, which makes up for a score that resampling shifts (as it raises
    the expected calibration error), but may leave the range of the score.

    Args:
        value: of all images.
        samples: of the resamples, (R,).
        method: which interval.
    """
    low, high = np.quantile(samples, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    if method == "basic":
        low, high = 2 * value - high, 2 * value - low
    return {"value": float(value), "low": float(low), "high": float(high)}


def compute_mcnemar(only_first: np.ndarray | int, only_second: np.ndarray | int) -> np.ndarray:
    """Two-sided p-values of McNemar's exact test: of the images on which two models differ, is each right on half?

    Equal to `scipy.stats.binomtest`, whose two tails mirror each other at 1/2, for whole arrays.
    Source: McNemar 1947, Psychometrika 12; for classifiers Dietterich 1998, Neural Computation 10.

    Args:
        only_first, only_second: images that only one of them classified rightly, any shape.

    Returns:
        P-values of that shape; 1 where the models never differ.
    """
    fewer, total = np.minimum(only_first, only_second), np.add(only_first, only_second)
    return np.minimum(1.0, 2 * stats.binom.cdf(fewer, total, 0.5))


def adjust_holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values (M,) that stay below alpha for any true null hypothesis with probability alpha at most, for all M.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)))
    return adjusted


def count_images_needed(
    only_first: int, only_second: int, num_images: int, power: float = POWER, alpha: float = SIGNIFICANCE
) -> float:
    """Test images with which McNemar's test would find a difference like the observed one with the given power.

    n = (z(1 - alpha / 2) sqrt(psi) + z(power) sqrt(psi - delta^2))^2 / delta^2, where psi is the share of images on
    which the models differ and delta the difference of their accuracies. Both are estimates, so n is a rough one.
    Source: Connor 1987, Biometrics 43, who is on the safe side of Miettinen 1968, Biometrics 24.

    Args:
        only_first, only_second: images that only one of them classified rightly.
        num_images: of which these are.
        power, alpha: of the test, two-sided.

    Returns:
        A whole number; infinity where the observed difference is 0.
    """
    psi, delta = (only_first + only_second) / num_images, abs(only_first - only_second) / num_images
    if delta == 0:
        return math.inf
    spread = stats.norm.ppf(1 - alpha / 2) * psi**0.5 + stats.norm.ppf(power) * (psi - delta**2) ** 0.5
    return float(math.ceil((spread / delta) ** 2))


def compare_models(
    hits: Mapping[str, np.ndarray], resamples: int = RESAMPLES, seed: int = 0
) -> list[dict[str, object]]:
    """Each pair of models on the same test images: who is better, or what it would take to tell.

    The verdict is that of McNemar's exact test after Holm's correction for the number of pairs. The intervals are
    each pair's own, without correction, so one of many may leave out 0 where the verdict is a tie.

    Args:
        hits: by model, whether each image was classified rightly; bool (N,).
        resamples, seed: see `draw_counts`.

    Returns:
        By pair: `first` and `second`; `difference` of the accuracies with its paired interval; images `only_first`
        and `only_second`; `p_value` and `p_adjusted`; `verdict` on the first: "better", "worse" or "tie" (at this
        number of images); `images_needed` at the level that Holm asks of the first pair, see `count_images_needed`,
        None where no number would do.

    Raises:
        UserError: There are fewer than two models or no images, or the models' images differ in number.
    """
    if len(hits) < 2:
        raise UserError(f"{len(hits)} models given; a comparison needs at least two")
    matrix = stack_hits(hits)
    names, num_images = list(hits), matrix.shape[1]
    only = matrix.astype(int) @ (~matrix).T.astype(int)  # [i, j]: right by i, not by j
    pairs = list(combinations(range(len(names)), 2))
    p_values = compute_mcnemar(*np.array([(only[i, j], only[j, i]) for i, j in pairs]).T)
    accuracies, samples = matrix.mean(1), bootstrap_accuracies(matrix, resamples, seed)
    results = []
    for (i, j), p_value, p_adjusted in zip(pairs, p_values, adjust_holm(p_values), strict=True):
        needed = count_images_needed(only[i, j], only[j, i], num_images, alpha=SIGNIFICANCE / len(pairs))
        results.append(
            {
                "first": names[i],
                "second": names[j],
                "difference": add_interval(accuracies[i] - accuracies[j], samples[:, i] - samples[:, j]),
                "only_first": int(only[i, j]),
                "only_second": int(only[j, i]),
                "p_value": float(p_value),
                "p_adjusted": float(p_adjusted),
                "verdict": decide(p_adjusted, only[i, j], only[j, i]),
                "images_needed": int(needed) if math.isfinite(needed) else None,
            }
        )
    return results


def decide(p_adjusted: float, only_first: int, only_second: int) -> Literal["better", "worse", "tie"]:
    """The verdict on the first of two models: the one rule of every comparison.

    Args:
        p_adjusted: of `compute_mcnemar`, after `adjust_holm`.
        only_first, only_second: images that only one of them classified rightly.
    """
    if p_adjusted > SIGNIFICANCE or only_first == only_second:
        return "tie"
    return "better" if only_first > only_second else "worse"


def stack_hits(hits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Hits of all models or seeds, bool (M, N).

    Raises:
        UserError: They are not true or false, or there are no images, or their numbers differ.
    """
    for name, values in hits.items():
        if np.ndim(values) != 1 or np.asarray(values).dtype != bool or len(values) == 0:
            raise UserError(
                f"hits of {name} are {np.asarray(values).dtype} of shape {np.shape(values)}; "
                "allowed: bool (N,), N at least 1. Give predicted == labels"
            )
    counts = {name: len(values) for name, values in hits.items()}
    if len(set(counts.values())) > 1:
        raise UserError(f"the models' images differ in number ({counts}); compare them on the same test images")
    return np.stack([np.asarray(values) for values in hits.values()])


def summarize_group(accuracies: Sequence[float]) -> dict[str, float | None]:
    """What seeds of one recipe reach: the interval holds the mean over all seeds, on the same test images.

    Args:
        accuracies: of one seed each, one or more.

    Returns:
        `mean`; `deviation` (with n - 1); `low` and `high`, Student's 95 % interval of the mean; `count`. All but the
        mean and the count are None for one seed, which says nothing of the others.

    Raises:
        UserError: There is none.
    """
    count = len(accuracies)
    if count == 0:
        raise UserError("0 seeds given; a summary needs at least one")
    mean = float(np.mean(accuracies))
    if count == 1:
        return {"mean": mean, "deviation": None, "low": None, "high": None, "count": 1}
    deviation = float(np.std(accuracies, ddof=1))
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / count**0.5
    return {"mean": mean, "deviation": deviation, "low": mean - margin, "high": mean + margin, "count": count}


def compare_groups(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, object]:
    """Two recipes, each with its seeds, on the same test images.

    With two or more seeds each, Welch's t-test asks whether other seeds would find the same recipe better on these
    test images. Else, or where no seed differs from another, that cannot be known, and a paired bootstrap asks
    whether these trained models, averaged over a recipe's seeds, would differ alike on other images. The first
    knows nothing of other images, the second nothing of other seeds.
    Source: Welch 1947, Biometrika 34; Bouthillier et al. 2021, Accounting for Variance in ML Benchmarks, MLSys.

    Args:
        first, second: by seed, whether each image was classified rightly; bool (N,).
        resamples, seed: of the bootstrap, see `draw_counts`.

    Returns:
        `method`: "welch" or "paired_bootstrap"; `difference` of the means with its 95 % interval; `p_value` of
        Welch's test, else None; `verdict` on the first by the interval: "better", "worse" or "tie".

    Raises:
        UserError: A recipe has no seeds, or images differ in number.
    """
    if not first or not second:
        raise UserError(f"{len(first)} and {len(second)} seeds given; each recipe needs at least one")
    named = {f"first {name}": values for name, values in first.items()}
    matrix = stack_hits(named | {f"second {name}": values for name, values in second.items()})
    groups = matrix[: len(first)], matrix[len(first) :]
    accuracies = [group.mean(1) for group in groups]
    value = float(accuracies[0].mean() - accuracies[1].mean())
    if min(map(len, groups)) > 1 and any(np.ptp(each) > 0 for each in accuracies):
        with warnings.catch_warnings():  # scipy takes one group of equal numbers for a loss of precision
            warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
            method, test = "welch", stats.ttest_ind(*accuracies, equal_var=False)
        low, high = map(float, test.confidence_interval(CONFIDENCE))
        difference, p_value = {"value": value, "low": low, "high": high}, float(test.pvalue)
    else:
        method, p_value = "paired_bootstrap", None
        samples = bootstrap_accuracies(np.stack([group.mean(0) for group in groups]), resamples, seed)
        difference = add_interval(value, samples[:, 0] - samples[:, 1])
    verdict = "better" if difference["low"] > 0 else "worse" if difference["high"] < 0 else "tie"
    return {"method": method, "difference": difference, "p_value": p_value, "verdict": verdict}
