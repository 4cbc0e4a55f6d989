"""Owns the draws of corruptions: as many per image as are wanted, from that image's key alone."""

import math

import numpy as np
import torch
from scipy.special import ndtri

from ...data.keyed import draw_bits

# What a draw is for, within one corruption: two purposes never share a random stream.
VALUES, ANGLE, PHOTO, TOP, LEFT, CORNERS = range(6)


def draw_uniforms(keys: torch.Tensor, purpose: int, *shape: int) -> np.ndarray:
    """Float64 (N, *shape) in (0, 1), neither end included, from keys int64 (N,)."""
    # SplitMix64 is a mixed counter: an image's key is where its own counter begins.
    counters = (keys[:, None] + torch.arange(math.prod(shape))).flatten()
    bits = draw_bits(counters, purpose).numpy() >> 11
    return ((bits + 0.5) * 2.0**-52).reshape(len(keys), *shape)


def draw_normals(keys: torch.Tensor, purpose: int, *shape: int) -> np.ndarray:
    """Standard normal float64 (N, *shape), from keys int64 (N,)."""
    return ndtri(draw_uniforms(keys, purpose, *shape))


def draw_integers(keys: torch.Tensor, purpose: int, low: int, high: int, *shape: int) -> np.ndarray:
    """Int64 (N, *shape) in [low, high], both included, from keys int64 (N,)."""
    return low + (draw_uniforms(keys, purpose, *shape) * (high - low + 1)).astype(np.int64)
