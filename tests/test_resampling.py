"""Resampling of boxes against torch's resizing of one crop."""

import pytest
import torch
from torch.nn.functional import interpolate

from hf_cifar.data.resampling import make_weights, resample_boxes


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [5, 24, 61])
def test_it_is_torchs_antialiased_interpolation_of_the_crop(size, interpolation):
    images = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0, 0, 24, 24], [2, 7, 13, 9], [20, 3, 1, 17], [0, 0, 3, 2]])
    results = resample_boxes(images, boxes, size, interpolation)
    for image, result, (top, left, height, width) in zip(images, results, boxes.tolist(), strict=True):
        crop = image[None, :, top : top + height, left : left + width]
        expected = interpolate(crop, (size, size), mode=interpolation, antialias=True)[0]
        torch.testing.assert_close(result, expected, atol=2e-5, rtol=1e-4)


def test_weights_sum_to_one_and_stay_inside():
    weights = make_weights(torch.tensor([3]), torch.tensor([5]), 16, 9, "bicubic")[0]
    torch.testing.assert_close(weights.sum(-1), torch.ones(9))
    assert not weights[:, :3].any() and not weights[:, 8:].any()
