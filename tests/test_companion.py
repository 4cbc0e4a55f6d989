"""The companion warns once of each problem, is silent on a healthy run, and changes nothing."""

import logging
import time

import numpy as np
import pytest
import torch
from transformers import EvalPrediction, TrainerCallback, TrainingArguments, set_seed

from hf_cifar.arguments import AugmentationArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.errors import UserError
from hf_cifar.models.loading import build_cifar_cnn, hash_weights
from hf_cifar.training import trainer as trainer_module
from hf_cifar.training.companion import Companion
from hf_cifar.training.loss import build_loss
from hf_cifar.training.trainer import check_options, get_training_defaults

from .conftest import TINY_CNN
from .test_trainer import MUON, make_trainer

SGD = {"optimizer": "sgd", "early_stopping_patience": 0}
NO_CHECKPOINTS = {"save_strategy": "no", "load_best_model_at_end": False}
EPOCHS = 4


def read_entries(caplog) -> list[str]:
    """The headings that the companion's warnings name, in order."""
    messages = [each.getMessage() for each in caplog.records if each.name == "hf_cifar.training.companion"]
    assert all("\n" not in message and message.count("; see docs/troubleshooting.md#") == 1 for message in messages)
    return [message.split("#")[-1] for message in messages]


def get_companion(trainer) -> Companion | None:
    return next((each for each in trainer.callback_handler.callbacks if isinstance(each, Companion)), None)


class Do(TrainerCallback):
    """Runs a function at the end of each step."""

    def __init__(self, function) -> None:
        self.function = function

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.function(state=state, **kwargs)


@pytest.fixture(scope="module")
def healthy(data, tmp_path_factory):
    """A run with accumulation, and the same without the companion; what was said, and weights of both."""
    options = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 15, "num_train_epochs": EPOCHS}
    options |= NO_CHECKPOINTS
    records, handler = [], logging.Handler()
    handler.emit = records.append
    logging.getLogger("hf_cifar.training.companion").addHandler(handler)
    hashes, trainers = [], []
    for value in (True, False):
        set_seed(0)
        recipe = {**MUON, "early_stopping_patience": 0, "companion": value}
        folder, model = tmp_path_factory.mktemp("healthy"), build_cifar_cnn(TINY_CNN, list(CLASS_NAMES))
        trainers.append(make_trainer(data, folder, recipe, model=model, **options))
        trainers[-1].train_dataset.transform.augmentation = AugmentationArguments(flip="random")  # not mixed: easier
        trainers[-1].train()
        hashes.append(hash_weights(trainers[-1].model))
    logging.getLogger("hf_cifar.training.companion").removeHandler(handler)
    return records, hashes, trainers


def test_a_healthy_run_is_silent(healthy):
    records, _, trainers = healthy
    # But for the clock, which has tests of its own: the machine that runs these may be busy.
    assert [each for each in map(logging.LogRecord.getMessage, records) if "throughput" not in each] == []
    companion = get_companion(trainers[0])
    # All of it was looked at: it could have spoken.
    assert len(companion.evaluations) == EPOCHS and companion.first_loss > 1 and companion.fastest < 10


def test_weights_are_bit_identical_without_it(healthy):
    _, hashes, trainers = healthy
    assert hashes[0] == hashes[1]
    assert get_companion(trainers[1]) is None


def test_a_loss_that_explodes_is_seen_before_it_is_nan(data, tmp_path, caplog):
    trainer = make_trainer(data, tmp_path, SGD, learning_rate=1e6, max_grad_norm=0, **NO_CHECKPOINTS)
    with pytest.raises(UserError, match="diverged"):
        trainer.train()
    assert read_entries(caplog)[0] == "exploding-loss"
    assert "it is 1e+06" in caplog.text


def test_on_a_gpu_losses_are_looked_at_now_and_then(caplog):
    companion = Companion(build_loss(), interval=20)
    args = TrainingArguments(output_dir="unused", use_cpu=True, learning_rate=0.1)
    args.__dict__["_setup_devices"] = torch.device("meta")  # any device that is no CPU
    state = type("State", (), {"global_step": 0, "max_steps": 100})()
    outputs, labels = {"logits": torch.zeros(2, 10)}, torch.zeros(2, dtype=torch.int64)
    for state.global_step in range(1, 21):
        companion.watch(torch.tensor(2.3 if state.global_step < 5 else 50.0), outputs, labels)
        companion.on_step_end(args, state, None, model=torch.nn.Linear(1, 1))
        assert read_entries(caplog) == ([] if state.global_step < 20 else ["exploding-loss"])


def test_of_several_processes_the_first_one_speaks(caplog):
    companion, args = Companion(build_loss()), TrainingArguments(output_dir="unused", use_cpu=True)
    for is_main, expected in ((False, []), (True, ["overfitting"])):
        companion.on_train_begin(args, type("State", (), {"is_world_process_zero": is_main})(), None)
        companion.warn("overfitting", "words")
        companion.warn("overfitting", "the same again")
        assert read_entries(caplog) == expected


def test_a_learning_rate_of_zero_is_named_with_its_step(data, tmp_path, caplog):
    trainer = make_trainer(data, tmp_path, SGD, num_train_epochs=2, **NO_CHECKPOINTS)

    def stop(state, optimizer, lr_scheduler, **_):
        if state.global_step == 12:
            lr_scheduler.base_lrs = [0.0 for _ in lr_scheduler.base_lrs]
            for group in optimizer.param_groups:
                group["lr"] = 0.0

    trainer.callback_handler.callbacks.insert(0, Do(stop))
    trainer.train()
    assert read_entries(caplog)[0] == "learning-rate-zero"
    assert "from step 12 of 20 on" in caplog.text


def test_a_schedule_that_warms_up_from_zero_and_ends_at_zero_is_no_problem(data, tmp_path, caplog):
    make_trainer(data, tmp_path, SGD, warmup_steps=5, num_train_epochs=1, **NO_CHECKPOINTS).train()
    assert "learning-rate-zero" not in read_entries(caplog)


def run_clock(durations: list[float], pauses: dict[int, float] | None = None, trained_from=0) -> set[str]:
    """What a companion says of steps of these durations, with pauses before some; bias is trained from a step on."""
    companion, now = Companion(build_loss()), [0.0]
    args = TrainingArguments(output_dir="unused", use_cpu=True)
    state = type("State", (), {"global_step": 0, "max_steps": len(durations)})()
    model = torch.nn.Linear(2, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: now[0])
        for state.global_step, duration in enumerate(durations, start=1):
            if pause := (pauses or {}).get(state.global_step):
                now[0] += pause
                companion.on_epoch_begin(args, state, None)
            model.bias.requires_grad_(state.global_step > trained_from)
            now[0] += duration
            companion.on_step_end(args, state, None, model=model)
    return companion.said


def test_a_throughput_that_collapses_is_noticed():
    assert run_clock([0.1] * 100) == set()
    assert run_clock([0.1] * 45 + [0.6] * 45) == {"throughput-collapse"}


def test_a_slower_machine_for_a_while_or_a_pause_is_no_collapse():
    assert run_clock([0.1] * 40 + [0.3] * 60) == set()
    assert run_clock([0.1] * 40 + [9.0] * 5 + [0.1] * 60) == set()
    assert run_clock([0.1] * 100, pauses={step: 50.0 for step in range(1, 100, 2)}) == set()


def test_steps_that_train_more_may_take_longer():
    durations = [0.1] * 41 + [1.0] * 40
    assert run_clock(durations) == {"throughput-collapse"}
    assert run_clock(durations, trained_from=41) == set()


def test_a_loss_inflated_by_accumulation_is_measured(data, tmp_path, caplog, monkeypatch):
    """As by a loss that takes `num_items_in_batch` and ignores it."""
    build = trainer_module.build_loss

    def build_careless_loss(label_smoothing):
        loss = build(label_smoothing)
        return lambda outputs, labels, num_items_in_batch=None: loss(outputs, labels)

    monkeypatch.setattr(trainer_module, "build_loss", build_careless_loss)
    options = {"per_device_train_batch_size": 10, "num_train_epochs": 1, **NO_CHECKPOINTS}
    make_trainer(data, tmp_path / "accumulated", SGD, gradient_accumulation_steps=3, **options).train()
    assert read_entries(caplog) == ["loss-inflated"]
    assert "3.0 times the mean over images" in caplog.text
    caplog.clear()
    make_trainer(data, tmp_path / "plain", SGD, **options).train()
    assert "loss-inflated" not in read_entries(caplog)


def test_a_metric_that_is_missing_for_early_stopping_is_named(data, tmp_path, caplog):
    trainer = make_trainer(data, tmp_path, SGD, num_train_epochs=1)
    trainer.compute_metrics = lambda prediction: {"precision": 0.5}
    with pytest.raises(KeyError):
        trainer.train()
    assert read_entries(caplog) == ["metric-missing"]
    assert "gave no eval_accuracy (it gave eval_loss, eval_precision" in caplog.text


def test_a_metric_that_nothing_computes_is_refused_at_the_start(tmp_path):
    settings = get_training_defaults() | {"output_dir": str(tmp_path), "use_cpu": True, "metric_for_best_model": "f2"}
    with pytest.raises(UserError, match="allowed: accuracy, macro_f1, loss"):
        check_options(TrainingArguments(**settings), trainer_module.RecipeArguments(), has_validation=True)


def test_a_network_that_does_not_look_is_told_so(data, tmp_path, caplog):
    model = build_cifar_cnn({**TINY_CNN, "normalization": "none"}, list(CLASS_NAMES))
    torch.nn.init.zeros_(model.classifier[-1].weight)
    model.classifier[-1].weight.requires_grad_(False)
    model.classifier[-1].register_forward_hook(lambda module, inputs, output: output + 1.0)
    make_trainer(data, tmp_path, SGD, model=model, num_train_epochs=1, **NO_CHECKPOINTS).train()
    assert read_entries(caplog) == ["constant-outputs"]


def test_a_rate_far_too_low_underfits(data, tmp_path, caplog):
    options = {"learning_rate": 1e-7, "num_train_epochs": 5, "validate": False, **NO_CHECKPOINTS}
    make_trainer(data, tmp_path, SGD, **options).train()
    assert read_entries(caplog) == ["underfitting"]


def run_evaluations(rows: list[tuple[float, float, float]], logits=None, labels=None) -> set[str]:
    """What a companion says of epochs with these training losses, validation losses and accuracies."""
    companion = Companion(build_loss())
    companion.num_classes = 10
    args = TrainingArguments(
        output_dir="unused", use_cpu=True, eval_strategy="epoch", metric_for_best_model="accuracy"
    )
    state = type("State", (), {"global_step": 0, "max_steps": 100 * len(rows)})()
    compute = companion.watch_predictions(lambda prediction: {})
    for training, validation, accuracy in rows:
        state.global_step += 100
        companion.on_log(args, state, None, logs={"loss": training})
        if logits is not None:
            compute(EvalPrediction(logits, labels))
        companion.on_evaluate(args, state, None, metrics={"eval_loss": validation, "eval_accuracy": accuracy})
    return companion.said


LEARNING = [(1.5, 1.4, 0.5), (1.0, 1.1, 0.6), (0.7, 1.0, 0.65), (0.5, 1.05, 0.65), (0.4, 1.02, 0.66)]


def test_a_loss_near_that_of_guessing_underfits_unless_accuracy_says_otherwise():
    assert run_evaluations([(2.3, 2.3, 0.1)] * 3) == {"underfitting"}
    assert run_evaluations([(2.2, 1.5, 0.6)] * 3) == set()  # as under strong mixing


def test_overfitting_is_a_validation_loss_that_rises_while_nothing_gets_better():
    assert run_evaluations(LEARNING) == set()
    assert run_evaluations([*LEARNING, (0.2, 1.3, 0.64), (0.1, 1.5, 0.63)]) == {"overfitting"}


def test_a_rising_loss_with_rising_accuracy_or_under_strong_augmentation_is_none():
    assert run_evaluations([*LEARNING, (0.2, 1.3, 0.67), (0.1, 1.5, 0.69)]) == set()
    assert run_evaluations([(1.9, 1.0, 0.6), (1.8, 1.2, 0.6), (1.7, 1.2, 0.6), (1.6, 1.2, 0.6)]) == set()


def test_a_class_that_is_never_predicted_is_named_after_two_evaluations():
    labels = np.repeat(np.arange(10), 12)
    logits = np.eye(10)[labels] + 0.1
    assert run_evaluations(LEARNING, logits, labels) == set()
    blind = logits.copy()
    blind[:, 3] = -9
    assert run_evaluations(LEARNING, blind, labels) == {"class-never-predicted"}
    assert run_evaluations(LEARNING[:1], blind, labels) == set()  # once may be chance
    few = labels != 3
    assert run_evaluations(LEARNING, blind[few], labels[few]) == set()  # there is none to be found
