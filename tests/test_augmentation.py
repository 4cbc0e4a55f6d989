"""Whole-batch augmentations against torchvision's own operations on single images."""

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from hf_cifar.data.augmentation import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    crop_and_resize,
    erase_boxes,
    flip_images,
    translate_images,
)
from hf_cifar.data.store import read_images

SHIFT_Y, SHIFT_X = torch.tensor([-3, -1, 0, 1, 2, 3]), torch.tensor([3, 0, -2, 1, -3, 2])


@pytest.fixture(scope="module")
def images(data) -> torch.Tensor:
    """Six photographs, uint8 (6, 3, 32, 32)."""
    return torch.from_numpy(read_images(data.train)[:6].copy()).permute(0, 3, 1, 2)


def test_flip_mirrors_the_chosen_images_only(images):
    flip = torch.tensor([True, False, True, False, False, True])
    flipped = flip_images(images, flip)
    for image, result, chosen in zip(images, flipped, flip, strict=True):
        assert torch.equal(result, tvf.horizontal_flip(image) if chosen else image)


@pytest.mark.parametrize(("padding_mode", "torchs"), [("reflect", "reflect"), ("zeros", "constant")])
def test_translation_is_padding_and_cropping(images, padding_mode, torchs):
    shifted = translate_images(images, SHIFT_Y, SHIFT_X, padding_mode)
    for image, result, y, x in zip(images, shifted, SHIFT_Y.tolist(), SHIFT_X.tolist(), strict=True):
        padded = tvf.pad(image, [3], padding_mode=torchs)
        assert torch.equal(result, tvf.crop(padded, 3 + y, 3 + x, 32, 32))


def test_no_shift_changes_nothing(images):
    zeros = torch.zeros(6, dtype=torch.int64)
    assert torch.equal(translate_images(images, zeros, zeros), images)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [16, 32, 56])
def test_crops_are_resized_as_torchvision_does(images, size, interpolation):
    boxes = torch.tensor(
        [[0, 0, 32, 32], [3, 5, 20, 11], [31, 31, 1, 1], [0, 30, 7, 2], [10, 0, 22, 32], [4, 4, 16, 16]]
    )
    results = crop_and_resize(images, boxes, size, interpolation)
    for image, result, box in zip(images, results, boxes.tolist(), strict=True):
        expected = tvf.resized_crop(image, *box, [size, size], InterpolationMode(interpolation), antialias=True)
        # torchvision rounds to bytes between the two axes, and cuts off where bicubic overshoots.
        difference = (result.float() - expected.float()).abs()
        assert difference.max() <= 3 and difference.mean() < 0.3


@pytest.mark.parametrize(
    ("ours", "torchvisions"),
    [
        (adjust_brightness, tvf.adjust_brightness),
        (adjust_contrast, tvf.adjust_contrast),
        (adjust_saturation, tvf.adjust_saturation),
    ],
)
def test_colours_are_adjusted_as_torchvision_does(images, ours, torchvisions):
    factors = torch.tensor([0.0, 0.4, 0.9, 1.0, 1.3, 2.0])
    for image, result, factor in zip(images, ours(images, factors), factors.tolist(), strict=True):
        assert (result.int() - torchvisions(image, factor).int()).abs().max() <= 1


def test_boxes_are_erased_as_torchvision_does(images):
    boxes = torch.tensor([[0, 0, 5, 5], [3, 4, 10, 2], [0, 0, 0, 9], [-4, 28, 8, 8], [30, 30, 8, 8], [0, 0, 32, 32]])
    color = torch.tensor([1, 2, 3], dtype=torch.uint8)
    for image, result, (top, left, height, width) in zip(
        images, erase_boxes(images, boxes, color), boxes.tolist(), strict=True
    ):
        bottom, right = min(top + height, 32), min(left + width, 32)
        top, left = max(top, 0), max(left, 0)
        expected = tvf.erase(image, top, left, bottom - top, right - left, color[:, None, None])
        assert torch.equal(result, expected)
