"""Stochastic depth: at the rate that was asked for, in training alone, and only where the architecture has it."""

import pytest
import torch
from transformers import AutoModelForImageClassification

from hf_cifar.arguments import ModelArguments
from hf_cifar.errors import UserError
from hf_cifar.models.loading import load_for_fine_tuning, load_model
from hf_cifar.models.stochastic_depth import find_drop_rates

from .tiny_models import CLASSES, save_tiny


@pytest.mark.parametrize(
    "family", ["dinov2", "swin", "convnext", "convnextv2", "timm vit", "timm swin", "timm convnext", "timm resnet"]
)
def test_the_rate_is_active_in_training_alone(family, tmp_path):
    plain = save_tiny(family, tmp_path / "base")
    arguments = ModelArguments(str(tmp_path / "base"), drop_path=0.4)
    model, preprocessing, _ = load_for_fine_tuning(arguments, CLASSES)
    rates = find_drop_rates(model)
    assert max(rates) == pytest.approx(0.4) and min(rates) >= 0
    size = preprocessing.image_size
    images = torch.randn(4, 3, size, size)
    model.save_pretrained(tmp_path / "saved")
    reloaded = AutoModelForImageClassification.from_pretrained(tmp_path / "saved")
    with torch.inference_mode():
        expected = plain(images).logits
        torch.testing.assert_close(model.eval()(images).logits, expected)
        torch.testing.assert_close(reloaded(images).logits, expected)
        model.train()
        for module in model.modules():  # nothing else is to be random, or to depend on the batch
            if isinstance(module, (torch.nn.Dropout, torch.nn.BatchNorm2d)):
                module.eval()
        first, second = model(images).logits, model(images).logits
    assert not torch.allclose(first, second, rtol=1e-6, atol=1e-9)


def test_zero_turns_it_off(tmp_path):
    model = save_tiny("swin", tmp_path)
    assert max(find_drop_rates(model)) == pytest.approx(0.1)  # Swin's own
    assert not any(find_drop_rates(load_model(str(tmp_path), CLASSES, drop_path=0.0)[0]))


@pytest.mark.parametrize("family", ["vit", "resnet", "timm vgg"])
def test_families_without_it_are_refused(family, tmp_path):
    save_tiny(family, tmp_path)
    with pytest.raises(UserError, match=r"drop_path=0.1: \S+ has no stochastic depth .*leave drop_path out"):
        load_model(str(tmp_path), CLASSES, drop_path=0.1)


def test_size_and_rate_go_together(tmp_path):
    save_tiny("timm vit", tmp_path / "base")
    model, _ = load_model(str(tmp_path / "base"), CLASSES, image_size=96, drop_path=0.3)
    model.save_pretrained(tmp_path / "saved")
    reloaded, _ = load_model(str(tmp_path / "saved"))
    options = reloaded.config.model_args
    assert (options["img_size"], options["drop_path_rate"], options["depth"]) == (96, 0.3, 2)
    assert find_drop_rates(reloaded) == find_drop_rates(model) == pytest.approx([0.3, 0.3])
