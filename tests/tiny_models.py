"""Tiny networks of the true architectures, with random weights."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
    DeiTConfig,
    DeiTForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.models.loading import build_cifar_cnn

from .conftest import TINY_CNN

CLASSES = ["a", "b", "c", "d", "e"]
VIT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
VIT_32 = {**VIT, "image_size": 32, "patch_size": 8}
CONVNEXT = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 2], "image_size": 64}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 2], "num_heads": [1, 1, 2, 2]}
SWIN_32 = {"embed_dim": 8, "depths": [1, 2, 1], "num_heads": [1, 2, 4], "image_size": 32, "patch_size": 2}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8, 16], "depths": [1, 1, 1], "layer_type": "basic"}


def build_timm(name: str, num_labels: int = 5, **model_args: object) -> PreTrainedModel:
    return TimmWrapperForImageClassification(
        TimmWrapperConfig(
            architecture=name,
            num_labels=num_labels,
            model_args=model_args or None,
            pretrained_cfg={"input_size": [3, 224, 224], "crop_pct": 1.0},
        )
    )


# Each takes what its configuration shall say of the classes.
FAMILIES: dict[str, Callable[..., PreTrainedModel]] = {
    "vit": lambda **labels: ViTForImageClassification(ViTConfig(**VIT_32, **labels)),
    "deit": lambda **labels: DeiTForImageClassification(DeiTConfig(**VIT_32, **labels)),
    "dinov2": lambda **labels: Dinov2ForImageClassification(
        Dinov2Config(**VIT, image_size=56, patch_size=14, **labels)
    ),
    "swin": lambda **labels: SwinForImageClassification(SwinConfig(**SWIN, image_size=224, window_size=7, **labels)),
    "convnext": lambda **labels: ConvNextForImageClassification(ConvNextConfig(**CONVNEXT, **labels)),
    "convnextv2": lambda **labels: ConvNextV2ForImageClassification(ConvNextV2Config(**CONVNEXT, **labels)),
    "resnet": lambda **labels: ResNetForImageClassification(ResNetConfig(**RESNET, **labels)),
    "timm vit": lambda **labels: build_timm("vit_tiny_patch16_224", embed_dim=24, depth=2, num_heads=2, **labels),
    "timm swin": lambda **labels: build_timm(
        "swin_tiny_patch4_window7_224", embed_dim=12, depths=(1, 1, 1, 2), **labels
    ),
    "timm convnext": lambda **labels: build_timm("test_convnext", **labels),
    "timm resnet": lambda **labels: build_timm("test_resnet", **labels),
    "timm efficientnet": lambda **labels: build_timm("test_efficientnet", **labels),
    "timm vgg": lambda **labels: build_timm("vgg16", mlp_ratio=0.01, **labels),
}
# As many as take images of 32 pixels as they are.
FOR_32_PIXELS = FAMILIES | {
    "beit": lambda **labels: BeitForImageClassification(BeitConfig(**VIT_32, **labels)),
    "swin": lambda **labels: SwinForImageClassification(SwinConfig(**SWIN_32, window_size=4, **labels)),
    "timm vit": lambda **labels: build_timm("test_vit", img_size=32, **labels),
    "cifar_cnn": lambda **labels: build_cifar_cnn(TINY_CNN, list(CLASS_NAMES)),
}


def build_fresh(family: str, **labels: object) -> PreTrainedModel:
    """A network of 10 classes for 32 pixels with its architecture's own initialisation, in evaluation mode."""
    torch.manual_seed(0)
    return FOR_32_PIXELS[family](**labels or {"num_labels": 10}).eval()


def build_tiny(family: str) -> PreTrainedModel:
    """A network whose weights are large enough for what goes in to matter to what comes out."""
    torch.manual_seed(0)
    model = FAMILIES[family](num_labels=len(CLASSES)).eval()
    for name, parameter in model.named_parameters():
        # Networks without normalisation of what they add up keep their own initialisation.
        if "norm" not in name and "conv" not in family and "net" not in family and "vgg" not in family:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def save_tiny(family: str, folder: Path) -> PreTrainedModel:
    """Save such a network as a checkpoint with an image processor of its own."""
    model = build_tiny(family)
    model.save_pretrained(folder)
    if not family.startswith("timm"):
        size = getattr(model.config, "image_size", 224)
        ViTImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    return model
