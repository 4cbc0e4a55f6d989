"""Owns corruptions by noise: gaussian_noise, shot_noise, impulse_noise, speckle_noise.

Each takes uint8 (N, S, S, 3), a severity from 1 to 5 and keys int64 (N,), and gives uint8 of the same shape.
"""

import numpy as np
import torch
from scipy.special import pdtr

from .draws import VALUES, draw_normals, draw_uniforms
from .pixels import to_bytes


def gaussian_noise(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Add normal noise, independent for every value."""
    scale = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return to_bytes(images + 255 * scale * draw_normals(keys, VALUES, *images.shape[1:]))


def shot_noise(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Count photons: each value is Poisson distributed, with `photons` of them on average at full brightness."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    # A byte has 256 values, so a table of their distributions inverts them all; counts above `photons` are clipped.
    cdf = pdtr(np.arange(photons + 1), np.arange(256)[:, None] / 255 * photons)  # (256, photons + 1)
    cdf[:, -1] = 1
    # Row v is moved to [v, v + 1]: the table is one sorted list, and one search serves pixels of all values.
    table = (cdf + np.arange(256)[:, None]).ravel()
    draws = draw_uniforms(keys, VALUES, *images.shape[1:])
    counts = np.searchsorted(table, draws + images) - images.astype(np.int64) * (photons + 1)
    return to_bytes(counts * (255 / photons))


def impulse_noise(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Salt and pepper: set a fraction of the values, each channel for itself, to 0 or 255, equally often."""
    amount = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    draws = draw_uniforms(keys, VALUES, *images.shape[1:])
    salted = np.where(draws < amount / 2, np.uint8(255), images)
    return np.where((draws >= amount / 2) & (draws < amount), np.uint8(0), salted)


def speckle_noise(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Add normal noise in proportion to each value."""
    scale = (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1]
    return to_bytes(images * (1 + scale * draw_normals(keys, VALUES, *images.shape[1:])))
