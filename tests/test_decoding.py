"""Decoding: every mode is converted or refused, and what is wrong is named and counted."""

import io

import numpy as np
import pytest
from PIL import Image

from hf_cifar.data.decoding import EncodedImage, Findings, decode_image, decode_images, resize_images
from hf_cifar.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def encode(picture: Image.Image, kind: str = "PNG", **options) -> EncodedImage:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return EncodedImage("x.png", buffer.getvalue())


def decode_all(images: list[EncodedImage], storage_size=None) -> tuple[list[int], np.ndarray, Findings]:
    findings = Findings()
    ((rows, pixels),) = decode_images(images, findings, storage_size, len(images), "test")
    return rows, pixels, findings


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("CMYK", "TIFF")],
)
def test_other_modes_are_converted_as_pillow_does_and_counted(mode, kind):
    picture = Image.fromarray(GREY).convert("RGB").convert(mode)
    _, pixels, findings = decode_all([encode(picture, kind)])
    assert np.array_equal(pixels[0], np.asarray(picture.convert("RGB")))
    assert sum(findings.converted.values()) == 1


def test_rgb_is_not_counted_as_converted():
    _, _, findings = decode_all([encode(Image.fromarray(GREY).convert("RGB"))])
    assert not findings.converted and not findings.corrupt


@pytest.mark.parametrize("picture", [Image.fromarray(GREY.astype(np.uint16) * 257), Image.new("F", (16, 16))])
def test_more_than_8_bits_are_refused(picture):
    with pytest.raises(
        ValueError, match="mode (I;16|F); allowed: RGB, 1, L.* of 8 bits per channel or less. Convert it"
    ):
        decode_image(encode(picture, "TIFF"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encode(Image.new("RGB", (1, 1))).content, "1 x 1 pixels; allowed: at least 8 x 8"),
        (encode(Image.fromarray(NOISE)).content[:200], "truncated"),
        (b"", "cannot identify"),
        (b"no image", "cannot identify"),
    ],
)
def test_what_cannot_be_used_says_why(content, reason):
    with pytest.raises(ValueError, match=reason):
        decode_image(EncodedImage("x.png", content))


def test_corrupt_images_are_named_and_left_out():
    good = encode(Image.fromarray(GREY))
    bad = [EncodedImage(f"row {number}", b"no image") for number in (1, 3, 4, 5)]
    rows, pixels, findings = decode_all([good, bad[0], good, *bad[1:]])
    assert rows == [0, 2] and pixels.shape == (2, 16, 16, 3)
    message = findings.describe_corrupt(6)
    assert message.startswith("4 of 6 images cannot be used (row 1: cannot identify") and "and 1 more" in message


def test_a_missing_file_is_corrupt(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        decode_image(EncodedImage("gone.png", tmp_path / "gone.png"))


@pytest.mark.parametrize("sizes", [[(20, 16)], [(16, 16), (20, 20)]])
def test_sizes_that_differ_need_a_storage_size(sizes):
    images = [encode(Image.new("RGB", size)) for size in sizes]
    with pytest.raises(UserError, match=r"20 x (16|20) pixels.*Give --storage_size, as --storage_size (16|20)"):
        decode_all(images)
    _, pixels, _ = decode_all(images, storage_size=12)
    assert pixels.shape == (len(sizes), 12, 12, 3)


def test_resizing_is_pillows_bicubic():
    picture = Image.fromarray(np.stack([GREY] * 3, -1))
    expected = np.asarray(picture.resize((40, 40), Image.Resampling.BICUBIC))
    assert np.array_equal(decode_image(encode(picture), 40)[0], expected)
    assert np.array_equal(resize_images(np.asarray(picture)[None], 40)[0], expected)


def test_a_camera_held_sideways_is_turned():
    picture = Image.new("RGB", (10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encode(picture, "JPEG", exif=exif))[0].shape == (10, 20, 3)


def test_many_images_come_in_chunks():
    images = (encode(Image.fromarray(GREY)) for _ in range(600))
    chunks = list(decode_images(images, Findings(), None, 600, "test"))
    assert [len(rows) for rows, _ in chunks] == [250, 250, 100] and chunks[-1][0][-1] == 599
