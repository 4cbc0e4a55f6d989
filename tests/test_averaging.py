"""The weight average against its formula; it is what is evaluated, saved and left, and a resume changes nothing."""

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from hf_cifar.arguments import RecipeArguments
from hf_cifar.errors import UserError
from hf_cifar.models.loading import hash_weights
from hf_cifar.training.averaging import WeightAverage

from .test_trainer import MUON, make_trainer

RECIPE = {**MUON, "ema_decay": 0.6}
STEPS = {"save_strategy": "steps", "eval_strategy": "no", "load_best_model_at_end": False}


def read(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().double() for name, value in model.state_dict().items() if value.is_floating_point()}


class Reference(TrainerCallback):
    """The average in float64, from the weights right after each of the optimizer's steps."""

    def __init__(self, decay: float) -> None:
        self.decay, self.averages, self.trained, self.evaluated = decay, [], [], []

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        self.averages.append(read(model))

    def on_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        step = state.global_step + 1
        decay = min(self.decay, (1 + step) / (10 + step))
        self.trained.append(read(model))
        average = {
            name: decay * value + (1 - decay) * self.trained[-1][name] for name, value in self.averages[-1].items()
        }
        self.averages.append(average)

    def on_evaluate(self, args, state, control, model=None, **kwargs) -> None:
        self.evaluated.append((state.global_step, read(model)))


def check_close(values: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    values = {name: values[name].double() for name in expected}
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-5)


def make(data, folder: Path, **options):
    return make_trainer(data, folder, RECIPE, validate=options.get("eval_strategy") != "no", **options)


def read_checkpoint(path: Path) -> list[dict[str, torch.Tensor]]:
    return [load_file(path / name) for name in ("model.safetensors", WeightAverage.FILE_NAME)]


@pytest.mark.parametrize("strategy", ["epoch", "steps"])
def test_the_average_is_evaluated_saved_and_left_in_the_model(data, tmp_path, strategy):
    options = {"save_strategy": strategy, "eval_strategy": strategy, "save_steps": 7, "eval_steps": 7}
    trainer = make(data, tmp_path, num_train_epochs=2, load_best_model_at_end=False, **options)
    reference = Reference(0.6)
    trainer.add_callback(reference)
    trainer.train()
    assert [step for step, _ in reference.evaluated] == ([10, 20] if strategy == "epoch" else [7, 14, 20])
    for step, model in reference.evaluated:
        check_close(model, reference.averages[step])
        saved, trained = read_checkpoint(tmp_path / f"checkpoint-{step}")
        check_close(saved, reference.averages[step])
        check_close(trained, reference.trained[step - 1])
    check_close(read(trainer.model), reference.averages[-1])
    head = "classifier.1.weight"  # far enough apart for the checks above to mean something
    assert (reference.averages[-1][head] - reference.trained[-1][head]).abs().max() > 1e-3


def test_looking_at_the_average_does_not_change_training(data, tmp_path):
    results = []
    for name, options in (("often", {"save_steps": 3}), ("never", {"save_strategy": "no"})):
        trainer = make(data, tmp_path / name, **STEPS | {"num_train_epochs": 1, **options})
        trainer.train()
        results.append(hash_weights(trainer.model))
    assert results[0] == results[1]


@pytest.mark.parametrize("stop_at", [10, 14], ids=["epoch end", "mid-epoch"])
def test_a_resumed_run_ends_with_both_sets_of_weights(data, tmp_path, stop_at):
    options = {**STEPS, "save_steps": stop_at, "num_train_epochs": 2}
    options |= {"eval_strategy": "epoch", "save_strategy": "epoch"} if stop_at == 10 else {}
    whole = make(data, tmp_path / "whole", **options)
    whole.train()
    checkpoint = str(tmp_path / f"whole/checkpoint-{stop_at}")
    resumed = make(data, tmp_path / "resumed", checkpoint=checkpoint, **options)
    resumed.train(resume_from_checkpoint=checkpoint)
    assert hash_weights(resumed.model) == hash_weights(whole.model)
    sets = []
    for trainer in (whole, resumed):
        average = next(each for each in trainer.callback_handler.callbacks if isinstance(each, WeightAverage))
        assert average.is_swapped  # so that the rest of it is the trained weights
        sets.append(average.other)
    assert all(torch.equal(sets[0][name], sets[1][name]) for name in sets[0])
    assert not torch.equal(sets[0]["classifier.1.weight"], whole.model.state_dict()["classifier.1.weight"])


def test_a_checkpoint_without_the_trained_weights_is_refused(data, tmp_path):
    trainer = make_trainer(data, tmp_path, num_train_epochs=1)
    trainer.train()
    checkpoint = str(tmp_path / "checkpoint-10")
    resumed = make(data, tmp_path, checkpoint=checkpoint)
    with pytest.raises(UserError) as caught:
        resumed.train(resume_from_checkpoint=checkpoint)
    expected = f"{checkpoint} has no trained_weights.safetensors; resume from another, or set ema_decay: 0"
    assert str(caught.value) == expected


def test_the_best_epochs_average_is_kept(data, tmp_path):
    trainer = make(data, tmp_path)
    accuracies = itertools.cycle([0.2, 0.9, 0.1])
    trainer.compute_metrics = lambda prediction: {"accuracy": next(accuracies)}
    reference = Reference(0.6)
    trainer.add_callback(reference)
    trainer.train()
    assert trainer.state.best_global_step == 20
    check_close(read(trainer.model), reference.averages[20])


def test_bounds_of_the_decay():
    for value in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match=f"ema_decay={value} is out of range; allowed: 0"):
            RecipeArguments(ema_decay=value)
