"""Depthwise convolutions in bfloat16 against PyTorch's in float64, and which modules train by them."""

import copy
import ctypes
import pickle

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.nn.functional import conv2d, pad

from hf_cifar.kernels import compiler, depthwise

SHAPES = [  # batch, channels, height, width: odd sizes and channels, several blocks of channels, strips of rows
    (2, 33, 9, 7),
    (1, 1, 1, 1),
    (3, 48, 4, 4),
    (2, 15, 13, 18),
    (1, 17, 1, 20),
    (5, 96, 8, 6),
    (1, 16, 3, 2),
    (1, 5, 140, 9),
    (1, 3, 6, 270),
]
KERNELS = sorted(depthwise.PAYS | {(3, 1)})


@pytest.fixture
def library():
    if compiler.load_library("depthwise") is None:
        pytest.skip("needs Linux with gcc and AVX512-BF16")


def list_windows(kernel: int, stride: int, height: int, width: int):
    """Padding above, left, below and right: none, as usual, like TensorFlow, and as much as there can be."""
    half, most = kernel // 2, kernel - 1
    sizes = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in (height, width)]
    same = [sizes[0] // 2, sizes[1] // 2, sizes[0] - sizes[0] // 2, sizes[1] - sizes[1] // 2]
    for window in ([0] * 4, [half] * 4, same, [most, 0, 0, most], [0, most, most, 0]):
        if height + window[0] + window[2] >= kernel and width + window[1] + window[3] >= kernel:
            yield window


def differentiate(convolve, values):
    """The output and the gradients of x, weight and bias, in the precision of `values`."""
    x, weight, bias = (each.clone().requires_grad_() for each in values)
    y = convolve(x, weight, bias)
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(y.shape, generator=generator).bfloat16().to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, (x, weight, bias), gradient)]


def make_values(batch, channels, height, width, kernel):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, height, width, generator=generator).bfloat16()
    weight = torch.randn(channels, 1, kernel, kernel, generator=generator) / kernel
    return x.to(memory_format=torch.channels_last), weight, torch.randn(channels, generator=generator)


def make_ours(stride, window, size):
    return lambda x, weight, bias: depthwise.DepthwiseConvolution.apply(x, weight, bias, stride, window[:2], size)


def make_torchs(stride, window):
    top, left, bottom, right = window
    return lambda x, weight, bias: conv2d(pad(x, (left, right, top, bottom)), weight, bias, stride, groups=x.shape[1])


@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
def test_errors_are_of_the_size_of_bfloat16s(library, kernel, stride):
    for shape in SHAPES:
        x, weight, bias = make_values(*shape, kernel)
        weight, bias = weight.bfloat16().float(), bias.bfloat16().float()
        for window in list_windows(kernel, stride, *shape[2:]):
            torchs = make_torchs(stride, window)
            exact = differentiate(torchs, [each.double() for each in (x, weight, bias)])
            rounded = differentiate(torchs, [each.bfloat16() for each in (x, weight, bias)])
            ours = differentiate(make_ours(stride, window, exact[0].shape[2:]), (x, weight, bias))
            for i, (value, other, truth) in enumerate(zip(ours, rounded, exact, strict=True)):
                size = truth.norm() + 1e-6
                error, allowed = ((each.double() - truth).norm() / size for each in (value, other))
                # Each is rounded once, at the end; the gradients of weight and bias not even that.
                assert error < (1.05 * allowed + 1e-4 if i < 2 else 1e-5), (shape, window, i)
                assert value.shape == truth.shape


@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
def test_exact_on_small_integers(library, kernel, stride):
    generator = torch.Generator().manual_seed(0)
    for batch, channels, height, width in SHAPES:
        x = torch.randint(-2, 3, (batch, channels, height, width), generator=generator).bfloat16()
        weight = torch.randint(-1, 2, (channels, 1, kernel, kernel), generator=generator).float()
        bias = torch.randint(-1, 2, (channels,), generator=generator).float()
        window = [kernel // 2] * 4
        truth = make_torchs(stride, window)(x.float(), weight, bias)
        y = make_ours(stride, window, truth.shape[2:])(x, weight, bias)
        torch.testing.assert_close(y, truth.bfloat16(), rtol=0, atol=0)


def test_gradients_are_those_of_the_function(library):
    # The output is linear in each argument: <y(x), g> = <x, gradient of x>, and so for the weight.
    for kernel, stride in KERNELS:
        x, weight, bias = make_values(2, 20, 11, 8, kernel)
        weight, window = weight.bfloat16().float(), [kernel // 2] * 4
        size = [(each - 1) // stride + 1 for each in (11, 8)]
        y, *gradients = differentiate(make_ours(stride, window, size), (x, weight, torch.zeros_like(bias)))
        gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16().double()
        expected, scale = (y.double() * gradient).sum(), (y.double() * gradient).norm()
        for value, change in zip((x, weight), gradients[:2], strict=True):
            assert abs((value.double() * change.double()).sum() - expected) < 0.01 * scale
        torch.testing.assert_close(gradients[2].double(), gradient.sum((0, 2, 3)))


def test_nothing_is_read_or_written_beside_the_tensors(library):
    guard = 4096

    def make(size, dtype, value):
        """`size` values between guards, all NaN, and their view."""
        whole = torch.full((guard + size + guard,), float("nan"), dtype=dtype)
        return whole, whole[guard : guard + size].fill_(value)

    for (kernel, stride), (batch, channels, height, width) in zip(KERNELS * 2, SHAPES, strict=False):
        large, small = (height, width), ((height - 1) // stride + 1, (width - 1) // stride + 1)
        arrays = {}
        for kind, value in (("value", 1.0), ("gradient", float("nan"))):  # of x, weight and bias
            arrays["x", kind] = make(batch * channels * large[0] * large[1], torch.bfloat16, value)
            arrays["weight", kind] = make(channels * kernel**2, torch.float32, value)
            arrays["bias", kind] = make(channels, torch.float32, value)
        for kind, value in (("value", float("nan")), ("gradient", 1.0)):
            arrays["y", kind] = make(batch * channels * small[0] * small[1], torch.bfloat16, value)

        def call(name, names, sizes, *flags, arrays=arrays):
            depthwise._call(name, [each and arrays[each][1] for each in names], sizes, *map(ctypes.c_int, flags))

        x, weight, bias, y = ((name, "value") for name in ("x", "weight", "bias", "y"))
        dx, dweight, dbias, dy = ((name, "gradient") for name in ("x", "weight", "bias", "y"))
        common = (batch, channels, kernel, stride, kernel // 2, kernel // 2)
        call("depthwise_correlate", (x, weight, bias, y), (*common, *large, *small), 0)
        call("depthwise_correlate", (dy, weight, None, dx), (*common, *small, *large), 1)
        call("depthwise_weight_gradient", (x, dy, dweight, dbias), (*common, *large, *small))
        for whole, view in arrays.values():  # all is written that should be, and no NaN has come in
            assert whole.isnan().sum() == 2 * guard and not view.isnan().any()


def test_same_bits_again_and_for_any_number_of_threads(library):
    threads = torch.get_num_threads()
    for kernel, stride in ((3, 2), (5, 1), (7, 1)):
        values, window = make_values(37, 70, 12, 12, kernel), [kernel // 2] * 4
        ours = make_ours(stride, window, (12 // stride, 12 // stride))
        first = differentiate(ours, values)
        try:
            for count in (threads, 1, 3):
                torch.set_num_threads(count)
                assert all(torch.equal(a, b) for a, b in zip(first, differentiate(ours, values), strict=True))
        finally:
            torch.set_num_threads(threads)


def test_memory_format_of_the_arguments_does_not_matter(library):
    x, weight, bias = make_values(3, 40, 9, 9, 5)
    ours = make_ours(1, [2] * 4, (9, 9))
    others = differentiate(ours, (x.contiguous(), weight.to(memory_format=torch.channels_last), bias))
    assert all(torch.equal(a, b) for a, b in zip(differentiate(ours, (x, weight, bias)), others, strict=True))
    # Gradients of a mean are one number, expanded.
    x.requires_grad_()
    ours(x, weight, bias).float().mean((2, 3)).sum().backward()
    exact = torch.autograd.grad(conv2d(x.float(), weight, None, 1, 2, groups=40).mean((2, 3)).sum(), x)[0]
    torch.testing.assert_close(x.grad, exact, rtol=0.02, atol=1e-3)


def convolve_in_bfloat16(module, x):
    with torch.autocast("cpu", torch.bfloat16):
        return module(x)


def ran(y) -> bool:
    return "DepthwiseConvolution" in type(y.grad_fn).__name__


@pytest.mark.parametrize("size", [(12, 12), (11, 8), (5, 6), (1, 2)])
@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(20, 20, 5, padding=2, groups=20),
        nn.Conv2d(20, 20, 5, padding="same", groups=20, bias=False),
        nn.Conv2d(20, 20, 3, stride=2, padding=(2, 1), groups=20, bias=False),
        Conv2dSame(20, 20, 3, stride=2, groups=20, bias=False),
        Conv2dSame(20, 20, 5, stride=2, groups=20),
        Conv2dSame(20, 20, 7, groups=20),
    ],
    ids=str,
)
def test_a_module_computes_what_it_did(library, module, size):
    torch.manual_seed(0)
    x = torch.randn(2, 20, *size)
    plain, module = convolve_in_bfloat16(module, x), copy.deepcopy(module)
    assert depthwise.use_depthwise(module) == 1
    ours = convolve_in_bfloat16(module, x)
    assert ran(ours) and not ran(plain) and ours.dtype == torch.bfloat16 and ours.shape == plain.shape
    torch.testing.assert_close(ours, plain, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # PyTorch's is as fast
        nn.Conv2d(8, 16, 5, padding=2, groups=8),
        nn.Conv2d(8, 8, 5, padding=2, groups=4),
        nn.Conv2d(8, 8, (5, 3), padding=(2, 1), groups=8),
        nn.Conv2d(8, 8, 5, stride=(1, 2), padding=2, groups=8),
        nn.Conv2d(8, 8, 5, stride=3, padding=2, groups=8),
        nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8),
        nn.Conv2d(8, 8, 5, padding=5, groups=8),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, padding_mode="reflect"),
        nn.Conv2d(8, 8, 9, padding=4, groups=8),
        nn.Conv1d(8, 8, 5, padding=2, groups=8),
        type("Scaled", (nn.Conv2d,), {"forward": lambda self, x: 2 * super(nn.Conv2d, self)(x)})(8, 8, 5, groups=8),
    ],
    ids=str,
)
def test_other_convolutions_are_left_alone(module):
    assert depthwise.use_depthwise(module) == 0 and "forward" not in module.__dict__


def make_model():
    layers = nn.Conv2d(3, 24, 1), nn.Conv2d(24, 24, 5, padding=2, groups=24), Conv2dSame(24, 24, 3, 2, groups=24)
    return nn.Sequential(*layers)


def test_falls_back_outside_of_training_in_bfloat16(library):
    model, x = make_model(), torch.randn(2, 3, 9, 9)
    plain = copy.deepcopy(model)
    assert depthwise.use_depthwise(model) == 2
    assert torch.equal(model(x), plain(x))  # float32
    assert ran(convolve_in_bfloat16(model, x))
    with torch.no_grad():
        assert torch.equal(convolve_in_bfloat16(model, x), convolve_in_bfloat16(plain, x))
    assert torch.equal(convolve_in_bfloat16(model.eval(), x), convolve_in_bfloat16(plain.eval(), x))
    model.train().requires_grad_(False)
    assert torch.equal(convolve_in_bfloat16(model, x), convolve_in_bfloat16(plain, x))
    assert ran(convolve_in_bfloat16(model, x.requires_grad_()))  # frozen, but a gradient passes through
    with pytest.raises(RuntimeError):
        convolve_in_bfloat16(model[1].train(), torch.randn(2, 7, 9, 9))


def test_only_the_gradients_that_are_needed(library):
    module, x = nn.Conv2d(24, 24, 5, padding=2, groups=24), torch.randn(2, 24, 9, 9)
    depthwise.use_depthwise(module)
    module.bias.requires_grad_(False)
    convolve_in_bfloat16(module, x).sum().backward()
    assert module.weight.grad.dtype == torch.float32 and module.bias.grad is None and x.grad is None


def test_restore_leaves_no_trace_and_what_others_patched_alone(library):
    model = make_model()
    keys = list(model.state_dict())
    model[1].forward = other = lambda x: x
    assert depthwise.use_depthwise(model) == 1 == depthwise.use_depthwise(model)
    assert list(model.state_dict()) == keys
    depthwise.restore(model)
    assert model[1].forward is other and "forward" not in model[2].__dict__


def test_copies_use_their_own_weights(library):
    model, x = make_model(), torch.randn(2, 3, 9, 9)
    depthwise.use_depthwise(model)
    for duplicate in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            duplicate[2].weight.zero_()
            duplicate[2].bias.zero_()
        y = convolve_in_bfloat16(duplicate, x)
        assert ran(y) and not y.any() and convolve_in_bfloat16(model, x).any()
