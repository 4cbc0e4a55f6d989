"""Owns training's 3 x 3 convolutions by Winograd's method, in bfloat16 on CPUs with AVX512-BF16."""

import ctypes
from collections.abc import Iterable
from functools import partial

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from .compiler import load_library
from .instances import restore_forward

# F(2x2, 3x3) of Lavin & Gray 2015 (arXiv:1509.09308): the weights' transform is G g G^T. The fifth row is of
# winograd.c's last tiles where height or width is odd.
_G = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
_POSITIONS = len(_G) ** 2
_ROWS = 6  # as in winograd.c

# Where it pays. Milliseconds of 250 images, forward + weight gradient (the data gradient is as the forward), PyTorch
# against this, one core of an AMD EPYC (Zen 4), 2026-11-24: 24 -> 64 channels at 31 x 31, 29 + 40 against 24 + 26;
# 64 -> 64 at 15 x 15, 17 + 24 against 13 + 14; 64 -> 256 at 15 x 15, 71 + 90 against 44 + 51; 256 -> 256 at 7 x 7,
# 54 + 72 against 35 + 44; 256 -> 256 at 3 x 3, 9 + 18 against 7 + 10.
MIN_SIZE = 3
MIN_PIXELS = 2000  # of a batch: transforming weights costs as much for one image as for thousands
MIN_CHANNELS = 24


def use_winograd(model: nn.Module) -> int:
    """Let a model's fitting convolutions train by Winograd's method; `restore` undoes it.

    Classes, parameters and what is saved stay as they are: only the instances' `forward` changes, and it falls back
    to the class's own in evaluation, without bfloat16 autocast, on other devices, and for images below `MIN_SIZE`
    or batches below `MIN_PIXELS`.

    Returns:
        How many convolutions can; 0 where the machine cannot.
    """
    modules = [module for module in model.modules() if is_fitting(module)]
    if not modules or load_library("winograd") is None:
        return 0
    for module in modules:
        module.forward = partial(convolve_in_training, module)
    return len(modules)


def restore(model: nn.Module) -> None:
    """Undo `use_winograd`."""
    restore_forward(model, convolve_in_training)


def is_fitting(module: nn.Module) -> bool:
    """Whether a module is a 3 x 3 convolution of stride 1 and padding 1 without bias, groups or odd input channels."""
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.stride == (1, 1)
        and module.padding in ((1, 1), "same")
        and module.padding_mode == "zeros"
        and module.dilation == (1, 1)
        and module.groups == 1
        and module.bias is None
        and module.in_channels % 2 == module.out_channels % 2 == 0
        and min(module.in_channels, module.out_channels) >= MIN_CHANNELS
    )


def convolve_in_training(module: nn.Conv2d, pixel_values: torch.Tensor) -> torch.Tensor:
    """`module.forward`: by Winograd's method where it applies, else the class's own."""
    applies = (
        module.training
        and torch.is_grad_enabled()
        and pixel_values.device.type == module.weight.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and pixel_values.dim() == 4
        and min(pixel_values.shape[2:]) >= MIN_SIZE
        and pixel_values[:, 0].numel() >= MIN_PIXELS
        and not torch.compiler.is_compiling()
    )
    if not applies:
        return nn.Conv2d.forward(module, pixel_values)
    return WinogradConvolution.apply(pixel_values.to(torch.bfloat16), module.weight)


class WinogradConvolution(torch.autograd.Function):
    """`conv2d(x, weight, padding=1)`: x (B, C, H, W) bfloat16, weight (D, C, 3, 3), to (B, D, H, W) bfloat16."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Save only what the caller holds anyway; the backward pass transforms x anew."""
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        return convolve(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Gradients of x in bfloat16 and of the weight in its own dtype."""
        x, weight = ctx.saved_tensors
        gradient = gradient.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        x_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = convolve(gradient, weight, transposed=True)
        if ctx.needs_input_grad[1]:
            weight_gradient = compute_weight_gradient(x, gradient).to(weight.dtype)
        return x_gradient, weight_gradient


def convolve(x: torch.Tensor, weight: torch.Tensor, transposed: bool = False) -> torch.Tensor:
    """`conv2d(x, weight, padding=1)` of bfloat16 in channels_last; transposed, the gradient for its x."""
    (batch, in_channels, height, width), out_channels = x.shape, weight.shape[1 if transposed else 0]
    transformed = transform_weight(weight, transposed)
    size = (batch, out_channels, height, width)
    y = torch.empty(size, dtype=torch.bfloat16, memory_format=torch.channels_last)
    pointers = (x.data_ptr(), transformed.data_ptr(), y.data_ptr())
    _call("winograd_convolve", pointers, (batch, height, width, in_channels, out_channels))
    return y


def compute_weight_gradient(x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Gradient of `conv2d`'s weight, float32 (D, C, 3, 3), from x and the output's gradient in channels_last."""
    (batch, in_channels, height, width), out_channels = x.shape, gradient.shape[1]
    sums = torch.zeros(_POSITIONS, _round_up(in_channels, _ROWS), _round_up(out_channels, 16))
    pointers = (x.data_ptr(), gradient.data_ptr(), sums.data_ptr())
    _call("winograd_weight_gradient", pointers, (batch, height, width, in_channels, out_channels))
    with torch.autocast("cpu", enabled=False):
        weight = _make_transform().T @ sums.flatten(1)  # (9, C * D)
    weight = weight.view(3, 3, *sums.shape[1:])[:, :, :in_channels, :out_channels]
    return weight.permute(3, 2, 0, 1)


def transform_weight(weight: torch.Tensor, transposed: bool = False) -> torch.Tensor:
    """G g G^T in bfloat16 in the order of winograd.c's products, a flat tensor of 25 C (D rounded up to 16) elements.

    Transposed, of the filters turned by 180 degrees, with C and D exchanged.
    """
    weight = weight.detach().float()
    (out_channels, in_channels), (out_stride, in_stride, row, column) = weight.shape[:2], weight.stride()
    start = weight.data_ptr()
    if transposed:
        start += weight.element_size() * 2 * (row + column)  # from the last tap backwards
        row, column = -row, -column
        out_channels, in_channels, out_stride, in_stride = in_channels, out_channels, in_stride, out_stride
    transformed = torch.empty(_POSITIONS * in_channels * _round_up(out_channels, 16), dtype=torch.bfloat16)
    strides = (in_stride, out_stride, row, column)
    _call("winograd_transform_weight", (start, transformed.data_ptr()), (in_channels, out_channels, *strides))
    return transformed


def _make_transform() -> torch.Tensor:
    """G (x) G, (25, 9)."""
    g = torch.tensor(_G)
    return torch.kron(g, g)


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _call(name: str, pointers: Iterable[int], sizes: Iterable[int]) -> None:
    function = getattr(load_library("winograd"), name)
    function(*map(ctypes.c_void_p, pointers), *map(ctypes.c_long, sizes), ctypes.c_int(torch.get_num_threads()))
