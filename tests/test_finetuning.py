"""Ways to fine-tune: what is asked to move moves, all else stays, and what is saved is an ordinary model."""

import copy

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoModelForImageClassification, TrainingArguments, set_seed

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.errors import UserError
from hf_cifar.evaluation.metrics import build_compute_metrics
from hf_cifar.models.image_processors import record_in_timm_config
from hf_cifar.models.loading import hash_weights, load_model
from hf_cifar.models.stages import find_stages
from hf_cifar.training.finetuning import (
    check_fine_tuning,
    find_batch_norms,
    find_frozen_modules,
    fine_tune,
    hold_in_evaluation,
    release,
)
from hf_cifar.training.fit import fit
from hf_cifar.training.lora import find_targets
from hf_cifar.training.run_folder import save_model
from hf_cifar.training.trainer import get_training_defaults

from . import strangers
from .tiny_models import build_fresh

FAMILIES = ("vit", "convnext", "swin", "resnet", "timm vit", "timm convnext")
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make_options(**options) -> ModelArguments:
    return ModelArguments("base", **options)


def train(model, data, folder, options=None, recipe=None, checkpoint=None, compute_metrics=None, **training):
    """Two epochs of two steps on 60 images, without evaluation, unless `training` has it otherwise."""
    set_seed(0)
    settings = get_training_defaults() | {"bf16": False, "fp16": False, "use_cpu": True, "disable_tqdm": True}
    settings |= {"output_dir": str(folder), "num_train_epochs": 2, "per_device_train_batch_size": 30}
    settings |= {"learning_rate": 0.01, "save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False}
    model_args = make_options(**options or {})
    return fit(
        model, Preprocessing(), data.train.select(range(60)), data.train.select(range(60, 90)),
        TrainingArguments(**settings | training), DataArguments(flip="random"),
        RecipeArguments(**{"early_stopping_patience": 0} | (recipe or {})),
        compute_metrics or build_compute_metrics(10), folder, checkpoint=checkpoint, from_scratch=False,
        model_args=model_args,
    )  # fmt: skip


def find_moved(model, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def copy_state(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def list_statistics(model, names=None) -> set[str]:
    """The running statistics of batch normalisation; with parameters among `names` only."""
    norms = [name for name, module in model.named_modules() if module in find_batch_norms(model)]
    return {
        f"{norm}.{buffer}"
        for norm in norms
        if names is None or f"{norm}.bias" in names
        for buffer in ("running_mean", "running_var", "num_batches_tracked")
    }


@pytest.mark.parametrize(
    ("way", "name"),
    [(way, name) for way in ("full", "last_stages", "lora") for name in FAMILIES]
    + [("gradual", name) for name in ("convnext", "swin", "timm convnext")]  # the others are in test_gradual.py
    + [("freeze_bn", name) for name in ("resnet", "timm efficientnet")]
    + [("last_stages", name) for name in ("convnextv2", "cifar_cnn")]
    + [("full", "cifar_cnn"), ("lora", "cifar_cnn"), ("lora", "timm efficientnet")],
)
def test_only_what_is_asked_to_move_moves(data, tmp_path, way, name):
    model = build_fresh(name)
    before, stages = copy_state(model), find_stages(model)
    trainable = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    options, expected = {"finetune": way}, trainable | list_statistics(model)
    if way == "freeze_bn":
        options, norms = {"freeze_bn": True}, {key.rsplit(".", 1)[0] for key in list_statistics(model)}
        expected = {key for key in expected if key.rsplit(".", 1)[0] not in norms}
    elif way == "gradual":  # for the first of two steps the classifier, for the second also the stage below it
        options["unfreeze_epochs"] = 0.5
        expected = {key for stage in stages[-2:] for key in stage}
        expected |= list_statistics(model, expected)
    elif way == "last_stages":
        options["trained_stages"] = 2
        expected = {key for stage in stages[-3:] for key in stage} & trainable
        expected |= list_statistics(model, expected)
    elif way == "lora":
        expected = {f"{target}.weight" for target in find_targets(model, None, 32)} | set(stages[-1])
    train(model, data, tmp_path, options, max_steps=2)
    moved = find_moved(model, before)
    assert moved <= expected
    # The bias of attention's keys changes nothing, and a relu may be dead in so small a network.
    assert len(moved) > 0.7 * len(expected)
    assert {key for key, parameter in model.named_parameters() if parameter.requires_grad} == trainable
    assert set(model.state_dict()) == set(before) and not any("train" in vars(module) for module in model.modules())


def test_frozen_modules_stay_in_evaluation_through_train_and_deepcopy():
    network = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), nn.Dropout(), nn.Linear(2, 2), nn.Dropout())
    frozen = find_frozen_modules(network, {"0.0.weight", "0.0.bias"})
    assert frozen == [network[0], network[0][0], network[0][1], network[1]]
    assert hold_in_evaluation(frozen) == frozen and hold_in_evaluation(frozen) == []
    twin = copy.deepcopy(network)
    for each in (network, twin):
        each.train()
        assert [module.training for module in each] == [False, False, True, True] and not each[0][1].training
    release(network.modules())
    assert all(module.training for module in network.train().modules()) and not twin.train()[0].training


def test_dinov2s_unused_token_waits_for_no_gradient():
    with fine_tune(model := build_fresh("dinov2"), make_options(), 32):
        assert not model.dinov2.embeddings.mask_token.requires_grad
        assert model.dinov2.embeddings.cls_token.requires_grad


def test_a_failed_run_leaves_an_ordinary_model():
    model = build_fresh("vit")
    before = copy_state(model)
    for way in ("lora", "last_stages"):
        with pytest.raises(KeyboardInterrupt), fine_tune(model, make_options(finetune=way), 32):
            raise KeyboardInterrupt
        assert not find_moved(model, before) and all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        ({"layer_decay": 0.5}, {"ema_decay": 0.5}),
        ({"finetune": "lora", "lora_rank": 2, "lora_dropout": 0.1}, {"ema_decay": 0.5}),
        ({"finetune": "last_stages", "layer_decay": 0.5, "freeze_bn": True}, {"optimizer": "muon"}),
    ],
    ids=["layer_decay", "lora", "last_stages"],
)
def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(data, tmp_path, options, recipe):
    name = "resnet" if "freeze_bn" in options else "vit"
    training = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None}
    whole, resumed = build_fresh(name), build_fresh(name)
    train(whole, data, tmp_path / "whole", options, recipe, **training)
    checkpoint = str(tmp_path / "whole/checkpoint-1")
    train(resumed, data, tmp_path / "resumed", options, recipe, checkpoint, **training)
    assert hash_weights(resumed) == hash_weights(whole) != hash_weights(build_fresh(name))


@pytest.mark.parametrize("options", [{"finetune": "lora"}, {"finetune": "gradual"}, {"layer_decay": 0.5}])
def test_the_best_epoch_is_kept(data, tmp_path, options):
    """The Trainer alone does not load its own checkpoints of a ViT, which are under an earlier version's names."""
    # With a constant rate the first of two epochs is that of a run of one.
    training = {"save_strategy": "epoch", "save_total_limit": None, "lr_scheduler_type": "constant"}
    first, best = build_fresh("vit"), build_fresh("vit")
    train(first, data, tmp_path / "first", options, num_train_epochs=1, **training)
    accuracies = iter([0.9, 0.2])
    training |= {"eval_strategy": "epoch", "load_best_model_at_end": True}
    recipe = {"early_stopping_patience": 1}

    def compute_metrics(prediction) -> dict[str, float]:
        return {"accuracy": next(accuracies)}

    train(best, data, tmp_path / "best", options, recipe, compute_metrics=compute_metrics, **training)
    assert hash_weights(best) == hash_weights(first)


@pytest.mark.parametrize("way", ["lora", "gradual"])
def test_gradient_checkpointing_trains_the_same(data, tmp_path, way):
    plain, frugal = build_fresh("vit"), build_fresh("vit")
    for model, option in ((plain, False), (frugal, True)):
        train(model, data, tmp_path, {"finetune": way}, max_steps=3, gradient_checkpointing=option)
    for value, expected in zip(frugal.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("way", ["lora", "gradual"])
def test_a_compiled_model_trains_the_same(data, tmp_path, way):
    plain, compiled = build_fresh("resnet"), build_fresh("resnet")
    train(plain, data, tmp_path, {"finetune": way}, max_steps=3)
    train(compiled, data, tmp_path, {"finetune": way}, max_steps=3, torch_compile=True, torch_compile_backend="eager")
    for value, expected in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    ("name", "options", "training", "recipe", "message"),
    [
        ("vit", {"finetune": "last_stages", "trained_stages": 5}, {}, {}, "trained_stages=5: .* has 4 stages.*1 to 4"),
        ("vit", {"freeze_bn": True}, {}, {}, "ViTForImageClassification has no batch normalisation"),
        ("vit", {"finetune": "gradual", "unfreeze_epochs": 3}, {}, {}, "nothing but the classifier would be trained"),
        ("vit", {"finetune": "lora", "lora_targets": ["query"]}, {}, {}, "'query' names no layer.*q_proj"),
        ("vit", {"finetune": "lora", "lora_targets": ["layernorm_before"]}, {}, {}, "'layernorm_before' cannot"),
        ("vit", {"finetune": "lora"}, {}, {"optimizer": "muon"}, "low-rank updates start at zero; use adamw or sgd"),
        ("cifar_cnn", {"finetune": "gradual"}, {}, {"whitening_bias_epochs": 1}, "gradual decides on the stem"),
        (
            "vit", {"finetune": "lora"},
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}, {},
            "use_reentrant=true: with finetune=lora .*leave it out",
        ),
        ("vit", {"finetune": "head"}, {"gradient_checkpointing": True}, {}, "finetune=head computes features once"),
        ("resnet", {}, {"gradient_checkpointing": True}, {}, "would count each batch twice.*freeze_bn: true"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path, name, options, training, recipe, message):
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, **training)
    with pytest.raises(UserError, match=message):
        check_fine_tuning(build_fresh(name), make_options(**options), arguments, RecipeArguments(**recipe), 32)


def test_another_networks_checkpoint_is_refused_in_one_line(data, tmp_path):
    options = {"save_strategy": "epoch", "save_total_limit": None}
    train(build_fresh("vit"), data, tmp_path, {"finetune": "lora", "lora_rank": 2}, **options)
    for way, message in (
        ({"finetune": "lora", "lora_rank": 4}, "of another network: size mismatch"),
        ({}, "train anew"),
    ):
        with pytest.raises(UserError, match=message):
            train(build_fresh("vit"), data, tmp_path / "other", way, None, str(tmp_path / "checkpoint-2"), **options)


def test_a_stranger_loads_what_was_trained(data, stranger, tmp_path):
    """From a checkpoint with 7 classes to saved folders, loaded without this package."""
    for name, way in (("vit", "lora"), ("convnext", "gradual"), ("resnet", "last_stages"), ("timm vit", "lora")):
        labels = {"num_labels": 10} if name == "timm vit" else {"id2label": dict(enumerate("abcdefg"))}
        base, folder = build_fresh(name, **labels), tmp_path / f"{name}-{way}"
        record_in_timm_config(base, Preprocessing(), list(CLASS_NAMES))
        save_model(base, Preprocessing(), tmp_path / f"{name}-base")
        model, _ = load_model(str(tmp_path / f"{name}-base"), list(CLASS_NAMES))
        record_in_timm_config(model, Preprocessing(), list(CLASS_NAMES))
        train(model, data, tmp_path, {"finetune": way}, max_steps=3)
        save_model(model, Preprocessing(), folder)
        with torch.no_grad():
            expected = model.eval()(IMAGES).logits
        assert expected.shape == (4, 10)
        assert torch.equal(AutoModelForImageClassification.from_pretrained(folder)(IMAGES).logits, expected)
        answer = stranger(strangers.compute_logits, str(folder), IMAGES.numpy())
        torch.testing.assert_close(torch.from_numpy(answer), expected)
        size, scores = stranger(strangers.classify, str(folder), Image.new("RGB", (32, 32)))
        assert size == 32 and len(scores) == 5 and set(scores) <= set(CLASS_NAMES)
