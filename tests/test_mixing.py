"""Mixup and cutmix: the published formulas, torchvision's boxes, labels that say what the image holds."""

from types import SimpleNamespace

import pytest
import torch
from torchvision.transforms.v2 import CutMix

from hf_cifar.data.mixing import find_boxes, mix_batch, mix_images

SIZE, CLASSES = 32, 5


def mix(mixup: float, cutmix: float, count: int = 64, *key: int) -> tuple[torch.Tensor, ...]:
    """Images of 0 with partners of 1, so that a pixel says where it came from; label 0 with label 1."""
    images, labels = torch.zeros(count, 3, SIZE, SIZE), torch.zeros(count, dtype=torch.int64)
    key = key or (0, 0)
    return mix_batch(images, images + 1, labels, labels + 1, CLASSES, torch.arange(count), mixup, cutmix, *key)


def test_mixup_blends_by_the_weight():
    images, partners = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    mixed = mix_images(images, partners, torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(mixed[0], 0.25 * images[0] + 0.75 * partners[0])
    torch.testing.assert_close(mixed[1], images[1])


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0), (0, 1.0), (0.4, 1.0)])
def test_labels_say_how_much_of_each_image_there_is(mixup, cutmix):
    mixed, labels = mix(mixup, cutmix)
    torch.testing.assert_close(labels.sum(1), torch.ones(64))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), labels[:, 1], atol=1e-5, rtol=1e-4)
    is_pasted = ((mixed == 0) | (mixed == 1)).all(1).flatten(1).all(1)
    assert is_pasted.float().mean() == (1 if not mixup else 0) or 0.25 < is_pasted.float().mean() < 0.75


@pytest.mark.parametrize(("weight", "y", "x"), [(0.5, 0, 31), (0.03, 16, 16), (0.97, 5, 9), (1.0, 3, 3)])
def test_boxes_are_torchvisions(monkeypatch, weight, y, x):
    cutmix = CutMix(alpha=1.0, num_classes=CLASSES)
    cutmix._dist = SimpleNamespace(sample=lambda shape: torch.tensor([weight]))
    centers = iter([x, y])
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: torch.tensor([next(centers)]))
    left, top, right, bottom = (expected := cutmix.make_params([torch.zeros(1, 3, SIZE, SIZE)]))["box"]
    boxes = find_boxes(torch.tensor([weight]), torch.tensor([y]), torch.tensor([x]), SIZE)
    assert boxes.tolist() == [[top, left, bottom - top, right - left]]
    assert 1 - boxes[0, 2] * boxes[0, 3] / SIZE**2 == pytest.approx(expected["lam_adjusted"])


def test_weights_are_drawn_from_the_beta_distribution():
    _, labels = mix(0.2, 0, 4000)
    weights = labels[:, 0]
    expected = torch.distributions.Beta(0.2, 0.2)
    assert weights.mean() == pytest.approx(0.5, abs=0.03)
    assert weights.var() == pytest.approx(float(expected.variance), abs=0.01)


def test_draws_are_keyed():
    together, labels = mix(0.4, 1.0)
    again, _ = mix(0.4, 1.0)
    other, _ = mix(0.4, 1.0, 64, 0, 1)
    assert torch.equal(together, again) and not torch.equal(together, other)
    half, _ = mix(0.4, 1.0, 32)
    assert torch.equal(half, together[:32])
