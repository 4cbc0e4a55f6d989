"""Owns what models get wrong: confused classes, confident and shared mistakes, and labels that look wrong."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .scores import check_predictions


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are taken for another: class numbers, and rows (n,), the most confident first."""

    true: int
    predicted: int
    rows: np.ndarray


@dataclass(frozen=True)
class Suspect:
    """An image whose label models doubt; a suspicion, not a finding.

    Attributes:
        row: of the predictions.
        suggested: the class that the models which doubt the label hold to be most probable on average.
        models: those that doubt it.
        quality: mean over all models of the label's probability, cleanlab's self-confidence.
    """

    row: int
    suggested: int
    models: tuple[str, ...]
    quality: float


def find_confused_pairs(probabilities: np.ndarray, labels: np.ndarray, count: int = 5) -> list[Confusion]:
    """The most frequent confusions, at most `count`; of equally frequent ones the first classes come first.

    Args:
        probabilities: (N, K).
        labels: integers (N,).
        count: of pairs.
    """
    probabilities, labels = check_predictions(probabilities, labels)
    predicted, confidence, size = probabilities.argmax(1), probabilities.max(1), probabilities.shape[1]
    cells = np.where(predicted == labels, -1, labels * size + predicted)
    pairs, counts = np.unique(cells[cells >= 0], return_counts=True)
    found = []
    for pair in pairs[np.argsort(-counts, kind="stable")[:count]]:
        rows = np.flatnonzero(cells == pair)
        order = np.argsort(-confidence[rows], kind="stable")
        found.append(Confusion(int(pair // size), int(pair % size), rows[order]))
    return found


def find_confusions(matrix: list[list[int]], class_names: list[str], count: int = 3) -> list[tuple[str, str, int]]:
    """The most frequent confusions: true class, predicted class, images."""
    cells = [
        (class_names[row], class_names[column], int(value))
        for (row, column), value in np.ndenumerate(np.array(matrix))
        if row != column and value
    ]
    return sorted(cells, key=lambda cell: -cell[2])[:count]


def find_confident_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows of the mistakes, the most confident first; arguments as for `find_confused_pairs`."""
    probabilities, labels = check_predictions(probabilities, labels)
    rows = np.flatnonzero(probabilities.argmax(1) != labels)
    return rows[np.argsort(-probabilities.max(1)[rows], kind="stable")]


def find_shared_mistakes(
    probabilities: Mapping[str, np.ndarray], labels: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Which images all models miss, and which only one does.

    Args:
        probabilities: by model, (N, K).
        labels: integers (N,).

    Returns:
        Rows that all miss, those first on which they are the most confident together; and by model the rows that it
        alone misses, its most confident mistakes first.
    """
    values = np.stack([check_predictions(each, labels)[0] for each in probabilities.values()])  # (M, N, K)
    misses, confidence = values.argmax(2) != labels, values.max(2)
    shared = np.flatnonzero(misses.all(0))
    shared = shared[np.argsort(-confidence[:, shared].mean(0), kind="stable")]
    alone = misses.sum(0) == 1
    only = {}
    for name, own, sure in zip(probabilities, misses, confidence, strict=True):
        rows = np.flatnonzero(own & alone)
        only[name] = rows[np.argsort(-sure[rows], kind="stable")]
    return shared, only


def find_label_suspects(probabilities: Mapping[str, np.ndarray], labels: np.ndarray) -> list[Suspect]:
    """Labels that confident learning doubts: first those that most models doubt, then those they hold least probable.

    Source: Northcutt, Jiang & Chuang 2021, Confident Learning, JAIR 70; cleanlab's `find_label_issues` with its
    defaults, on each model's predictions of images that it was not trained on.

    Args:
        probabilities: by model, (N, K).
        labels: integers (N,).
    """
    from cleanlab.filter import find_label_issues  # takes seconds to import
    from cleanlab.rank import get_label_quality_scores

    doubts, qualities, values = [], [], []
    for each in probabilities.values():
        own, labels = check_predictions(each, labels)
        own = own / own.sum(1, keepdims=True)
        # Labels of one class alone have nothing to be confused with, and cleanlab refuses them.
        is_doubted = np.zeros(len(labels), dtype=bool)
        if len(np.unique(labels)) > 1:
            with warnings.catch_warnings():  # of classes with few images
                warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)
                is_doubted = find_label_issues(labels, own, n_jobs=1)
        doubts.append(is_doubted)
        qualities.append(get_label_quality_scores(labels, own, method="self_confidence"))
        values.append(own)
    doubts, quality, names = np.stack(doubts), np.mean(qualities, axis=0), list(probabilities)
    suspects = []
    for row in np.flatnonzero(doubts.any(0)):
        doubting = np.flatnonzero(doubts[:, row])
        mean = np.mean([values[place][row] for place in doubting], axis=0)
        mean[labels[row]] = -1  # another class than the label, also where doubting models do not agree on one
        suspects.append(
            Suspect(int(row), int(mean.argmax()), tuple(names[place] for place in doubting), float(quality[row]))
        )
    return sorted(suspects, key=lambda suspect: (-len(suspect.models), suspect.quality, suspect.row))
