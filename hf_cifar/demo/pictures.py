"""Owns what becomes of a file that a visitor gives: a picture and what is said about it, or why it is none."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..data.decoding import CONVERTED_MODES, EncodedImage, decode_image
from ..errors import UserError

# Pillow knows more, of which some run other programs (EPS) or are rarely tested; a public page takes none of these.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
NAMES = "PNG, JPEG, GIF, WebP, BMP, TIFF and AVIF"
MAY_BE_ANIMATED = ("PNG", "GIF", "WEBP", "AVIF")  # a JPEG with several frames (MPO) is a photograph
LARGEST = 50_000_000  # pixels; a small file may say it has any number, and each takes 3 bytes of memory
ENOUGH = 512  # pixels; of more on its shorter side, squares are averaged first, so that the models answer at once
ORIENTATION = 0x0112  # EXIF's tag


def read_picture(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """Decode a file that anybody may have sent, after a look at its header.

    Args:
        path: of the file; its name means nothing.

    Returns:
        uint8 (H, W, 3), at most 1,023 on the shorter side, and sentences about what was changed.

    Raises:
        UserError: It cannot be used; the message is for whoever sent it.
    """
    path = Path(path)
    Image.init()  # some builds of Pillow lack a format, and would fail for all
    try:
        with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as header:  # reads no pixels
            check_size(*header.size)
            mode = header.mode
            is_animated = header.format in MAY_BE_ANIMATED and getattr(header, "is_animated", False)
            # Of a PNG this would decode all, and cameras make none.
            is_turned = header.format != "PNG" and header.getexif().get(ORIENTATION, 1) != 1
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"This file is not a picture that can be read here. {NAMES} can.") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, which is higher
        raise UserError(f"This picture is too large. Up to {LARGEST / 1e6:.0f} megapixels can be used.") from error
    except Exception as error:  # files that were made to break decoders raise anything
        raise UserError("This file is damaged: its header cannot be read. Try another copy of it.") from error
    if mode.startswith(("I", "F")):
        raise UserError("This picture has more than 8 bits per channel. Save it as an ordinary PNG or JPEG first.")
    try:
        pixels, mode = decode_image(EncodedImage("the picture", path))
    except ValueError as error:
        raise UserError(f"This picture cannot be used: {error}.") from error
    except Exception as error:  # as above
        raise UserError("This file is damaged: it cannot be decoded. Try another copy of it.") from error
    factor = min(pixels.shape[:2]) // ENOUGH
    if factor > 1:
        pixels = np.asarray(Image.fromarray(pixels).reduce(factor))
    notes = ["It is animated: this is its first frame."] if is_animated else []
    if is_turned:
        notes.append("It was turned upright, as its EXIF data say.")
    if mode in CONVERTED_MODES and not is_animated:  # a GIF's palette is no news
        notes.append(f"It was converted to RGB from {CONVERTED_MODES[mode]}.")
    return pixels, notes


def check_size(width: int, height: int) -> None:
    """Raise UserError for more pixels than are decoded."""
    if width * height > LARGEST:
        raise UserError(
            f"This picture is too large: {width:,} x {height:,} pixels are {width * height / 1e6:.0f} megapixels, and "
            f"up to {LARGEST / 1e6:.0f} can be used. Make it smaller first."
        )
