"""Owns how computed values become bytes."""

import numpy as np

# Less than a level, more than rounding errors: without it, flat areas whose exact value is a whole number would
# lose a level here and there.
_TOLERANCE = 1e-3


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Clip to [0, 255] and cut the fraction off, as CIFAR-10-C does: uint8, of the same shape."""
    return np.clip(values + _TOLERANCE, 0, 255).astype(np.uint8)
