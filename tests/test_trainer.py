"""The Trainer as built here: reproducible, resumable bit for bit, honest about accumulation."""

from pathlib import Path

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, TrainingArguments, set_seed

from hf_cifar.arguments import AugmentationArguments, DataArguments, ModelArguments, RecipeArguments
from hf_cifar.data.batches import ImageBatches
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.split import split_table
from hf_cifar.data.transforms import ImageTransform, Preprocessing
from hf_cifar.errors import UserError
from hf_cifar.evaluation.metrics import build_compute_metrics
from hf_cifar.models.loading import build_cifar_cnn, hash_weights, load_for_fine_tuning
from hf_cifar.training.fit import make_resizing
from hf_cifar.training.trainer import build_trainer, check_model, check_options, collect_history, get_training_defaults

from .conftest import TINY_CNN

MUON = {"optimizer": "muon", "parameter_groups": {"vectors": {"lr": 0.05}, "head": {"lr": 0.1}}}


def make_trainer(
    data, folder: Path, recipe: dict | None = None, validate: bool = True, model=None, checkpoint=None, **options
):
    """A Trainer of a tiny network on 300 images: 3 epochs of 10 steps."""
    set_seed(0)
    settings = get_training_defaults() | {"bf16": False, "fp16": False, "disable_tqdm": True, "use_cpu": True}
    settings |= {"output_dir": str(folder), "num_train_epochs": 3, "per_device_train_batch_size": 30}
    args = TrainingArguments(**settings | {"learning_rate": 0.05, "save_total_limit": None} | options)
    train, validation = split_table(data.train)
    train = train.select(range(300))
    # Dropout draws from the global state, which a resume must restore.
    model = model or build_cifar_cnn({**TINY_CNN, "classifier_dropout": 0.2, "hidden_dropout": 0.1}, list(CLASS_NAMES))
    # Mixed images have soft labels, which the loss and the Trainer's counts must take.
    augmentation = AugmentationArguments(flip="alternating", translate=2, mixup=0.4, cutmix=1.0)
    recipe = RecipeArguments(**(recipe or MUON))
    transform = ImageTransform(Preprocessing(), augmentation, args.seed, make_resizing(recipe, args, len(train)))
    return build_trainer(
        model, model.classifier, args, recipe, ImageBatches(train, transform),
        ImageBatches(validation, ImageTransform(Preprocessing())) if validate else None, build_compute_metrics(10),
        checkpoint,
    )  # fmt: skip


def test_equal_commands_give_equal_weights_and_seeds_differ(data, tmp_path):
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trainer = make_trainer(data, tmp_path / name, seed=seed, num_train_epochs=1)
        trainer.train()
        hashes.append(hash_weights(trainer.model))
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("stop_at", [10, 14], ids=["epoch end", "mid-epoch"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(data, tmp_path, stop_at):
    options = {"save_strategy": "steps", "save_steps": stop_at, "eval_strategy": "no", "load_best_model_at_end": False}
    if stop_at == 10:
        options = {"save_strategy": "epoch"}
    whole = make_trainer(data, tmp_path / "whole", validate=stop_at == 10, **options)
    whole.train()
    resumed = make_trainer(data, tmp_path / "resumed", validate=stop_at == 10, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"whole/checkpoint-{stop_at}"))
    assert hash_weights(resumed.model) == hash_weights(whole.model)
    assert resumed.state.global_step == whole.state.global_step == 30


def test_accumulated_small_batches_train_like_one_large_batch(data, tmp_path):
    model_options = {**TINY_CNN, "normalization": "none"}  # batch statistics would differ by nature
    weights = []
    for name, size, steps in (("large", 30, 1), ("small", 10, 3)):
        set_seed(0)
        model = build_cifar_cnn(model_options, list(CLASS_NAMES))
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "num_train_epochs": 1}
        trainer = make_trainer(data, tmp_path / name, {"optimizer": "sgd"}, model=model, max_grad_norm=0, **options)
        trainer.train()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("checkpoint", ["tiny_vit", "tiny_convnext"])
def test_pretrained_models_train_too(data, tmp_path, checkpoint, request):
    folder = str(request.getfixturevalue(checkpoint))
    model, _, _ = load_for_fine_tuning(ModelArguments(folder), list(CLASS_NAMES))
    trainer = make_trainer(data, tmp_path, {"optimizer": "adamw"}, model=model, learning_rate=5e-3)
    trainer.train()
    history = collect_history(trainer.state.log_history)
    assert history[-1]["loss"] < history[0]["loss"]


def test_early_stopping_stops_and_keeps_the_best_epoch(data, tmp_path):
    # A learning rate of 0 never improves after the first epoch (but batch statistics would move).
    model = build_cifar_cnn({**TINY_CNN, "normalization": "none"}, list(CLASS_NAMES))
    recipe = {"optimizer": "sgd", "early_stopping_patience": 2}
    trainer = make_trainer(data, tmp_path, recipe, model=model, learning_rate=0.0)
    trainer.args.num_train_epochs = 10
    trainer.train()
    assert trainer.state.epoch == 3
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-10")


def test_history_has_a_row_per_epoch(data, tmp_path):
    trainer = make_trainer(data, tmp_path)
    trainer.train()
    history = collect_history(trainer.state.log_history)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert {"loss", "learning_rate", "validation_loss", "validation_accuracy", "validation_macro_f1"} <= set(
        history[0]
    )
    assert not any("runtime" in key or "second" in key for key in history[0])


def test_without_validation_there_is_no_evaluation_and_no_early_stopping(data, tmp_path):
    trainer = make_trainer(data, tmp_path, validate=False, num_train_epochs=1)
    trainer.train()
    assert all("validation_accuracy" not in row for row in collect_history(trainer.state.log_history))


def test_the_whole_validation_split_is_evaluated(data, tmp_path):
    trainer = make_trainer(data, tmp_path, per_device_eval_batch_size=33)
    assert len(trainer.predict(trainer.eval_dataset).predictions) == 100
    trainer.args.dataloader_drop_last = True
    with pytest.raises(UserError, match="dataloader_drop_last"):
        check_options(trainer.args, RecipeArguments(), has_validation=True)


def test_the_epoch_reaches_the_transform(data, tmp_path):
    # The Trainer forwards it to the sampler; nothing here would fail loudly if a version stopped doing so.
    trainer = make_trainer(data, tmp_path)
    transform, epochs = trainer.train_dataset.transform, []
    augment = transform.augment
    transform.augment = lambda *arguments: epochs.append(transform.epoch) or augment(*arguments)
    trainer.train()
    assert epochs == [0] * 10 + [1] * 10 + [2] * 10


@pytest.mark.parametrize(
    ("options", "recipe", "message"),
    [
        ({"optim": "adafactor"}, {}, "optim=adafactor would be ignored; .*see optimizer"),
        ({"metric_for_best_model": "f2"}, {}, "metric_for_best_model='f2'; allowed: accuracy"),
        ({"eval_strategy": "no", "load_best_model_at_end": False}, {}, "early stopping needs load_best_model_at_end"),
        ({"learning_rate": -1.0}, {}, "learning_rate=-1.0 is out of range"),
        ({"num_train_epochs": 0}, {}, "num_train_epochs=0"),
        ({"seed": -1}, {}, "seed=-1"),
        ({}, {"optimizer": "muon", "parameter_groups": {"filters": {"weight_decay": 0.1}}}, "muon normalizes filters"),
    ],
)
def test_options_that_would_fail_or_be_ignored_are_refused(tmp_path, options, recipe, message):
    settings = get_training_defaults() | {"output_dir": str(tmp_path), "use_cpu": True} | options
    with pytest.raises(UserError, match=message):
        check_options(TrainingArguments(**settings), RecipeArguments(**recipe), has_validation=True)


def test_a_resumed_run_has_the_options_it_is_given(data, tmp_path):
    """torch's states bring the checkpoint's own rates along, so a lower learning_rate would change nothing."""
    make_trainer(data, tmp_path, {"optimizer": "sgd"}, learning_rate=0.1, lr_scheduler_type="constant").train()
    recipe = {"optimizer": "sgd", "momentum": 0.5, "parameter_groups": {"head": {"lr": 0.02}}}
    resumed = make_trainer(data, tmp_path, recipe, learning_rate=0.01, lr_scheduler_type="linear")
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    history = collect_history(resumed.state.log_history)
    assert [row["learning_rate"] for row in history] == pytest.approx([0.1, 0.01 * 11 / 30, 0.01 * 1 / 30])
    groups = {group["kind"]: group for group in resumed.optimizer.param_groups}
    assert groups["head"]["initial_lr"] == 0.02 and groups["filters"]["momentum"] == 0.5


def test_diverged_epochs_leave_gaps_in_the_history():
    history = collect_history([{"epoch": 1.0, "loss": float("nan"), "learning_rate": 0.1}])
    assert history == [{"epoch": 1.0, "learning_rate": 0.1}]


def test_a_resume_with_another_optimizer_is_refused(data, tmp_path):
    make_trainer(data, tmp_path, {"optimizer": "sgd"}, num_train_epochs=1).train()
    checkpoint = str(tmp_path / "checkpoint-10")
    with pytest.raises(UserError, match="was trained by sgd, not adamw .*keep the optimizer, or train anew"):
        make_trainer(data, tmp_path, {"optimizer": "adamw"}).train(resume_from_checkpoint=checkpoint)


def test_gradient_checkpointing_is_refused_where_a_model_has_none(tmp_path):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=10)
    settings = get_training_defaults() | {"output_dir": str(tmp_path), "use_cpu": True, "gradient_checkpointing": True}
    options = (TrainingArguments(**settings), DataArguments(), RecipeArguments(), 32, False)
    with pytest.raises(UserError, match="ResNetForImageClassification does not support it; leave it out"):
        check_model(ResNetForImageClassification(config), Preprocessing(), *options)
    check_model(build_cifar_cnn(TINY_CNN, list(CLASS_NAMES)), Preprocessing(), *options)
