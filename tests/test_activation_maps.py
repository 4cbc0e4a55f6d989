"""Activation maps: for every architecture, and where the evidence is."""

import pytest
import torch

from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.evaluation.activation_maps import compute_activation_maps, to_planes
from hf_cifar.models.loading import build_cifar_cnn

from .conftest import TINY_CNN
from .tiny_models import FAMILIES, build_tiny


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_maps(family):
    model = build_tiny(family)
    size = 224 if family in ("timm vit", "timm swin") else getattr(model.config, "image_size", None) or 64
    maps = compute_activation_maps(model, torch.randn(3, 3, size, size))
    assert maps is None or (maps.shape == (3, size, size) and maps.min() >= 0 and maps.max() <= 1)
    if family in ("vit", "convnext", "resnet"):
        assert maps is not None


def test_the_cnn_looks_at_what_decides():
    torch.manual_seed(0)
    model = build_cifar_cnn({**TINY_CNN, "final_pooling": "average"}, list(CLASS_NAMES))
    model.train()
    with torch.no_grad():
        for _ in range(20):  # running statistics of its normalisation
            model(pixel_values=torch.randn(64, 3, 32, 32))
    images = torch.zeros(8, 3, 32, 32)
    images[:, :, 16:, 16:] = 3 * torch.randn(8, 3, 16, 16)
    maps = compute_activation_maps(model, images)
    assert maps.shape == (8, 32, 32) and not model.training
    assert maps.isfinite().all() and maps.amax((1, 2)).max() == 1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_tokens_go_back_to_their_grid():
    grid = torch.arange(9.0).view(1, 9, 1)
    tokens = torch.cat([torch.full((1, 2, 1), -1.0), grid], dim=1)  # two class tokens in front
    assert to_planes(tokens).tolist() == [[[[0, 1, 2], [3, 4, 5], [6, 7, 8]]]]
    assert to_planes(torch.zeros(2, 5)) is None
