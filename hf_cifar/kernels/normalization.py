"""Owns the fused max-pooling, batch normalisation and GELU of a training step on the CPU in bfloat16.

Between two convolutions there is little arithmetic and much memory traffic, of which each of torch's modules has its
own share. Here each direction reads the feature map twice and writes it once, and rounds to bfloat16 once. Backward
needs the pooled values and, in one byte each, where they came from.
"""

import ctypes
import math
from functools import cache

import torch
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .compiler import load_library

LINE, MAX_CHANNELS = 32, 4096  # as in normalization.c
CHUNKS = 32  # of the batch, drawn by threads; fixed, so that sums do not depend on the number of threads
PIECES, DEGREE, PIECE_WIDTH = 16, 5, 0.375  # of the piecewise polynomials, as in normalization.c

SIZES = ("threads", "chunks", "batch", "channels", "height", "width")
POINTERS = ("input", "pooled", "argmax", "pivot", "mean", "scale", "bias", "table", "output", "output_gradient")
POINTERS += ("offset", "slope", "input_gradient", "sums")


class _Task(ctypes.Structure):
    """`Task` of normalization.c."""

    _fields_ = [(name, ctypes.c_int64) for name in SIZES] + [(name, ctypes.c_void_p) for name in POINTERS]


def is_supported(hidden_state: torch.Tensor, normalization: nn.Module, pool: bool) -> bool:
    """Whether the kernels can take this call; if not, `pool_normalize_activate` runs torch's own modules.

    Args:
        hidden_state: (B, C, H, W), the convolution's output.
        normalization: supported is an affine `nn.BatchNorm2d` in training mode, its parameters in float32.
        pool: whether to pool first.
    """
    return (
        type(normalization) is nn.BatchNorm2d
        and normalization.training
        and normalization.affine
        and normalization.weight.dtype == normalization.bias.dtype == torch.float32
        and normalization.weight.device.type == hidden_state.device.type == "cpu"
        and hidden_state.dtype == torch.bfloat16
        and hidden_state.dim() == 4
        and hidden_state.is_contiguous(memory_format=torch.channels_last)
        and hidden_state.shape[1] == normalization.num_features <= MAX_CHANNELS
        and hidden_state.shape[1] % LINE == 0
        and _count_values(hidden_state.shape, pool) > 1
        and not torch.compiler.is_compiling()
        and load_library("normalization") is not None
    )


def pool_normalize_activate(hidden_state: torch.Tensor, normalization: nn.Module, pool: bool) -> torch.Tensor:
    """2 x 2 max-pooling if `pool`, then `normalization`, then the exact GELU.

    Updates the running statistics as `nn.BatchNorm2d` does. Gradients reach `hidden_state`, the weight and the bias.

    Args:
        hidden_state: (B, C, H, W), the convolution's output.
        normalization: over C channels.
        pool: whether to pool first; an odd last row or column is dropped.

    Returns:
        (B, C, H', W') in channels_last, H' = H // 2 if `pool` else H.
    """
    if not is_supported(hidden_state, normalization, pool):
        pooled = nn.functional.max_pool2d(hidden_state, 2) if pool else hidden_state
        return nn.functional.gelu(normalization(pooled))
    output, mean, variance = _PoolNormalizeActivate.apply(
        hidden_state, normalization.weight, normalization.bias, normalization.eps, pool
    )
    _update_running_statistics(normalization, mean, variance, _count_values(hidden_state.shape, pool))
    return output


def _count_values(shape: torch.Size, pool: bool) -> int:
    """Values per channel that the statistics are taken over, for a feature map of `shape` (B, C, H, W)."""
    batch, _, height, width = shape
    return batch * (height // 2) * (width // 2) if pool else batch * height * width


@torch.no_grad()
def _update_running_statistics(
    normalization: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor, count: int
) -> None:
    """Move them towards float64 `mean` (C,) and the unbiased version of `variance` (C,) over `count` values."""
    if not normalization.track_running_stats or normalization.running_mean is None:
        return
    normalization.num_batches_tracked.add_(1)
    momentum = normalization.momentum
    if momentum is None:
        momentum = 1 / float(normalization.num_batches_tracked)
    targets = (mean, variance * (count / (count - 1)))
    for running, target in zip((normalization.running_mean, normalization.running_var), targets, strict=True):
        running.copy_(running.double() * (1 - momentum) + target * momentum)


class _PoolNormalizeActivate(torch.autograd.Function):
    """Returns the output and the batch's mean and biased variance in float64, which carry no gradient."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden_state: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
        pool: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        batch, channels, height, width = ctx.shape = hidden_state.shape
        count = _count_values(ctx.shape, pool)
        pooled, argmax = hidden_state, None
        if pool:
            pooled = _new((batch, channels, height // 2, width // 2), torch.bfloat16)
            argmax = _new(pooled.shape, torch.uint8)
        # Any value near the data keeps the variance from being a small difference of large sums.
        pivot = hidden_state[0, :, 0, 0].float()
        sums = _sum("sum_inputs", ctx.shape, input=hidden_state, pooled=pooled, argmax=argmax, pivot=pivot) / count
        mean = pivot.double() + sums[0]
        variance = (sums[1] - sums[0] ** 2).clamp_(min=0)
        deviation = (variance + eps).rsqrt()
        statistics = torch.stack([mean, weight.double() * deviation, bias.double()]).float()
        output = _new(pooled.shape, torch.bfloat16)
        parameters = dict(zip(("mean", "scale", "bias"), statistics, strict=True))
        table = _fit_tables()[0]
        _run("normalize_activate", ctx.shape, pooled=pooled, argmax=argmax, table=table, output=output, **parameters)
        ctx.save_for_backward(pooled, argmax, statistics, deviation)
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return output, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, output_gradient: torch.Tensor | None, *_) -> tuple[torch.Tensor | None, ...]:
        if output_gradient is None:
            return (None,) * 5
        pooled, argmax, statistics, deviation = ctx.saved_tensors
        arguments = dict(zip(("mean", "scale", "bias"), statistics, strict=True))
        arguments |= {"pooled": pooled, "argmax": argmax, "table": _fit_tables()[1]}
        arguments["output_gradient"] = output_gradient.contiguous(memory_format=torch.channels_last)
        bias_gradient, weight_gradient = _sum("sum_gradients", ctx.shape, **arguments)
        weight_gradient = weight_gradient * deviation
        input_gradient = None
        if ctx.needs_input_grad[0]:
            factor = statistics[1].double() / _count_values(ctx.shape, argmax is not None)
            offset = (-factor * bias_gradient).float()
            slope = (-factor * weight_gradient * deviation).float()
            input_gradient = _new(ctx.shape, torch.bfloat16)
            arguments |= {"offset": offset, "slope": slope, "input_gradient": input_gradient}
            _run("differentiate_inputs", ctx.shape, **arguments)
        return input_gradient, weight_gradient.float(), bias_gradient.float(), None, None


def _new(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


def _sum(kernel: str, shape: torch.Size, **tensors: torch.Tensor | None) -> torch.Tensor:
    """Run a kernel that fills `sums`; returns them over the batch, (2, C) in float64."""
    sums = torch.zeros(min(CHUNKS, shape[0]), 2, shape[1], dtype=torch.float64)
    _run(kernel, shape, sums=sums, **tensors)
    return sums.sum(0)


def _run(kernel: str, shape: torch.Size, **tensors: torch.Tensor | None) -> None:
    """Run a kernel of normalization.c on torch's threads; `tensors` fill the pointers of its task."""
    batch, channels, height, width = shape
    task = _Task(torch.get_num_threads(), min(CHUNKS, batch), batch, channels, height, width)
    for name, tensor in tensors.items():
        setattr(task, name, None if tensor is None else tensor.data_ptr())
    getattr(load_library("normalization"), kernel)(ctypes.byref(task))


@cache
def _fit_tables() -> torch.Tensor:
    """Piecewise polynomials of |z| Phi(-|z|) and of gelu'(-|z|), Phi the normal distribution function.

    Piece i is centred at i * PIECE_WIDTH and interpolates at Chebyshev nodes; its error is below 1e-7.

    Returns:
        (2, DEGREE + 1, PIECES) float32, coefficients of powers of (|z| / PIECE_WIDTH - i), lowest first.
    """
    nodes = torch.cos(math.pi * (torch.arange(DEGREE + 1, dtype=torch.float64) + 0.5) / (DEGREE + 1)) / 2
    z = (torch.arange(PIECES) + nodes[:, None]) * PIECE_WIDTH  # (DEGREE + 1, PIECES)
    below = torch.special.ndtr(-z)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    values = torch.stack([z * below, below - z * density])
    tables = torch.linalg.solve(torch.linalg.vander(nodes), values)
    tables[:, 0, 0] = torch.tensor([0, 0.5])  # exact at zero
    return tables.float().contiguous()
