"""Owns decoding: encoded images of any size and mode become uint8 RGB squares, and what is wrong is counted."""

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from ..errors import UserError

SMALLEST_SIDE = 8
CHUNK = 250  # images decoded at a time: tables may be larger than memory
# What Pillow's convert("RGB") keeps the meaning of; a model's image processor and pipeline convert the same way.
CONVERTED_MODES = {
    "1": "black and white",
    "L": "grayscale",
    "LA": "grayscale with alpha, which is dropped",
    "P": "palette",
    "PA": "palette with alpha, which is dropped",
    "RGBA": "RGBA, whose alpha is dropped",
    "CMYK": "CMYK",
}


@dataclass(frozen=True)
class EncodedImage:
    """An image file's bytes, or where they are, and what messages call it."""

    name: str
    content: bytes | Path


@dataclass
class Findings:
    """What decoding came upon: images that were converted, by kind, and those that cannot be used, by name."""

    converted: Counter = field(default_factory=Counter)
    corrupt: dict[str, str] = field(default_factory=dict)

    def describe_corrupt(self, total: int) -> str:
        """The first of the unusable images, and their number."""
        examples = "; ".join(f"{name}: {reason}" for name, reason in list(self.corrupt.items())[:3])
        more = f"; and {len(self.corrupt) - 3} more" if len(self.corrupt) > 3 else ""
        return f"{len(self.corrupt):,} of {total:,} images cannot be used ({examples}{more})"


def decode_image(image: EncodedImage, storage_size: int | None = None) -> tuple[np.ndarray, str]:
    """Decode one image with Pillow and, if asked, resize it.

    Resizing is direct, without a crop, and antialiased: what the image processors of our models do.

    Args:
        image: in any format that Pillow knows.
        storage_size: height and width of the result in pixels; None keeps the image's own.

    Returns:
        uint8 (H, W, 3), and Pillow's mode of the original.

    Raises:
        ValueError: It cannot be decoded or is of no use; the message says why.
    """
    try:
        file = io.BytesIO(image.content) if isinstance(image.content, bytes) else image.content
        with Image.open(file) as opened:
            mode, picture = opened.mode, opened
            ImageOps.exif_transpose(picture, in_place=True)  # as a pipeline turns it
            if mode != "RGB" and mode not in CONVERTED_MODES:
                allowed = ", ".join(("RGB", *CONVERTED_MODES))
                raise ValueError(f"mode {mode}; allowed: {allowed}, of 8 bits per channel or less. Convert it")
            if min(picture.size) < SMALLEST_SIDE:
                width, height = picture.size
                raise ValueError(f"{width} x {height} pixels; allowed: at least {SMALLEST_SIDE} x {SMALLEST_SIDE}")
            picture = picture if mode == "RGB" else picture.convert("RGB")
            if storage_size is not None and picture.size != (storage_size, storage_size):
                picture = picture.resize((storage_size, storage_size), Image.Resampling.BICUBIC)
            return np.asarray(picture), mode
    # What Pillow raises for truncated, foreign and far too large files.
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = re.sub(r" (<_io.BytesIO.*>|'.*')$", "", " ".join(str(error).split()))  # the caller names the image
        raise ValueError(reason) from error


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """Resize uint8 (N, H, W, 3) to (N, size, size, 3) as `decode_image` does."""
    pictures = (Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC) for image in images)
    return np.stack([np.asarray(picture) for picture in pictures])


def decode_images(
    images: Iterable[EncodedImage], findings: Findings, storage_size: int | None, total: int, description: str
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Decode in chunks, on several threads.

    Args:
        images: in order; read as they are needed.
        findings: is filled.
        storage_size: see `decode_image`; None asks that all images are squares of one size.
        total: how many there are, for progress.
        description: of the progress bar.

    Yields:
        The positions that could be decoded, and uint8 (n, S, S, 3).

    Raises:
        UserError: Sizes differ and there is no `storage_size`.
    """

    def decode(image: EncodedImage) -> tuple[EncodedImage, np.ndarray | None, str]:
        try:
            return image, *decode_image(image, storage_size)
        except ValueError as error:
            return image, None, str(error)

    first = None
    with ThreadPoolExecutor() as pool, tqdm(total=total, desc=description, unit="image") as progress:
        for start, chunk in _split(images):
            rows, pixels = [], []
            for row, (image, decoded, detail) in enumerate(pool.map(decode, chunk), start):
                if decoded is None:
                    findings.corrupt[image.name] = detail
                    continue
                first = first or (image.name, decoded.shape)
                check_shape(image.name, decoded.shape, *first)
                if detail in CONVERTED_MODES:
                    findings.converted[CONVERTED_MODES[detail]] += 1
                rows.append(row)
                pixels.append(decoded)
            progress.update(len(chunk))
            if rows:
                yield rows, np.stack(pixels)


def _split(images: Iterable[EncodedImage]) -> Iterator[tuple[int, list[EncodedImage]]]:
    chunk, start = [], 0
    for image in images:
        chunk.append(image)
        if len(chunk) == CHUNK:
            yield start, chunk
            chunk, start = [], start + CHUNK
    if chunk:
        yield start, chunk


def check_shape(name: str, shape: tuple[int, ...], first_name: str, first_shape: tuple[int, ...]) -> None:
    """Raise UserError unless an image is a square of the first one's size."""
    height, width = shape[:2]
    if height != width or shape != first_shape:
        other = "" if shape == first_shape else f" and {first_name} {first_shape[1]} x {first_shape[0]}"
        raise UserError(
            f"{name} has {width} x {height} pixels{other}; allowed: squares of one size. Give --storage_size, as "
            f"--storage_size {max(SMALLEST_SIDE, min(*shape[:2], 224))}, to resize all images once"
        )
