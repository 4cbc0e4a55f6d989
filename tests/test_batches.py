"""Batches are keyed: the same for any workers, processes and resumes; different for every epoch and seed."""

import pickle

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader

from hf_cifar.arguments import AugmentationArguments
from hf_cifar.data.batches import ImageBatches, KeyedSampler, TensorBatches
from hf_cifar.data.transforms import ImageTransform, Preprocessing, collate_whole_batch

SIZE, BATCH = 60, 12
EVERYTHING = AugmentationArguments(
    augmentation="strong", random_resized_crop=0.3, color_jitter=0.4, cutout=8, random_erasing=0.5
)
augmentations = st.builds(
    AugmentationArguments,
    flip=st.sampled_from(["none", "random", "alternating"]),
    translate=st.sampled_from([0, 0.125, 3]),
    padding_mode=st.sampled_from(["reflect", "zeros"]),
    random_resized_crop=st.sampled_from([0, 0.3]),
    auto_augment=st.sampled_from(["none", "randaugment", "trivialaugment"]),
    color_jitter=st.sampled_from([0, 0.4]),
    cutout=st.sampled_from([0, 8]),
    random_erasing=st.sampled_from([0, 0.5]),
    mixup=st.sampled_from([0, 0.2]),
    cutmix=st.sampled_from([0, 1.0]),
)


def make_batches(data, augmentation, seed: int = 0, device=None) -> ImageBatches:
    return ImageBatches(data.train.select(range(SIZE)), ImageTransform(Preprocessing(), augmentation, seed), device)


def read_epochs(dataset, epochs, num_workers: int = 0, persistent: bool = False, seed: int = 0) -> list[dict]:
    """Every batch of each epoch, through a DataLoader as the Trainer makes it."""
    sampler = KeyedSampler(len(dataset), seed)
    loader = DataLoader(
        dataset, batch_size=BATCH, sampler=sampler, collate_fn=collate_whole_batch,
        num_workers=num_workers, persistent_workers=persistent,
    )  # fmt: skip
    batches = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


def are_equal(first: list[dict], second: list[dict]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one[name], other[name])
        for one, other in zip(first, second, strict=True)
        for name in ("pixel_values", "labels")
    )


@pytest.mark.parametrize(("num_workers", "persistent"), [(1, False), (4, False), (4, True)])
def test_workers_give_what_one_process_gives(data, num_workers, persistent):
    dataset = make_batches(data, EVERYTHING)
    assert are_equal(read_epochs(dataset, (0, 1)), read_epochs(dataset, (0, 1), num_workers, persistent))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(augmentation=augmentations, seed=st.integers(0, 2**31), epoch=st.integers(0, 500))
def test_a_batch_is_the_same_however_it_is_fetched(data, augmentation, seed, epoch):
    dataset = make_batches(data, augmentation, seed)
    whole = read_epochs(dataset, [epoch], seed=seed)
    # Images held on a device.
    assert are_equal(whole, read_epochs(make_batches(data, augmentation, seed, "cpu"), [epoch], seed=seed))
    # After a resume, which skips the batches that are done without reading them.
    sampler = KeyedSampler(SIZE, seed)
    sampler.set_epoch(epoch)
    keys = list(BatchSampler(sampler, BATCH, drop_last=False))
    assert are_equal(whole[2:], [make_batches(data, augmentation, seed).__getitems__(each) for each in keys[2:]])
    # Two processes of half the batch see the same global batches.
    shards = [
        list(BatchSamplerShard(BatchSampler(sampler, BATCH // 2, drop_last=False), 2, rank)) for rank in range(2)
    ]
    for batch, *halves in zip(whole, *shards, strict=True):
        parts = [dataset.__getitems__(half) for half in halves]
        assert are_equal([batch], [{name: torch.cat([part[name] for part in parts]) for name in batch}])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.tuples(st.integers(0, 50), st.integers(0, 50)), second=st.tuples(st.integers(0, 50), st.integers(0, 50))
)
def test_other_epochs_and_seeds_give_other_batches(data, first, second):
    rows = torch.arange(SIZE)
    one, other = (
        make_batches(data, AugmentationArguments(flip="random", translate=4), seed).fetch(rows, epoch)
        for seed, epoch in (first, second)
    )
    assert torch.equal(one["pixel_values"], other["pixel_values"]) == (first == second)
    orders = []
    for seed, epoch in (first, second):
        sampler = KeyedSampler(SIZE, seed)
        sampler.set_epoch(epoch)
        orders.append([key % SIZE for key in sampler])
    assert (orders[0] == orders[1]) == (first == second)


def test_seed_0_epoch_1_is_not_seed_1_epoch_0(data):
    rows = torch.arange(SIZE)
    for name, value in (
        ("flip", "random"), ("translate", 4), ("random_resized_crop", 0.3), ("auto_augment", "trivialaugment"),
        ("color_jitter", 0.4), ("cutout", 8), ("random_erasing", 0.9), ("mixup", 0.4), ("cutmix", 1.0),
    ):  # fmt: skip
        augmentation = AugmentationArguments(**{name: value})
        one = make_batches(data, augmentation, seed=0).fetch(rows, 1)["pixel_values"]
        other = make_batches(data, augmentation, seed=1).fetch(rows, 0)["pixel_values"]
        assert not torch.equal(one, other), name


@pytest.mark.parametrize("rows", [range(SIZE), [5, 3, 59]])
def test_batches_are_those_of_with_transform(data, rows):
    """ImageBatches gathers the pixels itself; the transform is the same one that `datasets` calls."""
    augmentation = AugmentationArguments(augmentation="standard", random_erasing=0.5)
    table = data.train.select([*range(400, 400 + SIZE)])
    transform = ImageTransform(Preprocessing(), augmentation, seed=3)
    transform.epoch = 2
    expected = table.with_transform(transform)[list(rows)]
    batch = ImageBatches(table, ImageTransform(Preprocessing(), augmentation, seed=3)).fetch(
        torch.tensor(list(rows)), 2
    )
    assert are_equal([batch], [expected])


def test_a_spawned_worker_gets_no_pixels(data):
    dataset = make_batches(data, EVERYTHING)
    packed = pickle.dumps(dataset)
    assert len(packed) < 100_000
    assert are_equal([pickle.loads(packed).fetch(torch.tensor([3, 1]), 1)], [dataset.fetch(torch.tensor([3, 1]), 1)])


def test_a_plain_row_number_is_the_key_of_epoch_0(data):
    dataset = make_batches(data, AugmentationArguments(flip="random", translate=4))
    later = dataset.__getitems__([5 + 3 * len(dataset)])["pixel_values"]
    first = dataset.__getitems__([5])["pixel_values"]
    assert not torch.equal(later, first)
    assert torch.equal(dataset[5]["pixel_values"], first[0])


def test_mixed_labels_are_of_the_image_and_its_partner(data):
    plain = make_batches(data, AugmentationArguments()).fetch(torch.arange(SIZE), 0)["labels"]
    labels = make_batches(data, AugmentationArguments(mixup=1.0)).fetch(torch.arange(SIZE), 0)["labels"]
    assert labels.shape == (SIZE, 10) and (labels > 0).sum(1).max() == 2
    assert (labels[torch.arange(SIZE), plain] > 0).all()


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_images_on_a_gpu_are_transformed_alike(data):
    rows = torch.arange(SIZE)
    one, other = (make_batches(data, EVERYTHING, device=device).fetch(rows, 3) for device in ("cpu", "cuda"))
    assert other["pixel_values"].is_cuda
    torch.testing.assert_close(other["labels"].cpu(), one["labels"])
    difference = (other["pixel_values"].cpu() - one["pixel_values"]).abs()
    assert difference.mean() < 0.01  # rounding moves a few pixels by one step of 255
