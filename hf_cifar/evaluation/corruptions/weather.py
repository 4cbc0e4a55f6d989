"""Owns corruptions by weather: snow, frost, fog, brightness.

Each takes uint8 (N, S, S, 3), a severity from 1 to 5 and, if it draws, keys int64 (N,), and gives uint8 of the same
shape.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...errors import UserError
from .blur import blur_along_line, zoom_center
from .draws import ANGLE, LEFT, PHOTO, TOP, VALUES, draw_integers, draw_normals, draw_uniforms
from .pixels import to_bytes

# ITU-R 601-2 luma.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def snow(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Whiten, and add flakes that fall: noise, enlarged, cut off below a threshold and smeared downwards.

    The flakes are added twice, the second time turned by 180 degrees. The smear is that of `motion_blur`.
    """
    mean, scale, zoom, threshold, radius, sigma, kept = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[severity - 1]
    noise = mean + scale * draw_normals(keys, VALUES, *images.shape[1:3])
    flakes = zoom_center(torch.from_numpy(noise)[:, None], zoom)[:, 0].numpy()
    flakes = np.where(flakes < threshold, 0, (255 * flakes).clip(0, 255)).astype(np.uint8)
    angles = 90 * draw_uniforms(keys, ANGLE) - 135
    flakes = blur_along_line(flakes, radius, sigma, angles).astype(np.float32)[..., None]
    pixels = images.astype(np.float32)
    white = np.maximum(pixels, 1.5 * (pixels @ _LUMA)[..., None] + 127.5)
    return to_bytes(kept * pixels + (1 - kept) * white + flakes + flakes[:, ::-1, ::-1])


def load_frost_photos(folder: str | Path) -> list[np.ndarray]:
    """Read photographs of frost, at a fifth of their size: uint8 (H, W, 3) each, in the order of their names.

    Of every five rows and columns the middle one is kept, which is what OpenCV's bilinear reduction to a fifth does.

    Raises:
        UserError: No such folder, no photograph in it, or a file that is none.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    if not paths:
        raise UserError(f"{folder}: there are no photographs of frost; give a folder with .png or .jpg files")
    photos = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                photos.append(np.asarray(picture.convert("RGB"))[2::5, 2::5])
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{path}: not a photograph that Pillow can read; mend it or take it away") from error
    return photos


def frost(images: np.ndarray, severity: int, keys: torch.Tensor, photos: Sequence[np.ndarray]) -> np.ndarray:
    """Add a random part of a photograph of frost.

    Every photograph is drawn equally often; the original never draws the last of its six.

    Args:
        photos: of `load_frost_photos`.

    Raises:
        UserError: A photograph is too small to cut a part from.
    """
    kept, added = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    size = images.shape[1]
    for photo in photos:
        if min(photo.shape[:2]) <= size:
            height, width = (5 * side for side in photo.shape[:2])
            raise UserError(
                f"a photograph of frost has about {width} x {height} pixels; allowed: at least {5 * (size + 1)} on "
                f"each side for images of {size} pixels. Give larger ones"
            )
    chosen = draw_integers(keys, PHOTO, 0, len(photos) - 1)
    sides = np.array([photo.shape[:2] for photo in photos])[chosen] - size  # (N, 2)
    tops = (draw_uniforms(keys, TOP) * sides[:, 0]).astype(np.int64)
    lefts = (draw_uniforms(keys, LEFT) * sides[:, 1]).astype(np.int64)
    parts = [
        photos[which][top : top + size, left : left + size]
        for which, top, left in zip(chosen, tops, lefts, strict=True)
    ]
    return to_bytes(kept * images.astype(np.float32) + added * np.stack(parts))


def make_plasma(draws: np.ndarray, size: int, decay: float) -> np.ndarray:
    """Cloudy height maps by the diamond-square algorithm, on a torus (Fournier et al. 1982).

    Args:
        draws: uniform float (N, size * size - 1) in (0, 1), one for each point but the first.
        size: of the maps, a power of two.
        decay: by how much the deviations' root shrinks from one scale to the next.

    Returns:
        float64 (N, size, size), each from 0 to 1.
    """
    maps = np.zeros((len(draws), size, size))
    used, step, wibble = 0, size, 100.0

    def fill(rows: slice, columns: slice, total: np.ndarray) -> None:
        nonlocal used
        points = total[0].size
        deviation = wibble * wibble * (2 * draws[:, used : used + points].reshape(total.shape) - 1)
        maps[:, rows, columns] = total / 4 + deviation
        used += points

    while step >= 2:
        corner, middle = slice(0, size, step), slice(step // 2, size, step)
        corners = maps[:, corner, corner]
        pairs = corners + np.roll(corners, -1, axis=1)
        fill(middle, middle, pairs + np.roll(pairs, -1, axis=2))
        middles = maps[:, middle, middle]
        fill(corner, middle, middles + np.roll(middles, 1, axis=1) + corners + np.roll(corners, -1, axis=2))
        fill(middle, corner, middles + np.roll(middles, 1, axis=2) + corners + np.roll(corners, -1, axis=1))
        step, wibble = step // 2, wibble / decay
    maps -= maps.min((1, 2), keepdims=True)
    return maps / maps.max((1, 2), keepdims=True)


def fog(images: np.ndarray, severity: int, keys: torch.Tensor) -> np.ndarray:
    """Add a cloudy height map and darken, so that each image's largest value stays the largest."""
    strength, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[severity - 1]
    size = images.shape[1]
    map_size = 1 << (size - 1).bit_length()
    plasma = make_plasma(draw_uniforms(keys, VALUES, map_size * map_size - 1), map_size, decay)
    largest = images.max((1, 2, 3), keepdims=True) / 255
    foggy = images + 255 * strength * plasma[:, :size, :size, None]
    return to_bytes(foggy * largest / (largest + strength))


def brightness(images: np.ndarray, severity: int) -> np.ndarray:
    """Raise the value of HSV; hue and saturation stay, so each pixel is multiplied, and black becomes grey."""
    offset = 255 * (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    value = images.max(-1, keepdims=True).astype(np.float32)
    raised = np.minimum(value + offset, 255)
    return to_bytes(np.where(value > 0, images * (raised / np.maximum(value, 1)), raised))
