"""Augmentations against the same thing done to single images by torch."""

import torch
from torch.nn import functional

from hf_cifar.data.augmentation import flip_images, translate_images

IMAGES = torch.arange(6 * 3 * 8 * 8).view(6, 3, 8, 8)


def test_flip_mirrors_the_chosen_images_only():
    flip = torch.tensor([True, False, True, False, False, True])
    flipped = flip_images(IMAGES, flip)
    for image, result, chosen in zip(IMAGES, flipped, flip, strict=True):
        assert torch.equal(result, image.flip(-1) if chosen else image)


def test_translation_is_reflect_padding_and_cropping():
    shift_y, shift_x = torch.tensor([-3, -1, 0, 1, 2, 3]), torch.tensor([3, 0, -2, 1, -3, 2])
    shifted = translate_images(IMAGES, shift_y, shift_x, limit=3)
    padded = functional.pad(IMAGES.float(), (3, 3, 3, 3), mode="reflect").long()
    for i, (y, x) in enumerate(zip(shift_y, shift_x, strict=True)):
        assert torch.equal(shifted[i], padded[i, :, 3 + y : 11 + y, 3 + x : 11 + x])


def test_no_shift_changes_nothing():
    zeros = torch.zeros(6, dtype=torch.int64)
    assert torch.equal(translate_images(IMAGES, zeros, zeros, limit=2), IMAGES)
