"""Owns corruptions by blur: defocus_blur, glass_blur, motion_blur, zoom_blur, gaussian_blur.

Each takes uint8 (N, S, S, 3), a severity from 1 to 5 and, if it draws, keys int64 (N,), and gives uint8 of the same
shape.
"""

import math

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from torch.nn import functional

from .draws import ANGLE, VALUES, draw_integers, draw_uniforms
from .pixels import to_bytes


def smooth(values: np.ndarray, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> np.ndarray:
    """Blur each image of (N, S, S) or (N, S, S, C) with a Gaussian of `sigma` pixels, as scikit-image does."""
    sigmas = (0, sigma, sigma, 0)[: values.ndim]
    return ndimage.gaussian_filter(values, sigmas, mode=mode, truncate=truncate)


def gaussian_blur(images: np.ndarray, severity: int) -> np.ndarray:
    """Blur with a Gaussian."""
    sigma = (0.4, 0.6, 0.7, 0.8, 1)[severity - 1]
    return to_bytes(smooth(images.astype(np.float32), sigma))


def make_disk(radius: float, sigma: float) -> np.ndarray:
    """A disk of `radius` pixels, its rim softened by the middle 3 x 3 values of a Gaussian: (K, K), sum 1."""
    half = math.ceil(radius) + 1
    offsets = np.arange(-half, half + 1)
    disk = (offsets**2 + offsets[:, None] ** 2 <= radius**2).astype(np.float64)
    rim = np.exp(-(np.arange(-1, 2) ** 2) / (2 * sigma**2))
    soft = ndimage.correlate(disk, rim * rim[:, None], mode="constant")
    return soft / soft.sum()


def defocus_blur(images: np.ndarray, severity: int) -> np.ndarray:
    """Blur with a disk, as a lens out of focus does; borders are reflected without repeating them."""
    radius, sigma = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[severity - 1]
    kernel = make_disk(radius, sigma)[None, :, :, None]
    return to_bytes(ndimage.correlate(images.astype(np.float32), kernel, mode="mirror"))


def glass_blur(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Blur, move pixels about, blur again.

    The original means to swap each pixel with a neighbour above or to the left, from the last pixel to the third of
    the third row. It assigns through views, though, so the pixel takes its neighbour's value and the neighbour keeps
    it. As in that order no neighbour has changed before it is read, a pass is one gather. This is what CIFAR-10-C
    has, and it is done here.
    """
    sigma, passes = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[severity - 1]
    count, size = images.shape[:2]
    shifts = draw_integers(keys, VALUES, -1, 0, passes, 2, size, size)
    shifts[..., :2, :] = 0
    shifts[..., :2] = 0
    pixels = to_bytes(smooth(images.astype(np.float32), sigma)).reshape(count, size * size, 3)
    for shift in shifts.swapaxes(0, 1):  # (N, 2, S, S)
        sources = np.arange(size * size).reshape(size, size) + shift[:, 0] * size + shift[:, 1]
        pixels = np.take_along_axis(pixels, sources.reshape(count, -1, 1), axis=1)
    return to_bytes(smooth(pixels.reshape(images.shape).astype(np.float32), sigma))


def blur_along_line(images: np.ndarray, radius: int, sigma: float, angles: np.ndarray) -> np.ndarray:
    """Smear each image along a line with half a Gaussian: ImageMagick's motion blur, from its definition.

    A pixel is the weighted mean of itself and the 2 * radius nearest-to-the-line pixels that lie in one direction
    from it; beyond the border the border's pixels go on. ImageMagick computes in 16 bits and then rounds to 8; here
    the result is rounded once.

    Args:
        images: uint8 (N, S, S) or (N, S, S, C).
        radius: in pixels.
        sigma: of the Gaussian, in pixels.
        angles: float (N,), in degrees, clockwise from the right.

    Returns:
        uint8, of the images' shape.
    """
    count, height, width = images.shape[:3]
    reach = 2 * radius
    steps = np.arange(reach + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2)).astype(np.float32)
    weights /= weights.sum()
    radians = np.deg2rad(angles)[:, None]
    rows, columns = (reach + np.ceil(steps * move(radians) - 0.5).astype(np.int64) for move in (np.sin, np.cos))
    padding = [(0, 0), (reach, reach), (reach, reach), (0, 0)][: images.ndim]
    windows = sliding_window_view(np.pad(images, padding, mode="edge"), (height, width), axis=(1, 2))
    which = np.arange(count)
    total = sum(
        weight * windows[which, row, column]  # (N, S, S) or (N, C, S, S)
        for weight, row, column in zip(weights, rows.T, columns.T, strict=True)
    )
    return (total + 0.5).astype(np.uint8).transpose((0, 2, 3, 1) if images.ndim == 4 else (0, 1, 2))


def motion_blur(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Smear along a line at most 45 degrees from the horizontal."""
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[severity - 1]
    angles = 90 * draw_uniforms(keys, ANGLE) - 45
    return np.ascontiguousarray(blur_along_line(images, radius, sigma, angles))


def zoom_center(planes: torch.Tensor, factor: float) -> torch.Tensor:
    """Enlarge the middle of float (N, C, S, S) planes to their own size.

    The middle is cut in whole pixels and its corners stay corners, as in `scipy.ndimage.zoom` of order 1.
    """
    size = planes.shape[-1]
    side = math.ceil(size / factor)
    top = (size - side) // 2
    middle = planes[..., top : top + side, top : top + side]
    new = round(side * factor)
    zoomed = functional.interpolate(middle, size=(new, new), mode="bilinear", align_corners=True)
    trim = (new - size) // 2
    return zoomed[..., trim : trim + size, trim : trim + size]


def zoom_blur(images: np.ndarray, severity: int) -> np.ndarray:
    """Average the image with ever larger zooms into its middle."""
    end = (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1]
    factors = np.arange(1, end, 0.01)  # its rounding errors decide about the last factor, as in the original
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    total = planes + sum(zoom_center(planes, factor) for factor in factors)
    return to_bytes((total / (len(factors) + 1)).permute(0, 2, 3, 1).contiguous().numpy())
