"""Everything at once, under every schedule: a resumed run ends bit for bit as an uninterrupted one."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments, set_seed

from hf_cifar.arguments import DataArguments, RecipeArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.split import split_table
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.evaluation.metrics import build_compute_metrics
from hf_cifar.models.loading import build_cifar_cnn, hash_weights
from hf_cifar.training.averaging import WeightAverage
from hf_cifar.training.fit import fit
from hf_cifar.training.trainer import get_training_defaults

from .conftest import TINY_CNN

# Wide enough for the kernels, where the machine has them.
MODEL = {**TINY_CNN, "hidden_sizes": [32, 32], "residual": True, "depths": [2, 2], "hidden_dropout": 0.1}
RECIPE = {
    "optimizer": "muon",
    "parameter_groups": {"vectors": {"lr": 0.05}, "head": {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1}},
    "whitening_bias_epochs": 1,
    "progressive_resizing": {"0": 16, "0.5": 32},
    "ema_decay": 0.8,
    "early_stopping_patience": 0,
}
SCHEDULES = {
    "cosine": {"lr_scheduler_type": "cosine"},
    "triangle": {"lr_scheduler_type": "linear", "warmup_steps": 0.2},
    "trapezoid": {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 8}},
}


def train(data, folder, checkpoint=None, **options):
    """Two epochs of 6 steps on 300 images, the second of which is resumed in its midst."""
    set_seed(0)
    settings = get_training_defaults() | {"fp16": False, "bf16": True, "use_cpu": True, "disable_tqdm": True}
    settings |= {"output_dir": str(folder), "num_train_epochs": 2, "per_device_train_batch_size": 50}
    settings |= {"learning_rate": 0.05, "label_smoothing_factor": 0.2, "logging_strategy": "steps", "logging_steps": 1}
    settings |= {"save_strategy": "steps", "save_steps": 4, "save_total_limit": None, "load_best_model_at_end": False}
    settings["eval_strategy"] = "no"
    model = build_cifar_cnn(MODEL, list(CLASS_NAMES))
    train_table, _ = split_table(data.train, 0.7)
    outcome = fit(
        model, Preprocessing(), train_table, None, TrainingArguments(**settings | options),
        DataArguments(flip="alternating", translate=2, cutout=8), RecipeArguments(**RECIPE), build_compute_metrics(10),
        folder, checkpoint=checkpoint,
    )  # fmt: skip
    return model, outcome


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder, the network and the outcome of an uninterrupted run under each schedule."""
    folders = {schedule: tmp_path_factory.mktemp(schedule) for schedule in SCHEDULES}
    return {name: (folder, *train(data, folder, **SCHEDULES[name])) for name, folder in folders.items()}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("stop_at", [4, 8], ids=["before", "after"])
def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(data, tmp_path, whole, schedule, stop_at):
    folder, model, outcome = whole[schedule]
    resumed, _ = train(data, tmp_path, str(folder / f"checkpoint-{stop_at}"), **SCHEDULES[schedule])
    assert outcome.epochs == 2
    assert hash_weights(resumed) == hash_weights(model)
    trained = [load_file(each / "checkpoint-12" / WeightAverage.FILE_NAME) for each in (folder, tmp_path)]
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def read_rates(folder) -> list[float]:
    state = json.loads((folder / "checkpoint-12/trainer_state.json").read_text())
    return [entry["learning_rate"] for entry in state["log_history"] if "learning_rate" in entry]


def test_a_linear_schedule_with_a_share_of_warmup_is_a_triangle(whole):
    # 0.2 of 12 steps is 3 (rounded up): from 0 up, then down to what would be 0 after the last step.
    factors = [0, 1 / 3, 2 / 3, 1, *((12 - step) / 9 for step in range(4, 12))]
    assert read_rates(whole["triangle"][0]) == pytest.approx([0.05 * factor for factor in factors])


def test_a_cosine_falls_from_the_full_rate(whole):
    expected = [0.025 * (1 + torch.cos(torch.tensor(torch.pi * step / 12)).item()) for step in range(12)]
    assert read_rates(whole["cosine"][0]) == pytest.approx(expected, abs=1e-6)
