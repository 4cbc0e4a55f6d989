"""Owns training's depthwise convolutions in bfloat16 on CPUs with AVX512-BF16."""

import ctypes
from functools import partial

import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .compiler import load_library
from .instances import restore_forward

# Where it pays. oneDNN's gradients fall off a cliff: of the input at stride 2, of the weight at 5 x 5 and larger.
# Milliseconds of 32 images, forward + input gradient + weight gradient, PyTorch in bfloat16 | in float32 | this, one
# core of an AMD EPYC (Zen 4) beside other work, 2026-11-25:
#   3 x 3, stride 2,  96 channels at 64 x 64: 3.6 + 102 + 5.5 | 6.6 + 7.3 + 7.1 | 3.5 + 4.1 + 3.7
#   3 x 3, stride 1, 144 channels at 32 x 32: 2.6 + 2.9 + 6.4 | 5.0 + 5.4 + 6.4 | 3.3 + 3.1 + 4.2: left to PyTorch
#   5 x 5, stride 2, 144 channels at 32 x 32: 2.0 + 110 + 68  | 3.2 + 3.9 + 12  | 2.4 + 2.0 + 2.7
#   5 x 5, stride 1, 672 channels at 8 x 8:   0.8 + 1.7 + 54  | 1.4 + 2.8 + 13  | 1.0 + 0.8 + 0.8
#   7 x 7, stride 1,  96 channels at 32 x 32: 3.5 + 5.7 + 80  | 5.7 + 7.2 + 46  | 3.0 + 3.0 + 3.4
PAYS = {(3, 2), (5, 1), (5, 2), (7, 1), (7, 2)}  # kernel size, stride


def use_depthwise(model: nn.Module) -> int:
    """Let a model's fitting depthwise convolutions train by depthwise.c; `restore` undoes it.

    Classes, parameters and what is saved stay as they are: only the instances' `forward` changes, and it falls back
    to the class's own in evaluation, without bfloat16 autocast and on other devices.

    Returns:
        How many convolutions can; 0 where the machine cannot.
    """
    restore(model)
    modules = [module for module in model.modules() if is_fitting(module)]
    if not modules or load_library("depthwise") is None:
        return 0
    for module in modules:
        module.forward = partial(convolve_in_training, module)
    return len(modules)


def restore(model: nn.Module) -> None:
    """Undo `use_depthwise`."""
    restore_forward(model, convolve_in_training)


def is_fitting(module: nn.Module) -> bool:
    """Whether a module is a depthwise convolution of a shape that pays, of PyTorch or timm's TensorFlow-like one."""
    return (
        type(module) in (nn.Conv2d, Conv2dSame)  # another subclass may compute something else
        and "forward" not in module.__dict__  # somebody else's
        and module.groups == module.in_channels == module.out_channels
        and module.kernel_size[0] == module.kernel_size[1]
        and module.stride[0] == module.stride[1]
        and (module.kernel_size[0], module.stride[0]) in PAYS
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and (isinstance(module.padding, str) or max(module.padding) < module.kernel_size[0])
    )


def convolve_in_training(module: nn.Conv2d, pixel_values: torch.Tensor) -> torch.Tensor:
    """`module.forward`: by depthwise.c where it applies, else the class's own."""
    weight, bias = module.weight, module.bias
    applies = (
        module.training
        and torch.is_grad_enabled()
        and (pixel_values.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad))
        and pixel_values.device.type == weight.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and pixel_values.dim() == 4
        and pixel_values.is_floating_point()
        and pixel_values.shape[1] == module.in_channels
        and not torch.compiler.is_compiling()
    )
    corner, size = find_window(module, *pixel_values.shape[2:]) if applies else ((0, 0), (0, 0))
    if pixel_values.numel() == 0 or min(size) < 1:
        return type(module).forward(module, pixel_values)
    return DepthwiseConvolution.apply(pixel_values.to(torch.bfloat16), weight, bias, module.stride[0], corner, size)


def find_window(module: nn.Conv2d, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros above and left of an image of this size, and the output's height and width."""
    kernel, stride = module.kernel_size[0], module.stride[0]
    if type(module) is Conv2dSame:
        size = (-(-height // stride), -(-width // stride))
        total = [max((out - 1) * stride + kernel - each, 0) for out, each in zip(size, (height, width), strict=True)]
        return (total[0] // 2, total[1] // 2), size
    named = {"same": (kernel // 2, kernel // 2), "valid": (0, 0)}
    padding = named[module.padding] if isinstance(module.padding, str) else module.padding
    top, left = padding
    return padding, ((height + 2 * top - kernel) // stride + 1, (width + 2 * left - kernel) // stride + 1)


class DepthwiseConvolution(torch.autograd.Function):
    """A depthwise convolution of x (B, C, H, W) bfloat16 with weight (C, 1, K, K) and bias (C,), or None.

    `corner` is how many zeros stand above and left of an image; below and right are as many as the output's `size`
    asks for. Returns (B, C, *size) bfloat16 in channels_last.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: int,
        corner: tuple[int, int],
        size: tuple[int, int],
    ) -> torch.Tensor:
        """Save only what the caller holds anyway."""
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight, bias)
        ctx.window = stride, corner
        return correlate(x, weight, bias, stride, corner, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of x in bfloat16, of the weight and the bias in their own dtypes."""
        x, weight, bias = ctx.saved_tensors
        gradient = gradient.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        x_gradient = weight_gradient = bias_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = correlate(gradient, weight, None, *ctx.window, x.shape[2:], transposed=True)
        if any(ctx.needs_input_grad[1:3]):
            sums = compute_weight_gradient(x, gradient, weight.shape[-1], *ctx.window)
            weight_gradient = sums[0].to(weight.dtype) if ctx.needs_input_grad[1] else None
            bias_gradient = sums[1].to(bias.dtype) if ctx.needs_input_grad[2] else None
        return x_gradient, weight_gradient, bias_gradient, None, None, None


def correlate(
    source: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: int,
    corner: tuple[int, int],
    size: tuple[int, int],
    transposed: bool = False,
) -> torch.Tensor:
    """The convolution, its operands in bfloat16; transposed, the gradient of an input of `size` from the output's."""
    batch, channels, height, width = source.shape
    weight = weight.detach().float().contiguous()  # (C, 1, K, K)
    bias = None if bias is None else bias.detach().float().contiguous()
    target = torch.empty(batch, channels, *size, dtype=torch.bfloat16, memory_format=torch.channels_last)
    sizes = (batch, channels, weight.shape[-1], stride, *corner, height, width, *size)
    _call("depthwise_correlate", (source, weight, bias, target), sizes, ctypes.c_int(transposed))
    return target


def compute_weight_gradient(
    x: torch.Tensor, gradient: torch.Tensor, kernel: int, stride: int, corner: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the weight (C, 1, K, K) and the bias (C,) in float32, from x and the output's gradient."""
    batch, channels, height, width = x.shape
    weight_gradient, bias_gradient = torch.empty(channels, 1, kernel, kernel), torch.empty(channels)
    sizes = (batch, channels, kernel, stride, *corner, height, width, *gradient.shape[2:])
    _call("depthwise_weight_gradient", (x, gradient, weight_gradient, bias_gradient), sizes)
    return weight_gradient, bias_gradient


def _call(name: str, tensors: tuple[torch.Tensor | None, ...], sizes: tuple[int, ...], *flags: ctypes.c_int) -> None:
    pointers = [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]
    function = getattr(load_library("depthwise"), name)
    function(*pointers, *map(ctypes.c_long, sizes), *flags, ctypes.c_int(torch.get_num_threads()))
