"""CifarCnn as a transformers model: shapes, initialisation, training, saving, and strangers loading it."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoModelForImageClassification

from hf_cifar.data.store import read_images
from hf_cifar.models import CifarCnnConfig, CifarCnnForImageClassification

from . import strangers
from .conftest import TINY_CNN

PLAIN_CNN = {
    "hidden_sizes": [8, 8, 8],
    "depths": [1, 1, 2],
    "classifier_hidden_sizes": [16],
    "classifier_dropout": 0.5,
}


def make_model(options: dict) -> CifarCnnForImageClassification:
    torch.manual_seed(0)
    return CifarCnnForImageClassification(CifarCnnConfig(**options, num_labels=10))


@pytest.mark.parametrize("options", [TINY_CNN, PLAIN_CNN], ids=["fast", "textbook"])
def test_shapes_loss_and_hidden_states(options):
    model = make_model(options).eval()
    pixel_values, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    output = model(pixel_values, labels=labels, output_hidden_states=True)
    assert output.logits.shape == (4, 10)
    assert torch.equal(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
    assert len(output.hidden_states) == 1 + len(options["depths"])
    loss, logits = model(pixel_values, labels=labels, return_dict=False)
    assert torch.equal(logits, output.logits) and torch.equal(loss, output.loss)
    assert model(pixel_values).hidden_states is None


def test_initialisation_is_what_the_config_asks_for():
    # transformers initialises on its own and skips containers of custom code: both went wrong once.
    model = make_model({**TINY_CNN, "hidden_sizes": [64, 64], "classifier_hidden_sizes": [64]})
    for stage in model.cifar_cnn.stages:
        for layer in stage.layers:
            weight = layer.convolution.weight
            identity = torch.zeros_like(weight[: weight.shape[1]])
            torch.nn.init.dirac_(identity)
            assert torch.equal(weight[: weight.shape[1]], identity)
            assert (weight[weight.shape[1] :] != 0).all()
            assert not layer.normalization.weight.requires_grad or model.config.batch_norm_scale
    assert model.classifier[-1].weight.std().item() == pytest.approx(0.03, rel=0.15)
    bound = 1 / 64**0.5
    assert 0.9 * bound < model.classifier[1].weight.abs().max() <= bound  # PyTorch's own


def test_whitening_makes_patches_white(data):
    model = make_model({**TINY_CNN, "stem_kernel_size": 3}).cifar_cnn
    images = torch.from_numpy(read_images(data.train).copy()).permute(0, 3, 1, 2) / 255 - 0.5
    model.init_whitening(images, eps=0.0)
    with torch.no_grad():
        half = model.stem[0](images)[:, :27].permute(1, 0, 2, 3).flatten(1)  # the other half is its negative
        assert torch.allclose(half @ half.T / half.shape[1], torch.eye(27), atol=0.02)
        assert torch.allclose(model.stem[0].weight[27:], -model.stem[0].weight[:27])
    assert not model.stem[0].weight.requires_grad and model.stem[0].bias.requires_grad


@pytest.mark.parametrize("options", [TINY_CNN, {**PLAIN_CNN, "classifier_dropout": 0.0}], ids=["fast", "textbook"])
def test_it_overfits_one_batch(data, options):
    model = make_model(options)
    pixel_values = torch.from_numpy(read_images(data.train)[:20].copy()).permute(0, 3, 1, 2) / 127.5 - 1
    labels = torch.tensor(data.train[:20]["label"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model(pixel_values, labels=labels).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    frozen = {"cifar_cnn.stem.0.weight"} if options is TINY_CNN else set()
    assert {name for name, value in model.named_parameters() if value.grad is None} == frozen


def test_saving_and_loading_keeps_every_logit(tmp_path):
    model = make_model(TINY_CNN).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    pixel_values = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(pixel_values).logits, model(pixel_values).logits)
        backbone = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(backbone(pixel_values).pooler_output, model.cifar_cnn(pixel_values).pooler_output)
    assert {path.name for path in tmp_path.glob("*.py")} == {"configuration_cifar_cnn.py", "modeling_cifar_cnn.py"}


@pytest.mark.parametrize("run", ["cnn_run", "frozen_run"])
def test_a_stranger_gets_the_same_logits_and_a_working_pipeline(run, request, stranger, tmp_path):
    folder = request.getfixturevalue(run)
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    size = json.loads((folder / "results.json").read_text())["model"]["image_size"]
    pixel_values = np.random.default_rng(0).standard_normal((4, 3, size, size)).astype(np.float32)
    copy = tmp_path / "model"  # as a stranger has it: elsewhere, without checkpoints
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoints"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixel_values)).logits.numpy()
    torch.set_num_threads(threads)
    assert np.array_equal(stranger(strangers.compute_logits, str(copy), pixel_values), expected)
    found, scores = stranger(strangers.classify, str(copy), Image.new("RGB", (32, 32), (128, 128, 128)))
    assert found == size and len(scores) == 5 and set(scores) <= set(model.config.id2label.values())
    assert "airplane" in model.config.id2label.values()


def test_the_remote_code_imports_no_more_than_it_may():
    for path in (Path(__file__).parents[1] / "hf_cifar/models").glob("*_cifar_cnn.py"):
        roots = {
            line.split()[1].split(".")[0]
            for line in path.read_text().splitlines()
            if line.startswith(("import ", "from "))
        }
        assert roots <= {"torch", "transformers", "huggingface_hub", ""} | sys.stdlib_module_names
        assert "from .." not in path.read_text()
