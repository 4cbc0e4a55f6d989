"""CifarCnn in training: what is trained, gradient checkpointing, batches of any size, every recipe's first loss."""

import copy
import math

import pytest
import torch
import yaml

from hf_cifar.data.store import read_images
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.models import CifarCnnModel
from hf_cifar.models.loading import build_cifar_cnn
from hf_cifar.training.loss import build_loss

from .conftest import ROOT
from .test_cifar_cnn_common import (
    CONFIGS,
    each_class,
    each_config,
    make_images,
    make_model,
)

# What a config freezes: the whitening filters, and with batch_norm_scale=False the scales.
FROZEN = {
    "textbook": set(),
    "fast": {"stem.0.weight"},
    "best": {"stem.0.weight"}
    | {f"stages.{stage}.layers.{layer}.normalization.weight" for stage in range(2) for layer in range(3)},
}


def find_frozen(model) -> set[str]:
    prefix = "" if isinstance(model, CifarCnnModel) else "cifar_cnn."
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert all(name.startswith(prefix) for name in frozen)
    return {name.removeprefix(prefix) for name in frozen}


def take_steps(model, count: int = 2) -> tuple[list[torch.Tensor], dict, dict]:
    """Losses, gradients and buffers of a few passes over the same seeded dropout."""
    losses = []
    for seed in range(count):
        torch.manual_seed(seed)
        loss = model(make_images(), labels=torch.arange(4)).loss
        loss.backward()
        losses.append(loss.detach())
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return losses, gradients, copy.deepcopy(dict(model.named_buffers()))


def check_equal(one, other) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@each_class
@pytest.mark.parametrize("name", CONFIGS)
def test_what_the_config_freezes_is_frozen(name, model_class):
    assert find_frozen(make_model(CONFIGS[name], model_class)) == FROZEN[name]


@pytest.mark.parametrize("name", CONFIGS)
@each_class
def test_after_loading_the_same_is_trained_and_frozen(name, model_class, tmp_path):
    # from_pretrained makes new parameters, all of which are trainable: the whitening stem was trained once.
    make_model(CONFIGS[name]).save_pretrained(tmp_path)
    model, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not model.training
    assert find_frozen(model) == FROZEN[name]
    assert find_frozen(model_class.from_pretrained(tmp_path, dtype=torch.bfloat16)) == FROZEN[name]
    output = model.train()(make_images())
    (output.logits if "logits" in output else output.pooler_output).square().sum().backward()
    for key, value in model.named_parameters():
        assert (value.grad is not None and value.grad.any()) == value.requires_grad, key


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@each_config
def test_it_trains_on_batches_of_any_size(options, count):
    model = make_model(options).train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
    loss = model(make_images(count), labels=torch.arange(count)).loss
    loss.backward()
    optimizer.step()
    assert loss.isfinite() and all(value.isfinite().all() for value in model.state_dict().values())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert "cifar_cnn.stages.0.layers.0.convolution.weight" in changed and "cifar_cnn.stem.0.weight" not in changed


@pytest.mark.parametrize("copied", [False, True])
@each_config
def test_gradient_checkpointing_changes_no_bit(options, copied):
    plain = make_model(options).train()
    model = copy.deepcopy(plain)
    model.gradient_checkpointing_enable()
    if copied:  # must freeze the copy's running statistics, not the original's
        model = copy.deepcopy(model)
    passes = []
    model.cifar_cnn.stages[0].layers[0].convolution.register_forward_hook(lambda *_: passes.append(1))
    check_equal(take_steps(model), take_steps(plain))
    assert len(passes) == 4  # each of two steps computes the stage again
    assert all(count == 7 for name, count in model.named_buffers() if "num_batches" in name)
    assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))


@each_config
def test_gradient_checkpointing_can_be_ended(options):
    plain = make_model(options).train()
    model = copy.deepcopy(plain)
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    passes = []
    model.cifar_cnn.stages[0].layers[0].convolution.register_forward_hook(lambda *_: passes.append(1))
    check_equal(take_steps(model), take_steps(plain))
    assert len(passes) == 2


def test_reentrant_gradient_checkpointing_gives_the_same_gradients():
    plain = make_model(CONFIGS["best"]).train()
    model = copy.deepcopy(plain)
    model.gradient_checkpointing_enable({"use_reentrant": True})
    check_equal(take_steps(model)[:2], take_steps(plain)[:2])


@pytest.mark.slow
@each_config
def test_compiled_gradient_checkpointing_equals_eager(options):
    torch._dynamo.reset()
    plain = make_model({**options, "hidden_dropout": 0.0, "classifier_dropout": 0.0}).train()  # other random numbers
    model = copy.deepcopy(plain)
    model.gradient_checkpointing_enable()
    losses, gradients, buffers = take_steps(torch.compile(model, backend="aot_eager", fullgraph=True))
    expected_losses, expected_gradients, expected_buffers = take_steps(plain)
    torch.testing.assert_close(losses, expected_losses)
    gradients = {name.removeprefix("_orig_mod."): value for name, value in gradients.items()}
    torch.testing.assert_close(gradients, expected_gradients)
    buffers = {name.removeprefix("_orig_mod."): value for name, value in buffers.items()}
    torch.testing.assert_close(buffers, expected_buffers)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes/cnn").rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipes_first_loss_is_that_of_guessing(data, path):
    recipe = yaml.safe_load(path.read_text())
    torch.manual_seed(0)
    model = build_cifar_cnn(recipe["model_config"], data.class_names).train()
    images = torch.from_numpy(read_images(data.train).copy()).permute(0, 3, 1, 2)  # (N, C, H, W)
    images = Preprocessing()(images)
    if model.config.stem == "whitening":
        model.cifar_cnn.init_whitening(images)
    labels = torch.tensor(data.train["label"])[:64]
    with torch.no_grad():
        output = model(images[:64], labels=labels)
    smoothed = build_loss(recipe.get("label_smoothing_factor", 0.0))(output, labels)
    assert output.loss.item() == pytest.approx(math.log(10), abs=0.1)
    assert smoothed.item() == pytest.approx(math.log(10), abs=0.1)
    assert output.logits.std() > 1e-4  # though not by a network that says nothing
