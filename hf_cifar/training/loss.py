"""Owns the loss that the Trainer is given, right under label smoothing and gradient accumulation."""

from collections.abc import Callable

import torch
from torch.nn import functional


def build_loss(label_smoothing: float = 0.0) -> Callable[..., torch.Tensor]:
    """Cross-entropy for `Trainer(compute_loss_func=...)`, computed in float32.

    The sum over a micro-batch is divided by `num_items_in_batch`, the number of labels in the whole accumulated batch
    over all processes; so accumulation and several processes give the gradient of one large batch.
    The same smoothing is used in evaluation, which makes training and validation curves comparable.
    Labels are class numbers (B,), or for mixed images probabilities (B, K).
    """

    def compute_loss(
        outputs, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        logits = outputs["logits"].float()
        reduction = "mean" if num_items_in_batch is None else "sum"
        loss = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction=reduction)
        if num_items_in_batch is None:
            return loss
        # The Trainer counts every entry of soft labels: K per image.
        items_per_image = labels.shape[1] if labels.ndim == 2 else 1
        return loss * items_per_image / num_items_in_batch

    return compute_loss
