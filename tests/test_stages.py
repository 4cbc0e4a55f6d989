"""Stages: every parameter is in one, from the stem to the classifier, in every family."""

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from transformers import (
    PoolFormerConfig,
    PoolFormerForImageClassification,
    PreTrainedModel,
    PvtConfig,
    PvtForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
)

from hf_cifar.errors import UserError
from hf_cifar.models.stages import find_stages
from hf_cifar.training.finetuning import find_learning_rate_scales

from .tiny_models import build_fresh


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("vit", 5, "vit.embeddings.", "vit.layernorm.bias"),
        ("deit", 5, "deit.embeddings.", "deit.layernorm.bias"),
        ("dinov2", 5, "dinov2.embeddings.", "dinov2.layernorm.bias"),
        ("beit", 5, "beit.embeddings.", "beit.pooler.layernorm.bias"),
        ("swin", 5, "swin.embeddings.", "swin.layernorm.bias"),
        ("convnext", 6, "convnext.embeddings.", "convnext.layernorm.bias"),
        ("convnextv2", 6, "convnextv2.embeddings.", "convnextv2.layernorm.bias"),
        ("resnet", 5, "resnet.embedder.", "normalization.bias"),
        ("cifar_cnn", 4, "cifar_cnn.stem.", "normalization.bias"),
        ("timm vit", 8, "timm_model.", "timm_model.norm.bias"),
        ("timm convnext", 6, "timm_model.stem.", "timm_model.head.norm.bias"),
        ("timm efficientnet", 7, "timm_model.conv_stem.", "timm_model.bn2.bias"),
        ("timm resnet", 6, "timm_model.conv1.", "layer4.0.downsample.2.bias"),
    ],
)
def test_every_parameter_is_in_one_stage_from_stem_to_classifier(name, count, first, last):
    model = build_fresh(name)
    stages = find_stages(model)
    assert len(stages) == count and all(stages)
    assert sorted(sum(stages, [])) == sorted(name for name, _ in model.named_parameters())
    assert stages[0][0].startswith(first)
    assert stages[-2][-1].endswith(last)
    head = model.timm_model.get_classifier() if name.startswith("timm") else model.classifier
    assert {id(model.get_parameter(parameter)) for parameter in stages[-1]} == set(map(id, head.parameters()))


def test_a_layer_is_a_stage_and_so_is_a_resolution():
    for name, prefix in (("vit", "vit.layers"), ("swin", "swin.encoder.layers"), ("timm vit", "timm_model.blocks")):
        for number, stage in enumerate(find_stages(build_fresh(name))[1:-1]):
            assert stage[0].startswith(f"{prefix}.{number}.")


def test_the_stages_that_recipes_name_are_those_that_they_mean():
    for name, expected in (
        ("vgg16", ["features.24", "features.26", "features.28"]),
        ("inception_v3", ["Mixed_7a", "Mixed_7b", "Mixed_7c"]),
    ):
        with torch.device("meta"):
            model = TimmWrapperForImageClassification(TimmWrapperConfig(architecture=name, num_labels=10))
        stages = find_stages(model)[-4:-1]  # trained_stages: 3, in their YAMLs
        for stage, prefix in zip(stages, expected, strict=True):
            assert stage[0].startswith(f"timm_model.{prefix}.")
        assert any("pre_logits.fc1" in each for each in stages[-1]) == (name == "vgg16")


@pytest.mark.parametrize(
    ("kind", "config"), [(PvtForImageClassification, PvtConfig), (PoolFormerForImageClassification, PoolFormerConfig)]
)
def test_lists_beside_each_other_count_together(kind, config):
    with torch.device("meta"):
        model = kind(config(num_labels=10))
    stages = find_stages(model)
    assert len(stages) == 5  # four, of which the first has the stem, and the classifier
    for number in range(4):
        patches = [name for name in sum(stages, []) if f"patch_embeddings.{number}." in name]
        assert patches and set(patches) <= set(stages[number])
        assert any(f"block.{number}." in name for name in stages[number])


def test_rates_decay_as_timms_do():
    model = build_fresh("timm vit")
    scales = find_learning_rate_scales(model, 0.7)
    theirs = {
        id(parameter): group["lr_scale"]
        for group in param_groups_layer_decay(model.timm_model, layer_decay=0.7)
        for parameter in group["params"]
    }
    assert len(theirs) == len(scales)
    for name, scale in scales.items():
        assert scale == pytest.approx(theirs[id(model.get_parameter(name))])
    assert find_learning_rate_scales(model, 1.0) == {}


def test_a_model_without_layers_is_refused():
    class Plain(PreTrainedModel):
        config_class = ViTConfig

        def __init__(self, config):
            super().__init__(config)
            self.classifier = nn.Linear(3, 2)

    with pytest.raises(UserError, match="Plain cannot be split into stages; allowed: finetune: full, head or lora"):
        find_stages(Plain(ViTConfig()))
