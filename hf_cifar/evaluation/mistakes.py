"""Owns which predictions are worth a look: confident mistakes, disagreements, suspected labels, people's votes."""

import logging
from collections.abc import Sequence

import numpy as np
from scipy.special import rel_entr
from scipy.stats import spearmanr

from ..data.reference import ReferenceData
from .metrics import RESAMPLES
from .statistics import add_interval, bootstrap_accuracies

VOTERS = 3  # of five people must choose the dataset's label alone, or it counts as disputed


def rank_confident_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows (M,) that are classified wrongly, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")]


def split_by_hits(hits: np.ndarray) -> dict[str, np.ndarray]:
    """Rows that all models get right ("all"), none ("none"), and only the i-th ("i"); from hits (M, N)."""
    right = hits.sum(0)
    groups = {"all": np.flatnonzero(right == len(hits)), "none": np.flatnonzero(right == 0)}
    if len(hits) > 1:
        groups |= {str(i): np.flatnonzero(each & (right == 1)) for i, each in enumerate(hits)}
    return groups


def find_suspected_labels(probabilities: Sequence[np.ndarray], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images whose label may be wrong, by confident learning on the mean of the models' probabilities.

    Test images were not trained on, which the method asks for. These are suspects: a hard image looks alike.
    Source: Northcutt et al. 2021, Confident Learning, JAIR; by cleanlab.

    Args:
        probabilities: (N, K) of each model.
        labels: integers (N,).

    Returns:
        Rows (M,), the most suspicious first, and the class number that the models hold to be right (M,).
    """
    mean = np.mean(probabilities, axis=0)
    if len(np.unique(labels)) < 2:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    from cleanlab.filter import find_label_issues  # takes a second, and most callers need none

    logging.getLogger("cleanlab").setLevel(logging.ERROR)
    mean = mean / mean.sum(1, keepdims=True)
    rows = find_label_issues(labels, mean, return_indices_ranked_by="self_confidence", n_jobs=1)
    return rows, mean[rows].argmax(1)


def compare_with_people(
    probabilities: np.ndarray, labels: np.ndarray, indices: np.ndarray, reference: ReferenceData
) -> dict[str, dict]:
    """What reference data about the test images say of a model.

    Args:
        probabilities, labels: (N, K) and (N,).
        indices: canonical indices (N,).
        reference: from `read_reference_data`.

    Returns:
        `human_divergence`: mean Kullback-Leibler divergence of the model from people's shares, in nats; with
        `entropy_correlation`, Spearman's, of how unsure people and model are; `without_duplicates` and
        `without_disputed`: accuracy on the rest, with `left_out`. Only what the reference has.
    """
    hits, facts = probabilities.argmax(1) == labels, {}
    if reference.human_labels is not None:
        shares = reference.human_labels[indices]
        divergence = rel_entr(shares, np.maximum(probabilities, 1e-12)).sum(1)
        entropies = [rel_entr(values, 1.0).sum(1) for values in (shares, probabilities)]  # of opposite sign
        constant = any(np.ptp(each) == 0 for each in entropies)
        facts["human_divergence"] = {
            **estimate_mean(divergence),
            "entropy_correlation": None if constant else float(spearmanr(*entropies).statistic),
        }
    for name, left_out in (
        ("without_duplicates", None if reference.duplicates is None else {test for test, _ in reference.duplicates}),
        ("without_disputed", None if reference.disputes is None else find_disputed(reference)),
    ):
        if left_out is not None:
            kept = ~np.isin(indices, list(left_out))
            if kept.any():
                facts[name] = {**estimate_mean(hits[kept]), "left_out": int((~kept).sum())}
    return facts


def find_disputed(reference: ReferenceData) -> set[int]:
    """Indices of test images whose label fewer than `VOTERS` people chose alone."""
    return {dispute.index for dispute in reference.disputes if dispute.votes["given"] < VOTERS}


def estimate_mean(values: np.ndarray) -> dict[str, float]:
    """A mean over images with its bootstrap interval."""
    return add_interval(float(np.mean(values)), bootstrap_accuracies(values[None], RESAMPLES)[:, 0])
