"""Drawn boxes have the sizes and places that the papers say."""

import pytest
import torch

from hf_cifar.data.boxes import draw_crops, draw_cutouts, draw_erasures


def test_drawn_boxes_have_the_shares_that_torchvision_draws():
    indices = torch.arange(4000)
    crops = draw_crops(indices, 64, 0.25, 0, 0).double()
    area = crops[:, 2] * crops[:, 3] / 64**2
    assert area.min() > 0.23 and 0.55 < area.mean() < 0.65 and (crops[:, :2] + crops[:, 2:] <= 64).all()
    erasures = draw_erasures(indices, 64, 0.25, 0, 0)
    erased = erasures[erasures[:, 2] > 0].double()
    assert len(erased) / 4000 == pytest.approx(0.25, abs=0.03)
    assert (erased[:, 2] * erased[:, 3] / 64**2).mean() == pytest.approx(0.17, abs=0.02)
    cutouts = draw_cutouts(indices, 64, 16, 0, 0)
    assert cutouts[:, :2].min() == -8 and cutouts[:, :2].max() == 55
