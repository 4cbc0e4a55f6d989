"""Owns the linear probe: how well a linear classifier on frozen features does, by cross-validation."""

import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from ..errors import UserError

FOLDS = 5
# Inverse strengths of scikit-learn's L2 penalty; on standardised features of thousands of images the best is inside.
GRID = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass
class Probe:
    """A cross-validated linear probe.

    Attributes:
        accuracy: mean over folds.
        standard_error: of that mean, from the spread of the folds. Training sets overlap, so it is a little small
            (Bengio & Grandvalet 2004).
        inverse_strength: scikit-learn's C, chosen on the same folds.
        hits: for each image, whether it was classified rightly when it was held out; bool (N,).
    """

    accuracy: float
    standard_error: float
    inverse_strength: float
    hits: np.ndarray


def probe_features(
    features: torch.Tensor, labels: np.ndarray, seed: int = 0, grid: tuple[float, ...] = GRID, folds: int = FOLDS
) -> Probe:
    """Fit multinomial logistic regressions on standardised features, stratified folds held out in turn.

    Mean and scale come from each fold's own training images. The strength of the penalty is the one with the best
    mean over the folds, which flatters every model alike, and by little.

    Args:
        features: (N, ...), flattened.
        labels: integers (N,).
        seed: of the folds; the same seed and labels give the same folds for every model.
        grid: of scikit-learn's C.
        folds: fewer where a class has fewer images.

    Raises:
        UserError: A class has a single image.
    """
    values = features.float().flatten(1).numpy()
    if (smallest := np.unique(labels, return_counts=True)[1].min()) < 2:
        raise UserError("a class has a single image, which cannot be cross-validated; give a larger --subset")
    splitter = StratifiedKFold(min(folds, smallest), shuffle=True, random_state=seed)
    hits = np.zeros((len(grid), len(labels)), dtype=bool)
    scores = []  # (folds, grid)
    for train, test in splitter.split(values, labels):
        center, scale = values[train].mean(0), values[train].std(0)
        known, held_out = ((values[rows] - center) / np.where(scale > 0, scale, 1) for rows in (train, test))
        for position, strength in enumerate(grid):
            classifier = LogisticRegression(C=strength, tol=1e-3, max_iter=200)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the score is of what 200 iterations give
                hits[position, test] = classifier.fit(known, labels[train]).predict(held_out) == labels[test]
        scores.append(hits[:, test].mean(1))
    scores = np.array(scores)
    best = int(scores.mean(0).argmax())
    error = scores[:, best].std(ddof=1) / len(scores) ** 0.5
    return Probe(float(scores[:, best].mean()), float(error), grid[best], hits[best])


def time_probe(num_images: int, num_classes: int) -> float:
    """Seconds that a probe on `num_images` of 1,024 features will take about, from a small one on noise."""
    count = max(250, 10 * num_classes)
    generator = np.random.default_rng(0)
    features = torch.from_numpy(generator.normal(size=(count, 1024)).astype(np.float32))
    started = time.perf_counter()
    probe_features(features, np.arange(count) % num_classes, folds=2)
    return (time.perf_counter() - started) * 4 * num_images / count  # 5 times 4/5 of the images, not 2 times 1/2
