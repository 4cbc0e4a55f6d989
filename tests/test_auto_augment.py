"""RandAugment and TrivialAugment against torchvision's classes, operation by operation."""

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode, RandAugment, TrivialAugmentWide

from hf_cifar.data.auto_augment import BINS, OPERATIONS, SIGNED, auto_augment, get_magnitude
from hf_cifar.data.store import read_images

POLICIES = {"randaugment": RandAugment(), "trivialaugment": TrivialAugmentWide()}


@pytest.fixture(scope="module")
def images(data) -> torch.Tensor:
    """Photographs, uint8 (60, 3, 32, 32), channels last in memory as training has them."""
    return torch.from_numpy(read_images(data.train)[:60].copy()).permute(0, 3, 1, 2)


@pytest.mark.parametrize("policy", POLICIES)
def test_operations_and_magnitudes_are_torchvisions(policy):
    space = POLICIES[policy]._AUGMENTATION_SPACE
    assert set(space) == set(OPERATIONS)
    assert {name for name, (_, signed) in space.items() if signed} == SIGNED
    for name, (magnitudes, _) in space.items():
        expected = magnitudes(BINS, 32, 32)
        if expected is not None:
            ours = torch.tensor([float(get_magnitude(policy, name, level, 32)) for level in range(BINS)])
            torch.testing.assert_close(ours, expected.float(), msg=name)


@pytest.mark.parametrize("level", [0, 9, 30])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_batch_gets_what_torchvision_gives_each_image(images, name, level):
    magnitude = get_magnitude("trivialaugment", name, level, 32)
    for signed in (magnitude, -magnitude) if name in SIGNED else (magnitude,):
        results = OPERATIONS[name](images[:8].contiguous(), signed)
        for image, result in zip(images, results, strict=False):
            expected = POLICIES["trivialaugment"]._apply_image_or_video_transform(
                image.contiguous(), name, signed, interpolation=InterpolationMode.NEAREST, fill={torch.Tensor: None}
            )
            assert torch.equal(result, expected)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_an_image_gets_does_not_depend_on_the_batch(images, policy):
    indices = torch.arange(60) * 7
    together = auto_augment(images, indices, policy, 2, 9, 0, 3)
    for row in (0, 17, 59):
        alone = auto_augment(images[[row]], indices[[row]], policy, 2, 9, 0, 3)[0]
        assert torch.equal(alone, together[row])
    assert not torch.equal(together, auto_augment(images, indices, policy, 2, 9, 0, 4))


def test_every_operation_is_drawn_about_equally_often(images, monkeypatch):
    counts = dict.fromkeys(OPERATIONS, 0)

    def count(name):
        def apply(batch, magnitude):
            counts[name] += len(batch)
            return batch

        return apply

    for name in counts:
        monkeypatch.setitem(OPERATIONS, name, count(name))
    indices = torch.arange(14_000)
    auto_augment(images[:1].expand(14_000, -1, -1, -1), indices, "trivialaugment", 1, 0, 0, 0)
    drawn = [number for name, number in counts.items() if name != "Identity"]
    assert 850 < min(drawn) and max(drawn) < 1150
