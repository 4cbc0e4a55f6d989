"""Batches and keys: the epoch reaches the transform in every way that a DataLoader fetches."""

import pytest
import torch
from torch.utils.data import DataLoader

from hf_cifar.data.batches import ImageBatches, KeyedSampler, TensorBatches
from hf_cifar.data.transforms import ImageTransform, Preprocessing, collate_whole_batch


def make_loader(data, num_workers: int) -> tuple[DataLoader, KeyedSampler]:
    dataset = ImageBatches(data.train.select(range(64)), ImageTransform(Preprocessing(), "random", 4))
    sampler = KeyedSampler(len(dataset), seed=0)
    loader = DataLoader(
        dataset, batch_size=16, sampler=sampler, collate_fn=collate_whole_batch,
        num_workers=num_workers, persistent_workers=num_workers > 0,
    )  # fmt: skip
    return loader, sampler


def read_epochs(data, num_workers: int) -> list[torch.Tensor]:
    loader, sampler = make_loader(data, num_workers)
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        epochs.append(torch.cat([batch["pixel_values"] for batch in loader]))
    return epochs


def test_persistent_workers_see_the_same_epochs_as_one_process(data):
    alone, workers = read_epochs(data, 0), read_epochs(data, 2)
    assert all(torch.equal(first, second) for first, second in zip(alone, workers, strict=True))
    assert not torch.equal(alone[0], alone[1])


def test_a_plain_row_number_is_the_key_of_epoch_0(data):
    dataset = ImageBatches(data.train, ImageTransform(Preprocessing(), "random", 4))
    later = dataset.__getitems__([5 + 3 * len(dataset)])["pixel_values"]
    first = dataset.__getitems__([5])["pixel_values"]
    assert not torch.equal(later, first)
    assert torch.equal(dataset[5]["pixel_values"], first[0])


def test_the_sampler_draws_nothing_from_global_state():
    sampler = KeyedSampler(50, seed=1)
    state = torch.random.get_rng_state()
    sampler.set_epoch(2)
    keys = list(sampler)
    assert torch.equal(state, torch.random.get_rng_state())
    assert sorted(keys) == list(range(100, 150)) and keys != sorted(keys)
    assert list(sampler) == keys


@pytest.mark.parametrize("key", [3, 13, 23])
def test_tensor_batches_are_the_same_in_every_epoch(key):
    dataset = TensorBatches(features=torch.arange(10.0), labels=torch.arange(10))
    assert dataset.__getitems__([key, key])["labels"].tolist() == [3, 3]
