"""Low-rank updates: where they go, and that merging them changes nothing but where the numbers are."""

import pytest
import torch
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from hf_cifar.errors import UserError
from hf_cifar.training.finetuning import fine_tune
from hf_cifar.training.lora import find_targets

from .test_finetuning import IMAGES, copy_state, find_moved, make_options
from .tiny_models import build_fresh


@pytest.fixture(scope="module")
def beit():
    """timm's BEiT takes the weights of its queries, keys and values without calling the layer."""
    size = {"img_size": 32, "depth": 2, "embed_dim": 16, "num_heads": 2}
    config = TimmWrapperConfig(architecture="beit_base_patch16_224", num_labels=10, model_args=size)
    return TimmWrapperForImageClassification(config).eval()


@pytest.mark.parametrize("name", ["vit", "swin", "convnext", "resnet", "timm efficientnet"])
def test_merged_updates_give_the_same_logits(name):
    model = build_fresh(name)
    for parameter in model.parameters():  # as large as in a trained model: fresh ones here give logits near zero
        if parameter.ndim >= 2:
            torch.nn.init.kaiming_normal_(parameter)
        elif parameter.abs().max() < 1e-5:
            torch.nn.init.ones_(parameter)
    before, names = copy_state(model), [key for key, _ in model.named_parameters()]
    plain = model(IMAGES).logits
    options = make_options(finetune="lora", lora_rank=2, lora_alpha=3.0)
    with torch.no_grad(), fine_tune(model, options, 32):
        torch.testing.assert_close(model(IMAGES).logits, plain)  # they start at zero
        trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
        head = {key for key in trained if "lora_" not in key}
        for key in trained - head:
            torch.nn.init.normal_(model.get_parameter(key), std=0.1)
        expected = model(IMAGES).logits
    assert all("classifier" in key for key in head) and len(head) == 2
    scale = expected.abs().max().item()
    assert (expected - plain).abs().max() > 0.01 * scale
    torch.testing.assert_close(model(IMAGES).logits, expected, atol=1e-5 * scale, rtol=1e-4)
    targets = {f"{target}.weight" for target in find_targets(model, None, 32)}
    assert len(trained - head) == 2 * len(targets) and find_moved(model, before) == targets
    assert [key for key, _ in model.named_parameters()] == names and not hasattr(model, "peft_config")


def test_defaults_are_linear_layers_or_else_convolutions_without_groups(beit):
    vit = find_targets(build_fresh("vit"), None, 32)
    assert len(vit) == 18 and "vit.layers.2.mlp.fc2" in vit and "classifier" not in vit
    convnext = find_targets(build_fresh("convnext"), None, 32)
    assert len(convnext) == 10 and all(name.endswith(("pwconv1", "pwconv2")) for name in convnext)
    resnet = find_targets(build_fresh("resnet"), None, 32)
    assert len(resnet) == 9 and all(name.endswith("convolution") for name in resnet)
    efficientnet = find_targets(build_fresh("timm efficientnet"), None, 32)
    assert efficientnet and not [name for name in efficientnet if name.endswith("conv_dw")]
    timms = find_targets(beit, None, 32)
    assert {name.split("blocks.")[1][2:] for name in timms} == {"attn.proj", "mlp.fc1", "mlp.fc2"}


def test_layers_are_named_by_whole_parts():
    model = build_fresh("vit")
    assert find_targets(model, ["q_proj"], 32) == [f"vit.layers.{number}.attention.q_proj" for number in range(3)]
    assert find_targets(model, ["layers.0.mlp.fc1", "mlp.fc1"], 32) == find_targets(model, ["fc1"], 32)
    assert find_targets(build_fresh("convnext"), ["embeddings.patch_embeddings"], 32)  # a convolution, when asked for


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("proj", "lora_targets: 'proj' names no layer of the backbone; allowed: linear layers, .*q_proj"),
        ("classifier", "'classifier' names no layer of the backbone"),
        ("layernorm", "'layernorm' cannot be updated"),
    ],
)
def test_other_names_are_refused(target, message):
    with pytest.raises(UserError, match=message):
        find_targets(build_fresh("vit"), ["q_proj", target], 32)


def test_layers_whose_update_would_be_lost_are_refused(beit):
    for model, target in ((beit, "qkv"), (build_fresh("convnext"), "dwconv")):
        with pytest.raises(UserError, match=f"'{target}' cannot be updated"):
            find_targets(model, [target], 32)
