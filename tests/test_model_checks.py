"""Each check of a config's model and data, on one that is healthy and on one that has the problem."""

import copy
import dataclasses

import pytest
import torch
from transformers import TrainingArguments

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
from hf_cifar.errors import UserError
from hf_cifar.guidance import model_checks
from hf_cifar.guidance.model_checks import (
    check_duplicates,
    check_gradients,
    check_initial_loss,
    check_one_batch,
    check_shuffled_labels,
    draw_samples,
    make_labels,
)
from hf_cifar.guidance.needs import check_loader
from hf_cifar.guidance.subject import Subject, build_subject, start_trial
from hf_cifar.models.loading import hash_weights
from hf_cifar.training.trainer import get_training_defaults

from .conftest import TINY_CNN

FLAGS = {"bf16": False, "fp16": False, "use_cpu": True}


def make_subject(
    folder, model: dict | None = None, data: dict | None = None, recipe: dict | None = None, **options
) -> Subject:
    """What a config of these options describes, on the sample."""
    settings = get_training_defaults() | FLAGS | {"output_dir": str(folder), "learning_rate": 0.05}
    settings |= {"per_device_train_batch_size": 50} | options
    return build_subject(
        DataArguments(dataset="sample", **{"flip": "random"} | (data or {})),
        ModelArguments(**model or {"model_config": TINY_CNN}),
        RecipeArguments(**recipe or {"optimizer": "muon", "parameter_groups": {"vectors": {"lr": 0.05}}}),
        TrainingArguments(**settings),
    )


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Subject:
    """Healthy; to be copied before it is changed."""
    return make_subject(tmp_path_factory.mktemp("doctor") / "run")


def change(subject: Subject, **changes) -> Subject:
    """A copy with another model, table or options."""
    return dataclasses.replace(subject, **{"model": copy.deepcopy(subject.model)} | changes)


def test_the_subject_is_what_train_py_builds(subject, tiny_config):
    """The same network from the same seed; its stem is filled from the training images as `fit` does."""
    import yaml

    from hf_cifar.models.loading import build_cifar_cnn

    config = yaml.safe_load(tiny_config.read_text())["model_config"]
    torch.manual_seed(0)
    fresh = build_cifar_cnn(config, subject.data.class_names)
    assert torch.equal(fresh.classifier[-1].weight, subject.model.classifier[-1].weight)
    assert subject.model.cifar_cnn.stem[0].weight.std() != fresh.cifar_cnn.stem[0].weight.std()
    assert len(subject.train) == 900 and len(subject.validation) == 100


def test_a_trial_leaves_the_model_alone_and_is_repeatable(subject):
    before, losses = hash_weights(subject.model), []
    for _ in range(2):
        with start_trial(subject) as trial:
            losses.append([trial.step(subject.fetch(16))[0] for _ in range(3)])
    assert losses[0] == losses[1] and losses[0][2] < losses[0][0]
    assert hash_weights(subject.model) == before


def test_where_nothing_validates_a_tenth_is_held_out(tmp_path):
    held = make_subject(tmp_path, data={"validation_size": 0})
    assert len(held.train) == 900 and len(held.validation) == 100


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="10 training and 2 validation images are too few|allowed"):
        make_subject(tmp_path, data={"images_per_class": 1, "validation_size": 2})


def test_initial_loss(subject):
    assert check_initial_loss(subject).status == "ok"
    wild = change(subject)
    with torch.no_grad():
        wild.model.classifier[-1].weight.mul_(1000)
    assert check_initial_loss(wild).status == "warn"
    with torch.no_grad():
        wild.model.classifier[-1].weight[0, 0] = float("nan")
    assert check_initial_loss(wild).status == "fail"


def test_an_initial_loss_far_below_guessing_is_odd_too(subject):
    with start_trial(subject) as trial:
        batch = subject.fetch(16)
        for _ in range(25):
            trial.step(batch)
        found = check_initial_loss(change(subject, model=copy.deepcopy(trial.network), batch_size=16))
    assert (found.status, found.entry) == ("warn", "initial-loss") and found.numbers["loss"] < 1.1


def test_gradients_reach_what_is_trained(subject):
    found = check_gradients(subject)
    assert found.status == "ok" and found.numbers["missed"] == 0 and found.numbers["frozen"] > 0
    detached = change(subject)
    detached.model.classifier.register_forward_pre_hook(lambda module, inputs: (inputs[0].detach(),))
    found = check_gradients(detached)
    assert found.status == "fail" and "trained ones get none, as cifar_cnn." in found.value


def test_a_frozen_parameter_that_moves_is_found(subject):
    moving = change(subject)
    weight = moving.model.cifar_cnn.stem[0].weight
    assert not weight.requires_grad

    def move(module, inputs):
        with torch.no_grad():
            module.weight.add_(0.1)

    moving.model.cifar_cnn.stem[0].register_forward_pre_hook(move)
    assert "frozen ones are changed, as cifar_cnn.stem.0.weight" in check_gradients(moving).value


@pytest.mark.parametrize("finetune", ["head", "last_stages", "lora", "full"])
def test_every_way_to_fine_tune_is_healthy(tiny_vit, tmp_path, finetune):
    model = {"model_name_or_path": str(tiny_vit), "finetune": finetune}
    data = {"flip": None}
    found = make_subject(tmp_path, model, data, {"optimizer": "adamw"}, learning_rate=0.01)
    findings = [check_initial_loss(found), check_gradients(found), check_loader(found)]
    assert [each.status for each in findings[:2]] == ["ok"] * 2, findings
    assert findings[2].status != "fail"  # a busy machine may slow the loader down
    frozen = findings[1].numbers["frozen"]
    assert (frozen > 0) == (finetune != "full")


def test_a_few_images_are_learnt_by_heart(subject):
    found = check_one_batch(subject)
    assert found.status == "ok" and found.numbers["accuracy"] == 1
    slow = change(subject, args=copy.copy(subject.args), recipe=RecipeArguments(optimizer="sgd"), batch_size=8)
    slow.args.learning_rate = 1e-7
    assert check_one_batch(slow).status == "fail"
    found = check_one_batch(slow, suggestion=0.05)
    assert found.status == "warn" and "at learning_rate 0.05" in found.value


def test_too_slow_to_tell_is_no_failure(subject, monkeypatch):
    monkeypatch.setattr(model_checks, "learn_by_heart", lambda *_: (0.2, 3))
    assert check_one_batch(subject).status == "warn" and "too slow to tell" in check_one_batch(subject).value


def test_copies_across_the_splits_are_counted_and_leak_random_labels(subject, monkeypatch):
    monkeypatch.setattr(model_checks, "LEAK_IMAGES", 100)
    assert check_duplicates(subject).status == "ok" and check_shuffled_labels(subject).status == "ok"
    few = subject.train.select(range(100))
    leaking = change(subject, train=few, validation=few)
    assert check_duplicates(leaking).numbers["count"] == 100
    found = check_shuffled_labels(leaking)
    assert (found.status, found.entry) == ("fail", "leak")
    assert found.numbers["accuracy"] > found.numbers["chance_high"] > 0.1


def test_random_labels_follow_the_content(subject):
    table = subject.train.select([0, 1, 2, 0])
    labels = make_labels(table, 10)
    assert labels[0] == labels[3] and labels.max() < 10
    counts = torch.bincount(make_labels(subject.train, 10), minlength=10)
    assert counts.min() > 50  # of 900, 90 each by expectation


def test_samples_are_drawn_for_each_class(subject):
    (axes,) = draw_samples(subject).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == subject.data.class_names
