"""One run: the stem is filled from the data, the precision is what was asked for, the costs are counted."""

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainingArguments, set_seed

from hf_cifar.arguments import DataArguments, RecipeArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.split import split_table
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.evaluation.metrics import build_compute_metrics
from hf_cifar.models.loading import build_cifar_cnn
from hf_cifar.training.fit import choose_data_device, fit, get_precision
from hf_cifar.training.trainer import get_training_defaults

from .conftest import TINY_CNN


def make_arguments(folder, **options) -> TrainingArguments:
    settings = get_training_defaults() | {"bf16": False, "fp16": False, "use_cpu": True, "disable_tqdm": True}
    return TrainingArguments(**settings | {"output_dir": str(folder), "per_device_train_batch_size": 90} | options)


def test_a_run_counts_its_costs_and_fills_the_stem(data, tmp_path):
    set_seed(0)
    model = build_cifar_cnn(TINY_CNN, list(CLASS_NAMES))
    before = model.cifar_cnn.stem[0].weight.clone()
    train, validation = split_table(data.train)
    args = make_arguments(tmp_path, num_train_epochs=2, learning_rate=0.01)
    outcome = fit(
        model, Preprocessing(), train, validation, args, DataArguments(), RecipeArguments(), build_compute_metrics(10),
        tmp_path,
    )  # fmt: skip
    weight = model.cifar_cnn.stem[0].weight
    assert not torch.equal(weight, before) and torch.allclose(weight[:12], -weight[12:])
    assert outcome.epochs == 2 and len(outcome.history) == 2 and outcome.feature_seconds == 0
    assert outcome.train_images_per_second == pytest.approx(2 * 900 / outcome.train_seconds)


def test_images_stay_where_they_fit(data, tmp_path, monkeypatch):
    args = make_arguments(tmp_path)
    assert choose_data_device(args, [data.train, None]) is None  # on a CPU the table is memory-mapped
    gpu = SimpleNamespace(device=torch.device("cuda:0"), dataloader_num_workers=0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    free = 4 * 1000 * 3072
    assert choose_data_device(gpu, [data.train, None]) == gpu.device
    assert choose_data_device(gpu, [data.train, data.test]) is None
    gpu.dataloader_num_workers = 2
    assert choose_data_device(gpu, [data.train, None]) is None


def test_precision_is_what_the_arguments_say(tmp_path):
    assert get_precision(make_arguments(tmp_path)) == "fp32"
    assert get_precision(make_arguments(tmp_path, bf16=True)) == "bf16"
    assert get_precision(make_arguments(tmp_path, fp16=True)) == "fp32"  # ignored on CPUs
