"""CifarCnn initialises what a checkpoint lacks as a fresh model would be: heads, single weights, everything."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoModelForImageClassification

from hf_cifar.models import CifarCnnForImageClassification, CifarCnnModel

from .test_cifar_cnn_common import (
    CONFIGS,
    each_config,
    make_images,
    make_model,
)
from .test_cifar_cnn_loading import catch_messages
from .test_cifar_cnn_training import FROZEN, find_frozen


def drop_weights(folder: Path, *parts: str) -> set[str]:
    """Delete from a checkpoint what has one of `parts` in its name; the deleted names."""
    weights = load_file(folder / "model.safetensors")
    gone = {name for name in weights if any(part in name for part in parts)}
    save_file({k: v for k, v in weights.items() if k not in gone}, folder / "model.safetensors", {"format": "pt"})
    return gone


def check_fresh(module: nn.Module, config) -> None:
    """Check that a module is initialised as PyTorch does or the config asks for; uniform draws fill their range."""
    if isinstance(module, nn.BatchNorm2d):
        assert (module.weight == 1).all() and (module.bias == 0).all() and module.num_batches_tracked == 0
        assert (module.running_mean == 0).all() and (module.running_var == 1).all()
    elif isinstance(module, (nn.Conv2d, nn.Linear)):
        bound, weight = 1 / module.weight[0].numel() ** 0.5, module.weight.detach()
        if isinstance(module, nn.Conv2d) and config.identity_init:
            identity = nn.init.dirac_(torch.empty_like(weight[: module.in_channels]))
            assert torch.equal(weight[: module.in_channels], identity)
            weight = weight[module.in_channels :]
        if type(module) is not nn.Linear and isinstance(module, nn.Linear) and config.initializer_range is not None:
            assert weight.std().item() == pytest.approx(config.initializer_range, rel=0.2)
            assert weight.mean().abs() < config.initializer_range / 4
        elif len(weight):
            assert 0.9 * bound < weight.abs().max() <= bound
            assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)
        if module.bias is not None:
            assert 0.5 * bound < module.bias.abs().max() <= bound


@each_config
def test_a_backbone_goes_from_classifier_to_base_model_and_back(options, tmp_path):
    model = make_model(options)
    model.save_pretrained(tmp_path / "classifier")
    backbone = AutoModel.from_pretrained(tmp_path / "classifier")
    assert type(backbone) is CifarCnnModel
    torch.testing.assert_close(backbone.state_dict(), model.cifar_cnn.state_dict(), rtol=0, atol=0)
    backbone.save_pretrained(tmp_path / "backbone")
    with catch_messages() as messages:
        back, info = CifarCnnForImageClassification.from_pretrained(
            tmp_path / "backbone", num_labels=10, output_loading_info=True
        )
    assert set(info["missing_keys"]) == {name for name in model.state_dict() if name.startswith("classifier.")}
    assert len(messages) == 1 and "MISSING" in messages[0] and "classifier" in messages[0]
    torch.testing.assert_close(back.cifar_cnn.state_dict(), model.cifar_cnn.state_dict(), rtol=0, atol=0)
    for module in back.classifier:
        check_fresh(module, back.config)


@pytest.mark.parametrize("name", CONFIGS)
def test_missing_weights_are_initialised_as_in_a_fresh_model(name, tmp_path):
    # They are built on the meta device: what is not initialised holds whatever was in memory.
    wide = {"hidden_sizes": [32] * len(CONFIGS[name]["depths"]), "num_labels": 20}
    model = make_model({**CONFIGS[name], **wide})
    model.save_pretrained(tmp_path)
    weights = model.state_dict()
    parts = ["stages.1.", "classifier.", "stem.0.weight"]
    gone = drop_weights(tmp_path, *parts, "stages.0.layers.0.normalization.running_var")
    loaded, info = CifarCnnForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["missing_keys"]) == gone
    for path, module in loaded.named_modules():
        if any(part in path + ".weight" for part in parts) and "stem" not in path:
            check_fresh(module, loaded.config)
    kept = {key: value for key, value in weights.items() if key not in gone}
    assert kept and len(kept) + len(gone) == len(weights)
    torch.testing.assert_close({key: loaded.state_dict()[key] for key in kept}, kept, rtol=0, atol=0)
    if name != "textbook":
        normalization = loaded.cifar_cnn.stages[0].layers[0].normalization
        assert (normalization.running_var == 1).all() and normalization.num_batches_tracked == 5
        stem = loaded.cifar_cnn.stem[0].weight.detach()
        assert torch.equal(stem[:3], nn.init.dirac_(torch.empty(3, 3, 2, 2)))
        assert 0.9 < stem[3:].abs().max() * 12**0.5 <= 1
        assert torch.equal(loaded.cifar_cnn.stem[0].bias, weights["cifar_cnn.stem.0.bias"])
        assert find_frozen(loaded) == FROZEN[name]


@each_config
def test_a_model_from_no_weights_equals_a_fresh_one(options):
    fresh = make_model(options)
    for module in fresh.modules():
        module._is_hf_initialized = False
    for value in fresh.state_dict(keep_vars=True).values():
        value._is_hf_initialized = False
        value.data.fill_(77)
    torch.manual_seed(3)
    fresh.initialize_weights()
    torch.manual_seed(3)
    loaded = CifarCnnForImageClassification.from_pretrained(None, config=fresh.config, state_dict={})
    torch.testing.assert_close(loaded.state_dict(), fresh.state_dict(), rtol=0, atol=0)
    assert not any((value == 77).any() for value in loaded.state_dict().values())
    for module in fresh.modules():
        if isinstance(module, nn.BatchNorm2d):
            check_fresh(module, fresh.config)


@each_config
def test_another_number_of_classes_replaces_the_head_only_when_asked(options, tmp_path):
    options = {**options, "hidden_sizes": [64] * len(options["depths"])}
    model = make_model(options)
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForImageClassification.from_pretrained(tmp_path, num_labels=7)
    with catch_messages() as messages:
        loaded, info = AutoModelForImageClassification.from_pretrained(
            tmp_path, num_labels=7, ignore_mismatched_sizes=True, output_loading_info=True
        )
    last = f"classifier.{len(model.classifier) - 1}."
    head = {name for name in model.state_dict() if name.startswith(last)}
    assert {entry[0] for entry in info["mismatched_keys"]} == head and not info["missing_keys"]
    labels, report = messages
    assert "num_labels=7" in labels and "MISMATCH" in report and last in report
    kept = {key: value for key, value in model.state_dict().items() if key not in head}
    torch.testing.assert_close({key: loaded.state_dict()[key] for key in kept}, kept, rtol=0, atol=0)
    check_fresh(loaded.classifier[-1], loaded.config)
    assert loaded(make_images()).logits.shape == (4, 7)
    assert loaded.num_labels == loaded.config.num_labels == len(loaded.config.id2label) == 7
