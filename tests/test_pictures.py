"""Files that anybody may send to the demo: a picture and what is said of it, or one sentence that says why not."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from hf_cifar.demo import pictures
from hf_cifar.demo.pictures import read_picture
from hf_cifar.errors import UserError


def make_pixels(height: int = 24, width: int = 40) -> np.ndarray:
    """Red on the left, blue on the right."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 255
    return pixels


def encode(mode: str = "RGB", kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(make_pixels()).convert(mode).save(file, kind, **options)
    return file.getvalue()


def encode_noise(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def encode_gray_16() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((24, 24), 40_000, dtype=np.uint16)).save(file, "PNG")
    return file.getvalue()


def encode_large(side: int) -> bytes:
    """A black PNG of `side` squared pixels, of one bit each."""

    def pack(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = pack(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    rows = pack(b"IDAT", zlib.compress(bytes((1 + -(-side // 8)) * side), 1))
    return b"\x89PNG\r\n\x1a\n" + header + rows + pack(b"IEND", b"")


def encode_animation(kind: str = "GIF") -> bytes:
    """Two frames, of which the first is red and blue and the second black."""
    file = io.BytesIO()
    frames = [Image.fromarray(make_pixels()), Image.new("RGB", (40, 24))]
    frames[0].save(
        file, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    return file.getvalue()


def encode_turned() -> bytes:
    """A JPEG that is to be shown after a quarter turn."""
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    return encode(kind="JPEG", quality=95, exif=exif)


def read(content: bytes, folder: Path) -> tuple[np.ndarray, list[str]]:
    (folder / "picture.png").write_bytes(content)  # whatever it is
    return read_picture(folder / "picture.png")


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (encode(), []),
        (encode(kind="JPEG", quality=95), []),
        (encode(kind="BMP"), []),
        (encode(kind="TIFF"), []),
        (encode("P"), ["It was converted to RGB from palette."]),
        (encode("RGBA"), ["It was converted to RGB from RGBA, whose alpha is dropped."]),
        (encode("L"), ["It was converted to RGB from grayscale."]),
        (encode("CMYK", "JPEG", quality=95), ["It was converted to RGB from CMYK."]),
        (encode_animation(), ["It is animated: this is its first frame."]),
        (encode_animation("WEBP"), ["It is animated: this is its first frame."]),
    ],
    ids=["png", "jpeg", "bmp", "tiff", "palette", "alpha", "gray", "cmyk", "gif", "webp"],
)
def test_pictures_of_any_mode_become_rgb_and_it_is_said(content, notes, tmp_path):
    pixels, found = read(content, tmp_path)
    assert found == notes and pixels.shape == (24, 40, 3) and pixels.dtype == np.uint8
    if "grayscale" not in "".join(notes):
        assert abs(pixels[12, [5, 35]].astype(int) - [[255, 0, 0], [0, 0, 255]]).max() < 30


def test_a_photograph_is_turned_upright(tmp_path):
    pixels, notes = read(encode_turned(), tmp_path)
    assert pixels.shape == (40, 24, 3) and notes == ["It was turned upright, as its EXIF data say."]
    assert pixels[5, 12, 0] > 200 > 50 > pixels[35, 12, 0]


def test_a_photograph_is_averaged_down_to_what_models_need(tmp_path):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(256, size=(2100, 3000, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "BMP")
    found, notes = read(file.getvalue(), tmp_path)
    assert found.shape == (525, 750, 3) and notes == []
    assert abs(found[0, 0] - pixels[:4, :4].mean((0, 1))).max() <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture that can be read here. PNG, JPEG"),
        (b"hello " * 100, "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (encode(kind="EPS"), "not a picture"),  # Pillow would run Ghostscript
        (encode_noise("PNG")[:6000], "cannot be used: image file is truncated"),
        (encode_noise("JPEG")[:2000], "cannot be used: image file is truncated"),
        (encode()[:20], "not a picture|damaged"),
        (encode_gray_16(), "more than 8 bits per channel"),
        (encode_large(1), "1 x 1 pixels; allowed: at least 8 x 8"),
        (encode_large(14_000), "196 megapixels|too large"),  # beyond Pillow's own limit
    ],
    ids=["empty", "text", "svg", "eps", "half png", "half jpeg", "header", "16 bit", "one pixel", "bomb"],
)
def test_what_cannot_be_used_is_said_in_one_sentence(content, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        read(content, tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_large_picture_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(UserError, match="10,000 x 10,000 pixels are 100 megapixels, and up to 50 can be used"):
        read(encode_large(10_000), tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_files_made_to_break_decoders_end_in_a_sentence(tmp_path):
    generator = np.random.default_rng(0)
    kinds = [encode(), encode(kind="JPEG"), encode(kind="TIFF"), encode(kind="BMP"), encode_animation(), encode("P")]
    for content in kinds:
        for _ in range(40):
            broken = bytearray(content)
            for place in generator.integers(8, len(broken), 4):
                broken[place] = generator.integers(256)
            try:
                pixels, _ = read(bytes(broken), tmp_path)
            except UserError:
                continue
            assert pixels.ndim == 3
