"""Owns CIFAR-10-C's corruptions of images, made on the spot: their names, their families, and `corrupt`.

Source: Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
with the parameters that its authors used for CIFAR-10, that is for images of 32 pixels. The draws are ours, so the
images are others than the published ones, of the same distribution. Where a definition differs, the function says so.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from ...data.keyed import draw_bits
from ...errors import UserError
from .blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from .digital import contrast, elastic_transform, jpeg_compression, pixelate, saturate
from .drops import spatter
from .noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from .weather import brightness, fog, frost, load_frost_photos, snow

__all__ = ["CORRUPTIONS", "FAMILIES", "SEVERITIES", "corrupt", "list_corruptions", "load_frost_photos", "make_keys"]

logger = logging.getLogger(__name__)

# The last family is the paper's hold-out for those who tune on the others; it does not count in published means.
FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
# Part of the keys of draws: a new one goes to the end.
CORRUPTIONS = tuple(name for names in FAMILIES.values() for name in names)
SEVERITIES = (1, 2, 3, 4, 5)

_WITHOUT_DRAWS = {
    "defocus_blur": defocus_blur,
    "zoom_blur": zoom_blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "gaussian_blur": gaussian_blur,
    "saturate": saturate,
}
_WITH_DRAWS = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "snow": snow,
    "fog": fog,
    "elastic_transform": elastic_transform,
    "speckle_noise": speckle_noise,
    "spatter": spatter,
}
_PURPOSE = 1001  # sets these draws apart from those of data/keyed.py
_CHUNK = 500  # images at a time: draws and floats take many times the memory of the bytes
_SMALLEST_SIDE = 8


def list_corruptions(frost_photos: Sequence[np.ndarray]) -> tuple[str, ...]:
    """The corruptions that can be made: all, or all but frost where there are no photographs of it (which is logged).

    Args:
        frost_photos: of `load_frost_photos`, or empty.
    """
    if len(frost_photos):
        return CORRUPTIONS
    logger.warning("The corruption frost is left out: it needs a folder with photographs of frost")
    return tuple(name for name in CORRUPTIONS if name != "frost")


def make_keys(indices: np.ndarray, name: str, severity: int, seed: int) -> torch.Tensor:
    """What an image's draws depend on: int64 (N,), from int64 indices (N,)."""
    key = (seed, _PURPOSE, CORRUPTIONS.index(name), severity)
    return draw_bits(torch.from_numpy(np.ascontiguousarray(indices, dtype=np.int64)), *key)


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int,
    seed: int,
    indices: np.ndarray,
    frost_photos: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Corrupt images; what becomes of one depends on itself, its index and (name, severity, seed), not on the batch.

    Args:
        images: uint8 (N, S, S, 3), as stored; S at least 8. The strengths are meant for 32 pixels.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: of the draws.
        indices: int64 (N,), the images' canonical indices.
        frost_photos: of `load_frost_photos`, for "frost".

    Returns:
        uint8 (N, S, S, 3), a new array.

    Raises:
        UserError: An unknown name or severity, images of another type or shape, frost without photographs.
    """
    _check_arguments(images, name, severity, indices)
    if name == "frost" and not len(frost_photos):
        raise UserError("frost: there are no photographs of it; give a folder with some, or leave frost out")
    result = np.empty_like(images, order="C")
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        chunk = np.ascontiguousarray(images[part])
        if name in _WITHOUT_DRAWS:
            result[part] = _WITHOUT_DRAWS[name](chunk, severity)
            continue
        keys = make_keys(indices[part], name, severity, seed)
        if name == "frost":
            result[part] = frost(chunk, severity, keys, frost_photos)
        else:
            result[part] = _WITH_DRAWS[name](chunk, severity, keys)
    return result


def _check_arguments(images: np.ndarray, name: str, severity: int, indices: np.ndarray) -> None:
    if name not in CORRUPTIONS:
        raise UserError(f"corruption {name!r}; allowed: {', '.join(CORRUPTIONS)}. Give one of these")
    if severity not in SEVERITIES:
        raise UserError(f"severity {severity!r}; allowed: 1 to 5. Give one of these")
    shape = images.shape
    if (
        images.dtype != np.uint8
        or len(shape) != 4
        or shape[1] != shape[2]
        or shape[3] != 3
        or shape[1] < _SMALLEST_SIDE
    ):
        raise UserError(
            f"images are {images.dtype} {shape}; allowed: uint8 (N, S, S, 3), S at least {_SMALLEST_SIDE}. "
            "Give decoded square RGB images"
        )
    if len(indices) != len(images):
        raise UserError(f"{len(indices)} indices for {len(images)} images; allowed: one each. Give every image's own")
