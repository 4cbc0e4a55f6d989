"""Buffers are the same on every rank before evaluation."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from transformers import TrainerControl

from hf_cifar.training.callbacks import BroadcastBuffers, Stopwatch


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)  # another thread would wait for its like in the process that this one was forked from
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(rank)
    results = []
    for event, control in (
        ("on_step_end", TrainerControl()),
        ("on_step_end", TrainerControl(should_evaluate=True)),
        ("on_epoch_end", TrainerControl()),
    ):
        network = nn.BatchNorm2d(3)
        network(torch.randn(8, 3, 4, 4))  # each rank sees its own images
        getattr(BroadcastBuffers(), event)(None, None, control, model=network)
        results.append(network.running_mean.clone())
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_ranks_agree_exactly_when_they_evaluate_or_save(tmp_path):
    mp.start_processes(run_rank, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [False, True, True]


def test_one_process_needs_nothing():
    network = nn.BatchNorm2d(3)
    BroadcastBuffers().on_epoch_end(None, None, TrainerControl(), model=network)
    assert torch.equal(network.running_mean, torch.zeros(3))


def test_the_stopwatch_goes_on_from_a_checkpoint():
    watch = Stopwatch.from_state({"args": {}, "attributes": {"seconds_before": 100.0}})
    assert watch.seconds == 100
    watch.on_train_begin(None, None, None)
    assert 100 < watch.seconds < 101 and watch.state()["attributes"]["seconds_before"] > 100
