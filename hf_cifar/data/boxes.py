"""Owns where random crops, cutout and random erasing fall: boxes drawn by key."""

import math

import torch

from . import keyed
from .keyed import draw_integers, draw_uniform


def draw_crops(indices: torch.Tensor, size: int, smallest: float, *key: int) -> torch.Tensor:
    """Boxes int64 (B, 4) for `crop_and_resize`: share of the area from `smallest` to 1, aspect ratio 3/4 to 4/3.

    As `torchvision.transforms.RandomResizedCrop`, but a side that is too long is cut, not drawn again.
    """
    area = smallest + (1 - smallest) * draw_uniform(indices, *key, keyed.CROP_AREA)
    ratio = torch.exp(math.log(4 / 3) * (2 * draw_uniform(indices, *key, keyed.CROP_RATIO) - 1))
    return _place(indices, _measure(area, ratio, size), size, (keyed.CROP_Y, keyed.CROP_X), key)


def draw_erasures(indices: torch.Tensor, size: int, probability: float, *key: int) -> torch.Tensor:
    """Boxes int64 (B, 4) for random erasing: 2 to 33 % of the area, aspect ratio 0.3 to 3.3, as torchvision's."""
    area = 0.02 + (0.33 - 0.02) * draw_uniform(indices, *key, keyed.ERASE_AREA)
    low, high = math.log(0.3), math.log(3.3)
    ratio = torch.exp(low + (high - low) * draw_uniform(indices, *key, keyed.ERASE_RATIO))
    boxes = _place(indices, _measure(area, ratio, size), size, (keyed.ERASE_Y, keyed.ERASE_X), key)
    boxes[draw_uniform(indices, *key, keyed.ERASE) >= probability, 2] = 0
    return boxes


def draw_cutouts(indices: torch.Tensor, size: int, side: int, *key: int) -> torch.Tensor:
    """Squares int64 (B, 4) whose centres are anywhere in the image, so that they may stick out (DeVries & Taylor)."""
    top, left = (draw_integers(indices, 0, size - 1, *key, axis) for axis in (keyed.CUTOUT_Y, keyed.CUTOUT_X))
    side = torch.full_like(top, side)
    return torch.stack([top - side // 2, left - side // 2, side, side], 1)


def _measure(area: torch.Tensor, ratio: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Heights and widths in pixels, of boxes with this share of the area and ratio of width to height."""
    return tuple((size * (area * each).sqrt()).round().clamp(1, size).to(torch.int64) for each in (1 / ratio, ratio))


def _place(
    indices: torch.Tensor, sides: tuple[torch.Tensor, torch.Tensor], size: int, axes: tuple[int, int], key: tuple
) -> torch.Tensor:
    """Boxes int64 (B, 4) of these heights and widths, anywhere within the image."""
    starts = [
        (draw_uniform(indices, *key, axis) * (size - side + 1)).to(torch.int64)
        for axis, side in zip(axes, sides, strict=True)
    ]
    return torch.stack([*starts, *sides], 1)
