"""Owns what a network looks at: Grad-CAM for any architecture that can be split into stages, and its first filters."""

import math

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import UserError
from ..models.stages import find_stages

SMALLEST_GRID = 4  # cells a side; a coarser map says nothing, and an earlier stage's is taken
MAX_PREFIX = 8  # tokens that are no patches: class, distillation, registers


def compute_activation_maps(
    model: PreTrainedModel, pixel_values: torch.Tensor, targets: torch.Tensor | None = None
) -> tuple[np.ndarray, str]:
    """Grad-CAM: where the features of a late stage speak for a class.

    The layer is the last stage (see `find_stages`) whose output is a grid of at least 4 x 4 cells that the class score
    depends on. So of a ViT that classifies by its class token it is the last but one: what its last layer makes of the
    patches goes nowhere. Tokens are put back on their grid.
    Source: Selvaraju et al. 2017, Grad-CAM, ICCV.

    Args:
        model: an image classifier, in evaluation mode.
        pixel_values: float (B, 3, H, W), preprocessed, H = W.
        targets: class numbers (B,); None for the predicted ones.

    Returns:
        float32 (B, h, w), 0 to 1 (each image's highest, unless all are 0), and the layer's name.

    Raises:
        UserError: The model has no stages, or none whose output can be laid on a grid.
    """
    outputs, hooks = {}, []
    for name, module in find_stage_modules(model).items():

        def keep(module: nn.Module, inputs: tuple, output: object, name: str = name) -> None:
            outputs[name] = output[0] if isinstance(output, (tuple, list)) else output

        hooks.append(module.register_forward_hook(keep))
    try:
        with torch.enable_grad():
            logits = model(pixel_values=pixel_values.detach().requires_grad_()).logits
    finally:
        for hook in hooks:
            hook.remove()
    targets = logits.argmax(1) if targets is None else targets
    names = [name for name, value in reversed(outputs.items()) if get_grid(value) is not None]
    values = [outputs[name] for name in names]
    score = logits.gather(1, targets[:, None]).sum()
    gradients = torch.autograd.grad(score, values, allow_unused=True) if values else []
    found = None
    for name, value, gradient in zip(names, values, gradients, strict=True):
        gradient = None if gradient is None else get_grid(gradient)
        if gradient is None or not gradient.any():
            continue
        if found is None or found[0].shape[-1] < SMALLEST_GRID:
            weights = gradient.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
            found = (weights * get_grid(value)).sum(1).relu().detach(), name  # (B, h, w)
    if found is None:
        raise UserError(f"no stage of {type(model).__name__} gives a grid that activation maps could be drawn from")
    maps, name = found
    highest = maps.amax((1, 2), keepdim=True)
    return (maps / torch.where(highest > 0, highest, 1)).float().cpu().numpy(), name


def find_stage_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """By name, from the input on, the largest module of each stage but the classifier.

    Raises:
        UserError: See `find_stages`.
    """
    chosen = {}
    owned = {name: {id(each) for each in module.parameters()} for name, module in model.named_modules()}
    sizes = {name: sum(each.numel() for each in model.get_submodule(name).parameters()) for name in owned}
    for stage in find_stages(model)[:-1]:
        own = {id(model.get_parameter(name)) for name in stage}
        inside = [name for name, ids in owned.items() if ids and ids <= own]
        if inside:
            name = max(inside, key=sizes.get)
            chosen[name] = model.get_submodule(name)
    return chosen


def get_grid(values: object) -> torch.Tensor | None:
    """A layer's output as (B, C, h, w); None where it is no square grid of more than one cell.

    Args:
        values: (B, C, H, W), (B, H, W, C) or tokens (B, T, C), the patches' last.
    """
    if not isinstance(values, torch.Tensor) or values.ndim not in (3, 4):
        return None
    if values.ndim == 3:
        side = math.isqrt(values.shape[1])
        prefix = values.shape[1] - side**2
        if prefix > MAX_PREFIX:
            return None
        values = values[:, prefix:].transpose(1, 2).unflatten(2, (side, side))
    elif values.shape[1] == values.shape[2] != values.shape[3]:
        values = values.permute(0, 3, 1, 2)
    return values if values.shape[2] == values.shape[3] > 1 else None


def get_first_filters(model: nn.Module) -> np.ndarray | None:
    """Weights of the first convolution that reads RGB: float32 (n, k, k, 3); None where there is none."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
            return module.weight.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    return None
