"""Owns the corruption spatter, and the parts of OpenCV that it is made of, for whole batches of grey images."""

import numpy as np
import torch
from scipy import ndimage

from .blur import smooth
from .draws import VALUES, draw_normals
from .pixels import to_bytes

_WATER = np.array([175, 238, 238], dtype=np.float32)
_MUD = np.array([63, 42, 20], dtype=np.float32)
_FAR = 20  # pixels; larger distances count as this one
# Lengths of a chamfer's moves along an axis, along a diagonal, and like a knight (Borgefors 1986), as in OpenCV.
_MOVES = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}
_EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def spatter(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Drops on the lens, where smooth noise exceeds a threshold: water at severities 1 to 3, then mud.

    Noise above 1, which is rare, counts as 1; the original lets it wrap around to 0.

    Args:
        images: uint8 (N, S, S, 3).
        severity: 1 to 5.
        keys: int64 (N,).

    Returns:
        uint8 (N, S, S, 3).
    """
    mean, scale, sigma, threshold, extent = (
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    )[severity - 1]
    liquid = smooth(mean + scale * draw_normals(keys, VALUES, *images.shape[1:3]), sigma)
    if severity <= 3:
        liquid = np.where(liquid < threshold, 0, (255 * liquid).clip(0, 255)).astype(np.uint8)
        drops = extent * light_drops(liquid)
        return to_bytes(images + drops[..., None] * _WATER)
    cover = smooth((liquid > threshold).astype(np.float32), extent)
    cover = np.where(cover < 0.8, np.float32(0), cover)[..., None]
    return to_bytes(images * (1 - cover) + cover * _MUD)


def light_drops(liquid: np.ndarray) -> np.ndarray:
    """How bright water is that reflects light along its edges.

    Args:
        liquid: uint8 (N, S, S), 0 where there is none.

    Returns:
        float32 (N, S, S); the brightest pixel of each image is 1. An image without any light stays 0.
    """
    distance = measure_distance(find_edges(liquid, 50, 150))
    distance = equalize(_average(distance).astype(np.uint8))
    relief = ndimage.correlate(distance.astype(np.int64), _EMBOSS[None], mode="mirror").clip(0, 255)
    light = np.floor(_average(relief) + 0.5) * liquid
    return (light / np.maximum(light.max((1, 2), keepdims=True), 1)).astype(np.float32)


def _average(values: np.ndarray) -> np.ndarray:
    """Mean of 3 x 3 pixels; borders are reflected without repeating them."""
    total = ndimage.correlate(values.astype(np.float64), np.ones((1, 3, 3)), mode="mirror")
    return (total + 1e-6) / 9  # whole numbers stay whole


def find_edges(images: np.ndarray, low: int, high: int) -> np.ndarray:
    """Canny's edges (Canny 1986), as `cv2.Canny(image, low, high)` has them.

    Args:
        images: uint8 (N, S, S).
        low, high: thresholds of the gradient |x| + |y| by Sobel's filter.

    Returns:
        bool (N, S, S).
    """
    grey = images.astype(np.int64)
    sobel = np.array([1, 2, 1])[:, None] * np.array([-1, 0, 1])
    across = ndimage.correlate(grey, sobel[None], mode="nearest")
    down = ndimage.correlate(grey, sobel.T[None], mode="nearest")
    size_across, size_down = abs(across), abs(down)
    strength = size_across + size_down
    # Keep ridges: a pixel must beat its two neighbours in the gradient's direction, rounded to 45 degrees. The tangent
    # of 22.5 degrees has OpenCV's 15 bits. Ties are kept once, along axes only.
    tangent, unit = 13573, 1 << 15
    horizontal = size_down * unit < size_across * tangent
    vertical = ~horizontal & (size_down * unit > size_across * (tangent + 2 * unit))
    rising = (across < 0) != (down < 0)
    padded = np.pad(strength, ((0, 0), (1, 1), (1, 1)))
    height, width = strength.shape[1:]

    def neighbor(row: int, column: int) -> np.ndarray:
        return padded[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    ridge = np.select(
        [horizontal, vertical, rising],
        [
            (strength > neighbor(0, -1)) & (strength >= neighbor(0, 1)),
            (strength > neighbor(-1, 0)) & (strength >= neighbor(1, 0)),
            (strength > neighbor(-1, 1)) & (strength > neighbor(1, -1)),
        ],
        (strength > neighbor(-1, -1)) & (strength > neighbor(1, 1)),
    )
    weak = ridge & (strength > low)
    # From strong pixels on, weak ones that touch are edges too.
    return ndimage.binary_propagation(weak & (strength > high), structure=np.ones((1, 3, 3)), mask=weak)


def measure_distance(edges: np.ndarray) -> np.ndarray:
    """Chamfer distance of each pixel to the nearest edge, at most 20 (`cv2.distanceTransform`, L2, a mask of 5).

    Args:
        edges: bool (N, S, S).

    Returns:
        float32 (N, S, S), in pixels.
    """
    height, width = edges.shape[1:]
    padded = np.full((len(edges), height + 4, width + 4), _FAR, dtype=np.float32)
    distance = padded[:, 2:-2, 2:-2]
    distance[edges] = 0
    moves = {
        (sign_y * row, sign_x * column): length
        for (a, b), length in _MOVES.items()
        for row, column in ((a, b), (b, a))
        for sign_y in (1, -1)
        for sign_x in (1, -1)
    }
    before = None
    while before is None or not np.array_equal(before, distance):
        before = distance.copy()
        for (row, column), length in moves.items():
            neighbor = padded[:, 2 + row : 2 + row + height, 2 + column : 2 + column + width]
            np.minimum(distance, neighbor + np.float32(length), out=distance)
    return distance.copy()


def equalize(images: np.ndarray) -> np.ndarray:
    """Spread the values of each image over 0 to 255 by their ranks (`cv2.equalizeHist`).

    Args:
        images: uint8 (N, S, S).

    Returns:
        uint8 (N, S, S). An image of one value stays as it is.
    """
    count = len(images)
    flat = images.reshape(count, -1).astype(np.int64)
    histogram = np.bincount((flat + 256 * np.arange(count)[:, None]).ravel(), minlength=256 * count)
    ranks = histogram.reshape(count, 256).cumsum(1)
    lowest = np.take_along_axis(ranks, flat.min(1)[:, None], 1)  # (N, 1)
    rest = flat.shape[1] - lowest
    table = np.where(rest > 0, np.rint((ranks - lowest) * (255 / np.maximum(rest, 1))), np.arange(256))
    return np.take_along_axis(table.clip(0, 255), flat, 1).astype(np.uint8).reshape(images.shape)
