"""Activation maps: captum's on convolutions, of every architecture, and where the evidence is."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from hf_cifar.errors import UserError
from hf_cifar.evaluation import activation_maps

from .tiny_models import FAMILIES, FOR_32_PIXELS, build_fresh, build_tiny


def make_pixels(size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["cifar_cnn", "resnet", "timm efficientnet"])
def test_maps_of_convolutions_are_captums(family):
    model, pixels, targets = build_fresh(family), make_pixels(128), torch.tensor([1, 2])
    if family == "cifar_cnn":
        pixels = make_pixels(32)
    found, name = activation_maps.compute_activation_maps(model, pixels, targets)
    layer = model.get_submodule(name)
    method = captum.attr.LayerGradCam(lambda values: model(pixel_values=values).logits, layer)
    expected = method.attribute(pixels, targets, relu_attributions=True)[:, 0].detach()
    highest = expected.amax((1, 2), keepdim=True)
    expected = expected / torch.where(highest > 0, highest, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("family", [*FOR_32_PIXELS])
def test_every_architecture_has_maps(family):
    model = build_fresh(family)
    size = 224 if family == "timm swin" else 32
    found, name = activation_maps.compute_activation_maps(model, make_pixels(size))
    assert found.shape[0] == 2 and found.shape[1] == found.shape[2] > 1 and np.isfinite(found).all()
    assert found.min() >= 0 and found.max() <= 1 and name
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_vit_is_read_before_its_last_layer_whose_patches_go_nowhere():
    found, name = activation_maps.compute_activation_maps(build_tiny("vit"), make_pixels())
    assert name == "vit.layers.1" and found.shape == (2, 4, 4) and found.max() == 1


def test_a_coarse_last_stage_is_passed_over():
    model = build_fresh("timm resnet")
    sizes = {size: activation_maps.compute_activation_maps(model, make_pixels(size)) for size in (64, 128)}
    assert sizes[128][1] == "timm_model.layer4" and sizes[64][1] == "timm_model.layer3"
    assert all(found.shape[-1] == 4 for found, _ in sizes.values())


def test_the_map_is_bright_where_the_evidence_is():
    """A network that looks for bright pixels only, without padding, finds them in their corner."""
    model = build_fresh("cifar_cnn")
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.abs_()
            if isinstance(module, nn.Linear):
                module.weight.abs_()
    pixels = torch.full((1, 3, 32, 32), 0.0)
    pixels[..., :12, 20:] = 3.0
    found, _ = activation_maps.compute_activation_maps(model, pixels, torch.tensor([0]))
    side = found.shape[-1] // 2
    corner = found[0, :side, -side:].mean()
    assert corner > 2 * found[0, -side:, :side].mean()


def test_a_model_that_keeps_no_place_is_refused():
    model = build_fresh("cifar_cnn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activation_maps, "get_grid", lambda values: None)
        with pytest.raises(UserError, match="no stage of CifarCnn"):
            activation_maps.compute_activation_maps(model, make_pixels())


def test_outputs_are_laid_on_their_grid():
    tokens = torch.arange(2 * 19 * 3).reshape(2, 19, 3)  # 3 that are no patches, 16 that are
    grid = activation_maps.get_grid(tokens)
    assert grid.shape == (2, 3, 4, 4) and torch.equal(grid[:, :, 1, 2], tokens[:, 3 + 6])
    last = torch.zeros(2, 4, 4, 7)
    assert activation_maps.get_grid(last).shape == (2, 7, 4, 4)
    for unusable in (torch.zeros(2, 7, 1, 1), torch.zeros(2, 5), torch.zeros(2, 10**2 + 20, 3), None):
        assert activation_maps.get_grid(unusable) is None


@pytest.mark.parametrize("family", [*FAMILIES])
def test_first_filters_read_rgb(family):
    filters = activation_maps.get_first_filters(build_tiny(family))
    assert filters.ndim == 4 and filters.shape[-1] == 3 and filters.shape[1] == filters.shape[2]


def test_a_model_without_such_a_layer_has_no_filters():
    assert activation_maps.get_first_filters(nn.Sequential(nn.Linear(3, 2))) is None
