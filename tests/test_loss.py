"""The loss against torch's, and under accumulation."""

import torch
from torch.nn import functional

from hf_cifar.training.loss import build_loss

LOGITS, LABELS = torch.randn(12, 10, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 10


def test_it_is_torchs_cross_entropy_with_smoothing():
    for smoothing in (0.0, 0.2):
        expected = functional.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
        assert torch.equal(build_loss(smoothing)({"logits": LOGITS}, LABELS), expected)


def test_parts_of_an_accumulated_batch_add_up_to_the_whole():
    loss = build_loss(0.1)
    parts = sum(loss({"logits": LOGITS[part]}, LABELS[part], 12) for part in (slice(0, 5), slice(5, 12)))
    torch.testing.assert_close(parts, loss({"logits": LOGITS}, LABELS))


def test_soft_labels_count_once_per_image():
    """The Trainer counts every entry of the labels, K per image."""
    soft = functional.one_hot(LABELS, 10).float()
    loss = build_loss(0.1)
    torch.testing.assert_close(loss({"logits": LOGITS}, soft), loss({"logits": LOGITS}, LABELS))
    parts = sum(loss({"logits": LOGITS[part]}, soft[part], 120) for part in (slice(0, 5), slice(5, 12)))
    torch.testing.assert_close(parts, loss({"logits": LOGITS}, LABELS))


def test_half_precision_logits_are_summed_in_float32():
    assert build_loss()({"logits": LOGITS.bfloat16()}, LABELS, 12).dtype == torch.float32
