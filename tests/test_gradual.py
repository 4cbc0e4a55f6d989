"""Gradual unfreezing: the classifier first, then a stage at a time, under DDP and after a resume too."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from hf_cifar.models.loading import hash_weights
from hf_cifar.models.stages import find_stages
from hf_cifar.training.finetuning import GradualUnfreezing, fine_tune
from hf_cifar.training.optimizers import build_optimizer

from .test_finetuning import IMAGES, copy_state, find_moved, list_statistics, make_options, train
from .tiny_models import build_fresh

GRADUAL = {"finetune": "gradual", "unfreeze_epochs": 0.5}  # an epoch has two steps


@pytest.mark.parametrize("name", ["vit", "resnet", "timm vit"])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_stage_more_is_trained_after_each_interval(data, tmp_path, name, steps):
    model = build_fresh(name)
    before, stages = copy_state(model), find_stages(model)
    train(model, data, tmp_path, GRADUAL, max_steps=steps, num_train_epochs=10)
    moved, allowed = find_moved(model, before), {key for stage in stages[-steps:] for key in stage}
    assert moved <= allowed | list_statistics(model, allowed)
    assert all(moved & set(stage) for stage in stages[-steps:])
    assert bool(moved & list_statistics(model)) == (name == "resnet" and steps > 1)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert set(model.state_dict()) == set(before) and not any("train" in vars(module) for module in model.modules())


def test_normalisation_that_is_to_stay_frozen_does(data, tmp_path):
    model = build_fresh("resnet")
    before = copy_state(model)
    train(model, data, tmp_path, {**GRADUAL, "freeze_bn": True})
    moved = find_moved(model, before)
    assert moved and not [name for name in moved if "normalization" in name]


def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(data, tmp_path):
    training = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None}
    options, recipe = {**GRADUAL, "layer_decay": 0.8}, {"ema_decay": 0.5}
    whole = build_fresh("vit")
    train(whole, data, tmp_path / "whole", options, recipe, **training)
    for stop_at in (1, 2, 3):
        checkpoint = str(tmp_path / f"whole/checkpoint-{stop_at}")
        resumed = build_fresh("vit")
        train(resumed, data, tmp_path / f"resumed-{stop_at}", options, recipe, checkpoint, **training)
        assert hash_weights(resumed) == hash_weights(whole), stop_at


def test_an_epoch_that_is_not_quite_whole_counts_as_whole():
    callback = GradualUnfreezing(build_fresh("vit"), 0.1)
    callback.on_step_begin(None, SimpleNamespace(epoch=0.1 + 0.1 + 0.1 - 1e-9), None)
    assert callback.num_trained == 4
    callback.on_step_begin(None, SimpleNamespace(epoch=9.0), None)
    assert callback.num_trained == 5 and callback.frozen == callback.held == []


def step(model, network) -> tuple[torch.Tensor, set[str]]:
    """The clipped norms of two steps, the second with a stage more, and the names of what moved in them."""
    before, norms = copy_state(model), []
    optimizer = build_optimizer(model, model.classifier, "adamw", lr=0.01, weight_decay=0.1)
    with fine_tune(model, make_options(finetune="gradual"), 32) as (callback,):
        for epoch in (0, 1):
            callback.on_step_begin(None, SimpleNamespace(epoch=epoch), None)
            network.train()
            torch.nn.functional.cross_entropy(network(IMAGES).logits, torch.arange(4)).backward()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
            callback.on_pre_optimizer_step(None, None, None)
            optimizer.step()
            optimizer.zero_grad()
    return torch.stack(norms), find_moved(model, before)


def test_under_ddp_the_same_is_frozen_and_clipped(tmp_path):
    """DDP waits for the gradient of every parameter that was trained when it was wrapped."""
    model = build_fresh("vit")
    norms, moved = step(model, model)
    assert moved <= {name for stage in find_stages(model)[-2:] for name in stage} and len(moved) > 15
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        twin = build_fresh("vit")
        found = step(twin, DistributedDataParallel(twin))
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(found[0], norms)
    assert found[1] == moved and hash_weights(twin) == hash_weights(model)
