"""Owns corruptions of processing: contrast, elastic_transform, pixelate, jpeg_compression, saturate.

Each takes uint8 (N, S, S, 3), a severity from 1 to 5 and, if it draws, keys int64 (N,), and gives uint8 of the same
shape.
"""

import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from .blur import smooth
from .draws import CORNERS, VALUES, draw_uniforms
from .pixels import to_bytes


def contrast(images: np.ndarray, severity: int) -> np.ndarray:
    """Draw every value towards its channel's mean in the image."""
    factor = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    means = images.mean((1, 2), keepdims=True, dtype=np.float64)
    return to_bytes((images - means) * factor + means)


def saturate(images: np.ndarray, severity: int) -> np.ndarray:
    """Change the saturation of HSV: less at severities 1 and 2, more from 3 on.

    Hue and value stay, so no conversion is needed. Grey has no hue and counts as red, as in scikit-image: at
    severities 4 and 5 it gets a red tint.
    """
    factor, offset = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))[severity - 1]
    pixels = images.astype(np.float32)
    value = pixels.max(-1, keepdims=True)
    spread = value - pixels.min(-1, keepdims=True)
    saturation = np.clip(spread / np.maximum(value, 1) * factor + offset, 0, 1)
    red = np.array([0, 1, 1], dtype=np.float32)
    hue = np.where(
        spread > 0, (value - pixels) / np.maximum(spread, 1), red
    )  # 0 in the largest channel, 1 in the least
    return to_bytes(value * (1 - saturation * hue))


def pixelate(images: np.ndarray, severity: int) -> np.ndarray:
    """Shrink and enlarge again by Pillow's BOX: the mean of the pixels whose centres lie in a new pixel's area."""
    fraction = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    size = images.shape[1]
    small = int(size * fraction)
    box = Image.Resampling.BOX
    pictures = (Image.fromarray(image).resize((small, small), box).resize((size, size), box) for image in images)
    return np.stack([np.asarray(picture) for picture in pictures])


def jpeg_compression(images: np.ndarray, severity: int) -> np.ndarray:
    """Encode as JPEG with Pillow and decode again."""
    quality = (80, 65, 58, 50, 40)[severity - 1]
    result = np.empty_like(images)
    for row, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        with Image.open(file) as decoded:
            result[row] = np.asarray(decoded)
    return result


def sample_pixels(images: torch.Tensor, rows: np.ndarray, columns: np.ndarray, repeat_border: bool) -> torch.Tensor:
    """Interpolate bilinearly between pixels; beyond the border the image is reflected.

    Args:
        images: float (N, C, S, S).
        rows, columns: float (N, S, S), where each pixel of the result comes from.
        repeat_border: whether the reflection repeats the border's pixels (`reflect` in scipy) or not (`mirror`).

    Returns:
        float (N, C, S, S).
    """
    size = images.shape[-1]
    positions = np.stack([columns, rows], axis=-1)
    grid = (2 * positions + 1) / size - 1 if repeat_border else 2 * positions / (size - 1) - 1
    return functional.grid_sample(
        images,
        torch.from_numpy(grid).to(images.dtype),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=not repeat_border,
    )


def elastic_transform(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Warp by a random affine map, then by a smooth random field (Simard et al. 2003).

    Three corners of a square in the middle move at random and so give the affine map. Positions are exact, where
    OpenCV, which the original uses for it, rounds them to 1/32 of a pixel.
    """
    size = images.shape[1]
    amplitude, sigma, move = size * np.array(
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))[severity - 1]
    )
    middle, half = size // 2, size // 3
    corners = middle + half * np.array([[1, 1], [1, -1], [-1, -1]])  # x, y
    moved = corners + move * (2 * draw_uniforms(keys, CORNERS, 3, 2) - 1)  # (N, 3, 2)
    # A pixel's origin: the affine map that takes the moved corners back.
    ones = np.ones((len(images), 3, 1))
    back = np.linalg.solve(np.concatenate([moved, ones], -1), np.broadcast_to(corners, moved.shape))  # (N, 3, 2)
    rows, columns = np.mgrid[:size, :size].astype(np.float64)
    origins = np.stack([columns, rows, np.ones_like(rows)], -1) @ back[:, None]  # (N, S, S, 2)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    planes = sample_pixels(planes, origins[..., 1], origins[..., 0], repeat_border=False)
    field = 2 * draw_uniforms(keys, VALUES, 2, size, size) - 1
    across, down = (amplitude * smooth(field[:, axis], sigma, mode="reflect", truncate=3) for axis in (0, 1))
    planes = sample_pixels(planes, rows + down, columns + across, repeat_border=True)
    return to_bytes(planes.permute(0, 2, 3, 1).contiguous().numpy())
