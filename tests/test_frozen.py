"""Frozen features: computed once, filed by everything they depend on, repaired; the head lands in the full model."""

import logging

import pytest
import torch

from hf_cifar.arguments import ModelArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.store import read_images
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.models.loading import load_for_fine_tuning
from hf_cifar.training import frozen
from hf_cifar.training.frozen import FeatureClassifier, get_features

CPU = torch.device("cpu")


@pytest.fixture(params=["tiny_vit", "tiny_convnext"])
def backbone(request):
    torch.manual_seed(0)
    arguments = ModelArguments(str(request.getfixturevalue(request.param)))
    return load_for_fine_tuning(arguments, list(CLASS_NAMES))[:2]


def test_the_head_on_features_is_the_full_model(backbone, data, tmp_path):
    model, preprocessing = backbone
    table = data.train.select(range(50))
    features = get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    head = FeatureClassifier(model)
    with torch.no_grad():
        head.classifier.weight.add_(torch.randn_like(head.classifier.weight))  # as training would
        images = torch.from_numpy(read_images(table).copy()).permute(0, 3, 1, 2)
        expected = model(preprocessing(images)).logits
        torch.testing.assert_close(head(features)["logits"], expected, atol=1e-5, rtol=1e-4)


def test_features_are_computed_once_and_anew_when_anything_changes(backbone, data, tmp_path, monkeypatch):
    model, preprocessing = backbone
    table = data.train.select(range(20))
    calls = []
    extract = frozen.extract_features
    monkeypatch.setattr(frozen, "extract_features", lambda *args: calls.append(1) or extract(*args))
    first = get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    assert torch.equal(get_features(model, table, preprocessing, tmp_path, CPU, "fp32"), first) and len(calls) == 1
    with torch.no_grad():
        frozen.find_classifier(model).weight.zero_()
    get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    assert len(calls) == 1  # the head is not part of the backbone
    get_features(model, data.train.select(range(1, 21)), preprocessing, tmp_path, CPU, "fp32")
    size = preprocessing.image_size
    get_features(model, table, Preprocessing(size, (0.1, 0.2, 0.3)), tmp_path, CPU, "fp32")
    get_features(model, table, preprocessing, tmp_path, CPU, "bf16")
    with torch.no_grad():
        next(parameter for name, parameter in model.named_parameters() if "classifier" not in name).add_(0.1)
    get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    assert len(calls) == 5
    model.config.hidden_act = "relu"  # the same weights compute something else
    get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    assert len(calls) == 6


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damaged_features_are_computed_again(backbone, data, tmp_path, caplog, damage):
    model, preprocessing = backbone
    table = data.train.select(range(20))
    first = get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    path = next(tmp_path.rglob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-5] ^= 64
    path.write_bytes(content if damage == "flip" else content[:-9])
    with caplog.at_level(logging.WARNING):
        again = get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    assert torch.equal(again, first) and "damaged" in caplog.text
