"""The transform: what a model gets is what its saved image processor would give; draws are keyed."""

import pytest
import torch

from hf_cifar.arguments import AugmentationArguments
from hf_cifar.data.store import read_images
from hf_cifar.data.transforms import (
    ImageTransform,
    Preprocessing,
    check_augmentation,
    to_pixels,
)
from hf_cifar.errors import UserError
from hf_cifar.models.image_processors import build_image_processor


def get_rows(table, rows) -> dict[str, list]:
    return table.with_format(None)[rows]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, 48, 96])
def test_it_matches_the_image_processor_that_is_saved(data, size, interpolation):
    preprocessing = Preprocessing(size, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), interpolation)
    batch = ImageTransform(preprocessing)(get_rows(data.train, [3, 1, 4, 1]))
    images = torch.from_numpy(read_images(data.train)[[3, 1, 4, 1]]).permute(0, 3, 1, 2)
    expected = build_image_processor(preprocessing)(images=images, return_tensors="pt")["pixel_values"]
    assert batch["pixel_values"].shape == (4, 3, size, size)
    assert batch["labels"].tolist() == [data.train[row]["label"] for row in (3, 1, 4, 1)]
    torch.testing.assert_close(batch["pixel_values"], expected, atol=2e-6, rtol=1e-5)


def test_draws_do_not_depend_on_batch_or_order(data):
    transform = ImageTransform(Preprocessing(), AugmentationArguments(flip="random", translate=4), seed=3)
    transform.epoch = 5
    together = transform(get_rows(data.train, list(range(64))))["pixel_values"]
    alone = transform(get_rows(data.train, [40, 7]))["pixel_values"]
    assert torch.equal(alone, together[[40, 7]])


def test_epoch_and_seed_change_the_draws(data):
    rows = get_rows(data.train, list(range(32)))
    results = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        transform = ImageTransform(Preprocessing(), AugmentationArguments(flip="random", translate=4), seed)
        transform.epoch = epoch
        results.append(transform(rows)["pixel_values"])
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


def test_alternating_flip_mirrors_every_image_every_other_epoch(data):
    rows = get_rows(data.train, list(range(100)))
    transform = ImageTransform(Preprocessing(), AugmentationArguments(flip="alternating"))
    epochs = []
    for transform.epoch in range(3):
        epochs.append(transform(rows)["pixel_values"])
    assert torch.equal(epochs[1], epochs[0].flip(-1)) and torch.equal(epochs[2], epochs[0])
    plain = ImageTransform(Preprocessing())(rows)["pixel_values"]
    assert 25 < (epochs[0] != plain).flatten(1).any(1).sum() < 75  # about half start mirrored


def test_without_options_nothing_is_augmented(data):
    rows = get_rows(data.train, [0, 1])
    transform = ImageTransform(Preprocessing())
    first = transform(rows)["pixel_values"]
    transform.epoch = 9
    assert torch.equal(transform(rows)["pixel_values"], first)


@pytest.mark.parametrize(
    ("options", "head_only", "message"),
    [
        ({"translate": 32}, False, "translate=32 pixels is out of range; allowed: 0 to 31"),
        ({"cutout": 33}, False, "cutout=33 pixels is out of range; allowed: 0 to 32"),
        (
            {"flip": "random"},
            True,
            "finetune=head.*augmentation would be ignored; leave it out, or use finetune: full",
        ),
    ],
)
def test_augmentation_that_does_not_fit_is_refused(options, head_only, message):
    with pytest.raises(UserError, match=message):
        check_augmentation(AugmentationArguments(**options), 32, head_only)


def test_shares_are_of_the_stored_size():
    assert [to_pixels(length, 32) for length in (0, 0.125, 4, 1)] == [0, 4, 4, 1]


def test_a_crop_goes_straight_to_the_models_size(data):
    transform = ImageTransform(Preprocessing(48), AugmentationArguments(random_resized_crop=0.3))
    images = torch.from_numpy(read_images(data.train)[:4].copy()).permute(0, 3, 1, 2)
    assert transform.augment(images, torch.arange(4)).shape == (4, 3, 48, 48)


@pytest.mark.parametrize("name", ["cutout", "random_erasing"])
def test_what_is_erased_has_the_mean_colour(data, name):
    transform = ImageTransform(Preprocessing(), AugmentationArguments(**{name: 1.0}))
    pixels = transform(get_rows(data.train, [0, 1, 2]))["pixel_values"]
    assert (pixels.abs() < 0.01).all(1).flatten(1).any(1).all()
