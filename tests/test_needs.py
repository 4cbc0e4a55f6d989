"""What a training needs, held against what is there."""

import copy
import shutil
import time
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from hf_cifar.data.batches import ImageBatches
from hf_cifar.guidance import environment
from hf_cifar.guidance.needs import check_disk_need, check_loader, check_memory_need, check_run_target, measure_kept
from hf_cifar.guidance.subject import Subject, Trial

from .test_model_checks import change, make_subject


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Subject:
    """Healthy; to be copied before it is changed."""
    return make_subject(tmp_path_factory.mktemp("doctor") / "run")


def test_a_slow_loader_is_measured(subject, monkeypatch):
    found = check_loader(subject)
    assert found.status == "ok" and 0 < found.numbers["share"] < 0.25
    fetch_fast = ImageBatches.fetch

    def fetch_slowly(self, rows, epoch):
        time.sleep(0.1)
        return fetch_fast(self, rows, epoch)

    monkeypatch.setattr(ImageBatches, "fetch", fetch_slowly)
    assert check_loader(change(subject)).entry == "slow-data"


def test_needs_grow_with_the_batch_and_are_held_against_what_is_there(subject, monkeypatch):
    small = check_memory_need(subject)
    assert small.status == check_disk_need(subject).status == "ok"
    large = change(subject, args=copy.copy(subject.args))
    large.args.per_device_train_batch_size = 10**8
    found = check_memory_need(large)
    assert (found.status, found.entry) == ("fail", "out-of-memory")
    per_image = (found.numbers["need_bytes"] - small.numbers["need_bytes"]) / (10**8 - 50)
    # The activations that a step keeps: at least the first layer's 24 x 31 x 31 floats, at most a few of each.
    assert 24 * 31 * 31 * 4 < per_image < 5e6
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    assert check_disk_need(subject).entry == "disk-full"


def test_what_a_step_keeps_is_counted_exactly():
    """A linear layer keeps its input, cross-entropy its log-probabilities and labels."""
    layer = torch.nn.Linear(100, 10, bias=False)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, pixel_values):
            return {"logits": self.layer(pixel_values)}

    args = TrainingArguments(output_dir="unused", use_cpu=True)
    trial = Trial(Network(), torch.optim.SGD(layer.parameters(), lr=0.1), args)
    kept = [
        measure_kept(trial, {"pixel_values": torch.zeros(count, 100), "labels": torch.zeros(count, dtype=torch.int64)})
        for count in (4, 8)
    ]
    assert kept == [pytest.approx(4 * count * (100 + 10 + 2), abs=4 * count * 3) for count in (4, 8)]


def test_a_finished_run_in_the_way_is_a_warning(subject):
    assert check_run_target(subject).status == "ok"
    folder = Path(subject.args.output_dir)
    folder.mkdir()
    (folder / "results.json").write_text("{}")
    found = check_run_target(subject)
    assert (found.status, found.entry) == ("warn", "finished-run")
