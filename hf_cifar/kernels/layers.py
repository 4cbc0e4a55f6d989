"""Owns which layers of a model train by the kernels of this folder."""

from functools import partial

import torch
from torch import nn

from ..hardware import read_cpu_flags
from ..models.modeling_cifar_cnn import CifarCnnConvolution
from .compiler import load_library
from .convolution import restore as restore_convolutions
from .convolution import use_winograd
from .depthwise import restore as restore_depthwise
from .depthwise import use_depthwise
from .instances import restore_forward
from .normalization import pool_normalize_activate


def use_kernels(model: nn.Module) -> list[str]:
    """Let a model train by the kernels of this folder where the machine has what they need; `restore` undoes it.

    A CifarCnn's convolutions can, with what lies between them, and any model's depthwise ones. Only `forward` of
    instances changes, and it falls back to the class's own wherever a kernel does not apply: in evaluation, in other
    precisions than bfloat16, on a GPU.

    Returns:
        The kernels' names; none where the machine cannot run them.
    """
    names = []
    layers = [module for module in model.modules() if is_fitting(module)]
    is_cifar_cnn = any(isinstance(module, CifarCnnConvolution) for module in model.modules())
    # AMX multiplies matrices several times faster than AVX512 does: fewer multiplications are not expected to pay.
    if is_cifar_cnn and "amx_bf16" not in read_cpu_flags() and use_winograd(model):
        names.append("winograd")
    if layers and load_library("normalization") is not None:
        names.append("normalization")
        for layer in layers:
            layer.forward = partial(run_layer, layer)
    if use_depthwise(model):
        names.append("depthwise")
    return names


def restore(model: nn.Module) -> None:
    """Undo `use_kernels`."""
    restore_convolutions(model)
    restore_depthwise(model)
    restore_forward(model, run_layer)


def is_fitting(module: nn.Module) -> bool:
    """Whether a module is a CifarCnn's convolution with batch normalisation and the exact GELU."""
    return (
        isinstance(module, CifarCnnConvolution)
        and isinstance(module.normalization, nn.BatchNorm2d)
        and isinstance(module.activation, nn.GELU)
        and module.activation.approximate == "none"
    )


def run_layer(
    layer: CifarCnnConvolution, hidden_state: torch.Tensor, shortcut: torch.Tensor | None = None
) -> torch.Tensor:
    """`CifarCnnConvolution.forward`, fused after the convolution where the kernel applies."""
    if shortcut is not None or not torch.is_grad_enabled() or not layer.training:
        return CifarCnnConvolution.forward(layer, hidden_state, shortcut)
    hidden_state = layer.convolution(hidden_state)
    return pool_normalize_activate(hidden_state, layer.normalization, pool=not isinstance(layer.pooling, nn.Identity))
