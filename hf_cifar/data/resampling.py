"""Owns antialiased resampling of a different box of each image in a batch, which no library does at once."""

import torch


def resample_boxes(images: torch.Tensor, boxes: torch.Tensor, size: int, interpolation: str) -> torch.Tensor:
    """Resize a box of each image to (size, size), as `torch.nn.functional.interpolate(antialias=True)` resizes one.

    Resampling is separable: two matrix products with weights that differ from image to image.

    Args:
        images: float (B, C, H, W).
        boxes: int64 (B, 4): top, left, height, width, within the image.
        size: of the result, in pixels.
        interpolation: "bilinear" or "bicubic".

    Returns:
        float (B, C, size, size).
    """
    top, left, height, width = boxes.unbind(1)
    rows = make_weights(top, height, images.shape[-2], size, interpolation)  # (B, size, H)
    columns = make_weights(left, width, images.shape[-1], size, interpolation)  # (B, size, W)
    return rows[:, None] @ images @ columns[:, None].mT


def make_weights(start: torch.Tensor, length: torch.Tensor, full: int, size: int, interpolation: str) -> torch.Tensor:
    """How much each pixel of an axis gives to each pixel of its resized part.

    Args:
        start, length: int64 (B,), the part of the axis.
        full: pixels of the whole axis.
        size: pixels of the result.
        interpolation: "bilinear" or "bicubic".

    Returns:
        float32 (B, size, full); each row sums to 1 and is 0 outside the part.
    """
    device = start.device
    scale = (length / size)[:, None, None]  # input pixels per output pixel
    stretch = scale.clamp(min=1)  # antialiasing: shrinking widens the filter
    centers = (torch.arange(size, device=device)[:, None] + 0.5) * scale + start[:, None, None]  # (B, size, 1)
    positions = torch.arange(full, device=device)  # (full,)
    weights = _FILTERS[interpolation]((positions + 0.5 - centers) / stretch)
    inside = (positions >= start[:, None, None]) & (positions < (start + length)[:, None, None])
    weights = weights * inside
    return weights / weights.sum(-1, keepdim=True)


def _triangle(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys 1981 with a = -0.5, which Pillow and torch's antialiased bicubic use."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


_FILTERS = {"bilinear": _triangle, "bicubic": _cubic}
