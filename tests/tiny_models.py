"""Tiny networks of the true architectures, with random weights and five classes."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
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

CLASSES = ["a", "b", "c", "d", "e"]
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_labels": 5}
CONVNEXT = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 2], "num_labels": 5, "image_size": 64}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 2], "num_heads": [1, 1, 2, 2], "num_labels": 5}


def build_timm(name: str, **model_args: object) -> PreTrainedModel:
    return TimmWrapperForImageClassification(
        TimmWrapperConfig(
            architecture=name,
            num_labels=5,
            model_args=model_args or None,
            pretrained_cfg={"input_size": [3, 224, 224], "crop_pct": 1.0},
        )
    )


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "vit": lambda: ViTForImageClassification(ViTConfig(**VIT, intermediate_size=32, image_size=32, patch_size=8)),
    "deit": lambda: DeiTForImageClassification(DeiTConfig(**VIT, intermediate_size=32, image_size=32, patch_size=8)),
    "dinov2": lambda: Dinov2ForImageClassification(Dinov2Config(**VIT, image_size=56, patch_size=14)),
    "swin": lambda: SwinForImageClassification(SwinConfig(**SWIN, image_size=224, window_size=7)),
    "convnext": lambda: ConvNextForImageClassification(ConvNextConfig(**CONVNEXT)),
    "convnextv2": lambda: ConvNextV2ForImageClassification(ConvNextV2Config(**CONVNEXT)),
    "resnet": lambda: ResNetForImageClassification(
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=5)
    ),
    "timm vit": lambda: build_timm("vit_tiny_patch16_224", embed_dim=24, depth=2, num_heads=2),
    "timm swin": lambda: build_timm("swin_tiny_patch4_window7_224", embed_dim=12, depths=(1, 1, 1, 2)),
    "timm convnext": lambda: build_timm("test_convnext"),
    "timm resnet": lambda: build_timm("test_resnet"),
    "timm efficientnet": lambda: build_timm("test_efficientnet"),
    "timm vgg": lambda: build_timm("vgg16", mlp_ratio=0.01),
}


def build_tiny(family: str) -> PreTrainedModel:
    """A network whose weights are large enough for what goes in to matter to what comes out."""
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
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
