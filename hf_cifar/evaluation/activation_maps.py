"""Owns where a model looks: Grad-CAM on the last hidden state that still has places."""

import torch
from torch.nn import functional
from transformers import PreTrainedModel


def compute_activation_maps(model: PreTrainedModel, pixel_values: torch.Tensor) -> torch.Tensor | None:
    """How much each place speaks for the predicted class.

    The gradient of that class's logit weighs the channels of a hidden state, and what is negative counts as 0. The
    state is the last whose places matter one by one: a ViT's last layer passes on its class token alone, so there it
    is the one before. Tokens are put back on their grid.
    Source: Selvaraju et al. 2017, Grad-CAM, ICCV.

    Args:
        model: an image classifier that gives hidden states: CNNs (B, C, h, w), transformers (B, tokens, C).
        pixel_values: (B, 3, H, W), on the model's device.

    Returns:
        float32 (B, H, W), each from 0 to 1, 0 throughout where nothing speaks for the class; None for a model
        without such a state.
    """
    model.eval()
    with torch.enable_grad():
        pixel_values = pixel_values.detach().requires_grad_(True)
        try:
            outputs = model(pixel_values=pixel_values, output_hidden_states=True)
        except (TypeError, ValueError, NotImplementedError):  # the architecture has none
            return None
        states = [state for state in outputs.hidden_states or () if state.requires_grad]
        score = outputs.logits.float().max(1).values.sum()
        gradients = torch.autograd.grad(score, states, allow_unused=True) if states else ()
    for state, gradient in zip(reversed(states), reversed(gradients), strict=True):
        if gradient is None:
            continue
        planes, weights = to_planes(state), to_planes(gradient)
        if planes is None or planes.shape[-1] < 2 or not has_places(weights):
            continue
        maps = functional.relu((planes * weights.mean((2, 3), keepdim=True)).sum(1, keepdim=True)).detach().float()
        maps = functional.interpolate(maps, size=pixel_values.shape[-2:], mode="bilinear")[:, 0]
        return maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
    return None


def to_planes(state: torch.Tensor) -> torch.Tensor | None:
    """A hidden state as (B, C, h, w): tokens on their square grid, without class tokens; None for any other shape."""
    if state.ndim == 4:
        return state if state.shape[-1] == state.shape[-2] else state.permute(0, 3, 1, 2)  # (B, h, w, C) in some
    if state.ndim != 3:
        return None
    side = int(state.shape[1] ** 0.5)
    return state[:, state.shape[1] - side * side :].transpose(1, 2).unflatten(2, (side, side))


def has_places(gradient: torch.Tensor) -> bool:
    """Whether the class's logit depends on more than one place of each channel."""
    return bool(((gradient != 0).flatten(2).sum(-1) > 1).any())
