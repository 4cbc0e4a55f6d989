"""Owns keyed randomness: every draw is a pure function of (seed, epoch, index, purpose), so that it is the same
for any number of workers and processes and after a resume.
"""

import numpy as np
import torch

# What a draw is for: two purposes never share a random stream. New ones go to the end, lest old runs draw anew.
FLIP, SHIFT_X, SHIFT_Y, SPLIT, SHUFFLE, SUBSET, HOLDOUT = range(1, 8)
CROP_AREA, CROP_RATIO, CROP_X, CROP_Y, BRIGHTNESS, CONTRAST, SATURATION = range(8, 15)
OPERATION, MAGNITUDE, SIGN, CUTOUT_X, CUTOUT_Y = range(15, 20)
ERASE, ERASE_AREA, ERASE_RATIO, ERASE_X, ERASE_Y = range(20, 25)
MIX, PARTNER, MIX_WEIGHT, CUTMIX_X, CUTMIX_Y = range(25, 30)

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIER_1, _MULTIPLIER_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014), on uint64 with wrap-around."""
    values = (values ^ (values >> np.uint64(30))) * _MULTIPLIER_1
    values = (values ^ (values >> np.uint64(27))) * _MULTIPLIER_2
    return values ^ (values >> np.uint64(31))


def draw_bits(indices: torch.Tensor, *key: int) -> torch.Tensor:
    """63 random bits per index.

    Args:
        indices: int64 (N,), on the CPU.
        key: integers such as seed, epoch and purpose; their order matters.

    Returns:
        Non-negative int64 (N,), on the CPU.
    """
    # In numpy: torch has no uint64 arithmetic, and its small operations take five times as long.
    values = indices.numpy().astype(np.uint64)
    for part in key:
        values = _mix(values + np.uint64((part + 1) * _GOLDEN & _MASK))
    return torch.from_numpy((_mix(values) >> np.uint64(1)).astype(np.int64))


def draw_uniform(indices: torch.Tensor, *key: int) -> torch.Tensor:
    """One float32 in [0, 1) per index, with 24 random bits. Shapes as `draw_bits`."""
    return (draw_bits(indices, *key) >> 39).to(torch.float32) * 2.0**-24


def draw_integers(indices: torch.Tensor, low: int, high: int, *key: int) -> torch.Tensor:
    """One int64 in [low, high], both included, per index. Shapes as `draw_bits`."""
    return low + (draw_uniform(indices, *key) * (high - low + 1)).to(torch.int64)


def draw_permutation(size: int, *key: int) -> torch.Tensor:
    """A random permutation of `range(size)`: int64 (size,)."""
    return torch.argsort(draw_bits(torch.arange(size), *key), stable=True)
