import copy

import pytest
import torch
from torch import nn

from hf_cifar.kernels import normalization as kernels
from hf_cifar.kernels.compiler import load_library

NAMES = ("output", "input gradient", "weight gradient", "bias gradient", "running_mean", "running_var")
# (B, C, H, W), pool
CASES = [
    ((7, 64, 31, 31), True),
    ((40, 32, 8, 10), True),
    ((2, 32, 2, 3), True),
    ((50, 64, 15, 15), False),
    ((3, 96, 5, 6), False),
    ((1, 32, 2, 1), False),
]

needs_kernels = pytest.mark.skipif(
    load_library("normalization") is None, reason="needs Linux, gcc and a CPU with AVX512-BF16"
)


@pytest.fixture(autouse=True)
def keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def draw(shape, pool, momentum=0.1):
    """A feature map away from zero mean, a normalisation and an output gradient."""
    generator = torch.Generator().manual_seed(0)
    hidden_state = 2 * torch.randn(shape, generator=generator) + 3 * torch.randn(
        1, shape[1], 1, 1, generator=generator
    )
    normalization = nn.BatchNorm2d(shape[1], momentum=momentum)
    nn.init.uniform_(normalization.weight, -2, 2, generator=generator)
    nn.init.normal_(normalization.bias, generator=generator)
    size = [length // 2 if pool else length for length in shape[2:]]
    gradient = torch.randn(*shape[:2], *size, generator=generator)
    return to_channels_last(hidden_state), normalization, to_channels_last(gradient)


def to_channels_last(tensor):
    return tensor.bfloat16().contiguous(memory_format=torch.channels_last)


def pool_normalize_activate(hidden_state, normalization, pool):
    """The reference."""
    pooled = nn.MaxPool2d(2)(hidden_state) if pool else hidden_state
    return nn.GELU()(normalization(pooled))


def run(function, hidden_state, normalization, pool, gradient, batches=1):
    """What `function` gives for each of `NAMES`, in float64; the normalisation itself is left as it is."""
    normalization = copy.deepcopy(normalization).to(torch.float64 if hidden_state.dtype == torch.float64 else None)
    for _ in range(batches):
        normalization.zero_grad()
        hidden_state = hidden_state.detach().requires_grad_()
        output = function(hidden_state, normalization, pool)
        output.backward(gradient.to(output.dtype))
    assert normalization.num_batches_tracked == batches
    tensors = [output, hidden_state.grad, normalization.weight.grad, normalization.bias.grad]
    tensors += [normalization.running_mean, normalization.running_var]
    return dict(zip(NAMES, (tensor.detach().double() for tensor in tensors), strict=True))


@needs_kernels
@pytest.mark.parametrize(("shape", "pool"), CASES)
def test_errors_are_those_of_torch_in_bfloat16_or_smaller(shape, pool):
    hidden_state, normalization, gradient = draw(shape, pool)
    assert kernels.is_supported(hidden_state, normalization, pool)
    exact = run(pool_normalize_activate, hidden_state.double(), normalization, pool, gradient.double())
    torch_s = run(pool_normalize_activate, hidden_state, normalization, pool, gradient)
    ours = run(kernels.pool_normalize_activate, hidden_state, normalization, pool, gradient)
    for name in NAMES:
        error, allowed = (ours[name] - exact[name]).abs(), (torch_s[name] - exact[name]).abs()
        assert error.max() <= 2 * allowed.max() + 1e-6, name
        assert error.square().mean().sqrt() <= 1.2 * allowed.square().mean().sqrt() + 1e-6, name


@needs_kernels
@pytest.mark.parametrize("momentum", [0.4, None])
def test_running_statistics_follow_torch_over_several_batches(momentum):
    hidden_state, normalization, gradient = draw((5, 32, 7, 7), True, momentum)
    exact = run(pool_normalize_activate, hidden_state.double(), normalization, True, gradient.double(), batches=3)
    ours = run(kernels.pool_normalize_activate, hidden_state, normalization, True, gradient, batches=3)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(ours[name], exact[name], rtol=1e-6, atol=1e-6)


@needs_kernels
def test_variance_survives_a_mean_much_larger_than_the_deviation():
    hidden_state, normalization, gradient = draw((64, 32, 15, 15), False)
    hidden_state = to_channels_last(1000 + 4 * hidden_state.sign())
    exact = run(pool_normalize_activate, hidden_state.double(), normalization, False, gradient.double())
    ours = run(kernels.pool_normalize_activate, hidden_state, normalization, False, gradient)
    torch.testing.assert_close(ours["running_var"], exact["running_var"], rtol=1e-6, atol=0)


@needs_kernels
@pytest.mark.parametrize("pool", [True, False])
def test_results_are_the_same_bits_for_any_number_of_threads(pool):
    hidden_state, normalization, gradient = draw((37, 64, 15, 15), pool)
    results = []
    for threads in (1, 1, 2, 2, 3):
        torch.set_num_threads(threads)
        results.append(run(kernels.pool_normalize_activate, hidden_state, normalization, pool, gradient))
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in NAMES)


@needs_kernels
def test_first_of_equal_maxima_gets_the_gradient_and_dropped_edges_none():
    _, normalization, gradient = draw((4, 32, 5, 5), True)
    generator = torch.Generator().manual_seed(0)
    hidden_state = to_channels_last(torch.randint(3, (4, 32, 5, 5), generator=generator).float())
    theirs = run(pool_normalize_activate, hidden_state, normalization, True, gradient)["input gradient"]
    ours = run(kernels.pool_normalize_activate, hidden_state, normalization, True, gradient)["input gradient"]
    assert torch.equal(ours != 0, theirs != 0)
    assert not ours[:, :, 4].any() and not ours[:, :, :, 4].any()


@needs_kernels
@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [(0, 3, 0, 0), (5, 3, 2, 3)])
def test_non_finite_values_make_their_channel_nan_and_no_other(pool, value, place):
    hidden_state, normalization, gradient = draw((6, 32, 6, 6), pool)
    hidden_state[place] = value
    if pool and value == -float("inf"):
        hidden_state[place[0], 3] = value  # or the pooling hides it, as it should
    ours = run(kernels.pool_normalize_activate, hidden_state, normalization, pool, gradient)
    spoilt = torch.arange(32) == 3
    assert torch.equal(ours["output"].isnan().all(dim=(0, 2, 3)), spoilt)
    assert torch.equal(ours["output"].isnan().any(dim=(0, 2, 3)), spoilt)
    assert torch.equal(ours["input gradient"].isnan().any(dim=(0, 2, 3)), spoilt)
    assert torch.equal(ours["weight gradient"].isnan(), spoilt)


@needs_kernels
def test_frozen_parameters_get_no_gradient():
    hidden_state, normalization, gradient = draw((4, 32, 6, 6), True)
    normalization.weight.requires_grad_(False)
    hidden_state.requires_grad_()
    kernels.pool_normalize_activate(hidden_state, normalization, True).backward(gradient)
    assert normalization.weight.grad is None
    assert normalization.bias.grad is not None and hidden_state.grad is not None


@needs_kernels
def test_output_gradient_may_lie_in_memory_in_any_order():
    hidden_state, normalization, gradient = draw((4, 32, 6, 6), False)
    function = kernels.pool_normalize_activate
    expected = run(function, hidden_state, normalization, False, gradient)
    ours = run(function, hidden_state, normalization, False, gradient.contiguous())
    assert all(torch.equal(ours[name], expected[name]) for name in NAMES)


def make_evaluated(hidden_state, normalization):
    return hidden_state, normalization.eval()


def make_single_precision(hidden_state, normalization):
    return hidden_state.float(), normalization


def make_narrow(hidden_state, normalization):
    return to_channels_last(hidden_state[:, :16]), nn.BatchNorm2d(16)


def make_channels_first(hidden_state, normalization):
    return hidden_state.contiguous(), normalization


def make_unnormalized(hidden_state, normalization):
    return hidden_state, nn.Identity()


@pytest.mark.parametrize(
    "change", [make_evaluated, make_single_precision, make_narrow, make_channels_first, make_unnormalized]
)
def test_unsupported_calls_run_torch_s_own_modules(change):
    hidden_state, normalization, _ = draw((4, 32, 6, 6), True)
    hidden_state, normalization = change(hidden_state, normalization)
    assert not kernels.is_supported(hidden_state, normalization, True)
    expected = pool_normalize_activate(hidden_state, copy.deepcopy(normalization), True)
    assert torch.equal(kernels.pool_normalize_activate(hidden_state, normalization, True), expected)
