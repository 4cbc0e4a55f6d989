"""A run that diverges stops with a remedy, and what it had before is kept and good."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainerState, TrainingArguments

from hf_cifar.data.batches import ImageBatches
from hf_cifar.errors import UserError
from hf_cifar.evaluation.results import read_results
from hf_cifar.training.callbacks import StopOnDivergence

from .test_trainer import make_trainer

SGD = {"optimizer": "sgd"}


def poison(monkeypatch, bad_epoch: int, value: float = float("nan")) -> None:
    """From its third batch on, that epoch's images hold a value that is no number."""
    fetch, seen = ImageBatches.fetch, []

    def fetch_poison(self, rows, epoch):
        batch = fetch(self, rows, epoch)
        if epoch == bad_epoch:
            seen.append(rows)
            if len(seen) > 2:
                batch["pixel_values"][0, 0, 0, 0] = value
        return batch

    monkeypatch.setattr(ImageBatches, "fetch", fetch_poison)


class BreakWeights(TrainerCallback):
    """Makes a weight infinite in one optimizer step, which the loss of that step cannot show."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        if state.global_step == self.step - 1:
            with torch.no_grad():
                model.classifier[-1].weight[0, 0] = float("inf")


def is_finite(checkpoint) -> bool:
    return all(value.isfinite().all() for value in load_file(checkpoint / "model.safetensors").values())


def test_a_rate_far_too_high_stops_the_run_with_a_remedy(data, tmp_path):
    trainer = make_trainer(data, tmp_path, SGD, learning_rate=1e30)
    with pytest.raises(UserError) as caught:
        trainer.train()
    message = str(caught.value)
    assert message.startswith("the loss became NaN or infinite by step 2 (epoch 0.20): training diverged. Try a lower")
    assert "learning_rate (it is 1e+30)" in message and "warm-up (warmup_steps: 0.1)" in message
    assert message.endswith("there is no checkpoint yet")
    assert not list(tmp_path.glob("checkpoint-*"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_last_good_checkpoint_is_named_and_kept(data, tmp_path, monkeypatch, value):
    poison(monkeypatch, bad_epoch=1, value=value)
    trainer = make_trainer(data, tmp_path, SGD)
    with pytest.raises(UserError, match=r"by step 13 \(epoch 1\.30\).*the last good checkpoint is kept") as caught:
        trainer.train()
    assert str(caught.value).endswith(f"is kept: {tmp_path / 'checkpoint-10'}")
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-10"]
    assert is_finite(tmp_path / "checkpoint-10")


@pytest.mark.parametrize("strategy", ["epoch", "steps"])
def test_weights_that_break_without_a_loss_that_shows_it_are_not_saved(data, tmp_path, strategy):
    options = {"save_strategy": strategy, "save_steps": 10, "eval_strategy": strategy, "eval_steps": 10}
    trainer = make_trainer(data, tmp_path, SGD, **options)
    trainer.add_callback(BreakWeights(step=20))
    with pytest.raises(UserError, match=r"the network's weights became NaN or infinite by step 20 .*checkpoint-10$"):
        trainer.train()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-10"]
    assert is_finite(tmp_path / "checkpoint-10")


def test_where_looking_costs_something_it_is_done_now_and_then(monkeypatch):
    from types import SimpleNamespace

    watcher, steps = StopOnDivergence(interval=5), []
    monkeypatch.setattr(watcher, "check_loss", lambda args, state: steps.append(state.global_step))
    args, control = SimpleNamespace(device=torch.device("cuda")), SimpleNamespace(should_save=False)
    for step in range(1, 12):
        watcher.on_step_end(args, SimpleNamespace(global_step=step), control)
    assert steps == [5, 10]


def test_what_is_suggested_is_not_already_done(tmp_path):
    state = TrainerState(global_step=3, epoch=0.3)
    settings = {"output_dir": str(tmp_path), "use_cpu": True}
    for options, expected in (
        ({"warmup_steps": 0.1, "max_grad_norm": 1.0}, "Try a lower learning_rate (it is 5e-05); there"),
        ({"max_grad_norm": 0.0, "bf16": True}, "a warm-up (warmup_steps: 0.1), or max_grad_norm: 1, or bf16: false; "),
    ):
        with pytest.raises(UserError, match=re.escape(expected)):
            StopOnDivergence().stop(TrainingArguments(**settings | options), state, "loss")


def test_one_bad_loss_among_good_ones_is_remembered(tmp_path):
    watcher = StopOnDivergence()
    state, args = TrainerState(global_step=3, epoch=0.3), TrainingArguments(str(tmp_path), use_cpu=True)
    assert watcher.watch(torch.tensor(1.0)) == 1
    watcher.check_loss(args, state)
    for value in (2.0, float("-inf"), 3.0):
        watcher.watch(torch.tensor(value, requires_grad=True))
    with pytest.raises(UserError, match="the loss became NaN or infinite by step 3"):
        watcher.check_loss(args, state)


def test_the_recipe_ends_with_one_line_and_goes_on_at_a_lower_rate(recipe, tiny_config, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    options = ["train.py", "--config", tiny_config, f"--output_dir={folder}", "--optimizer=sgd"]
    options += ["--parameter_groups={}", "--lr_scheduler_type=constant"]
    with monkeypatch.context() as patch:
        poison(patch, bad_epoch=1)
        code, _, err = recipe(*options, "--learning_rate=0.05")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1 and "Traceback" not in err
    assert "learning_rate (it is 0.05)" in lines[0] and lines[0].endswith(f"{folder}/checkpoints/checkpoint-10")
    assert not (folder / "results.json").exists() and is_finite(folder / "checkpoints/checkpoint-10")
    code, _, err = recipe(*options, "--learning_rate=0.01", "--resume_from_checkpoint=true")
    assert code == 0, err
    results = read_results(folder)
    assert [row["learning_rate"] for row in results["history"]] == [0.05, 0.01]
    assert "NaN" not in json.dumps(results)
