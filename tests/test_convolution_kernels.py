import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from hf_cifar.kernels import compiler, convolution
from hf_cifar.models.loading import build_cifar_cnn

from .conftest import TINY_CNN

SHAPES = [  # batch, in and out channels, height, width: odd and even, in one block and in several, odd batches
    (3, 24, 64, 31, 31),
    (5, 64, 48, 15, 15),
    (33, 40, 112, 7, 7),
    (4, 256, 256, 3, 3),
    (2, 24, 26, 6, 10),
    (7, 64, 24, 5, 8),
    (1, 32, 64, 4, 130),
    (51, 384, 32, 8, 8),
]


@pytest.fixture
def library():
    if compiler.load_library("winograd") is None:
        pytest.skip("needs Linux with gcc and AVX512-BF16")


@pytest.fixture
def uncached():
    compiler.load_library.cache_clear()
    yield
    compiler.load_library.cache_clear()


def make_data(batch, in_channels, out_channels, height, width):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, in_channels, height, width, generator=generator).bfloat16()
    weight = torch.randn(out_channels, in_channels, 3, 3, generator=generator) / (9 * in_channels) ** 0.5
    gradient = torch.randn(batch, out_channels, height, width, generator=generator).bfloat16()
    return [tensor.to(memory_format=torch.channels_last) for tensor in (x, weight, gradient)]


def differentiate(function, x, weight, gradient):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = function(x, weight)
    return [y.detach(), *torch.autograd.grad(y, (x, weight), gradient.to(y.dtype))]


def winograd(x, weight, gradient):
    return differentiate(convolution.WinogradConvolution.apply, x, weight, gradient)


def direct(dtype, *data):
    return differentiate(lambda x, weight: conv2d(x, weight, padding=1), *(tensor.to(dtype) for tensor in data))


def make_model():
    layers = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.Conv2d(32, 32, 3, padding=1, bias=False)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", SHAPES)
def test_errors_are_of_the_size_of_bfloat16s(library, shape):
    data = make_data(*shape)
    expected = direct(torch.float64, *data)
    for ours, torchs, truth in zip(winograd(*data), direct(torch.bfloat16, *data), expected, strict=True):
        error, allowed = ((value.double() - truth).norm() / truth.norm() for value in (ours, torchs))
        # PyTorch rounds each product's operands and result once; Winograd's method also rounds sums of operands.
        assert error < 2.7 * allowed < 0.01
        assert ours.shape == truth.shape


def test_exact_on_small_integers(library):
    # Every intermediate fits bfloat16's 8 bits: a wrong border or tile cannot hide in rounding.
    generator = torch.Generator().manual_seed(0)
    for size in ((5, 7), (8, 6), (31, 15)):
        x = torch.randint(-3, 4, (3, 24, *size), generator=generator).bfloat16()
        weight = 4.0 * torch.randint(-1, 2, (32, 24, 3, 3), generator=generator)
        gradient = torch.randint(-1, 2, (3, 32, *size), generator=generator).bfloat16()
        ours, truth = winograd(x, weight, gradient), direct(torch.float64, x, weight, gradient)
        for value, expected in zip(ours, truth, strict=True):
            torch.testing.assert_close(value, expected.to(value.dtype), rtol=0, atol=0)


def test_same_bits_again_and_for_any_number_of_threads(library):
    threads = torch.get_num_threads()
    data = make_data(70, 64, 64, 15, 15)
    first = winograd(*data)
    try:
        for count in (threads, 1, 3):
            torch.set_num_threads(count)
            assert all(torch.equal(a, b) for a, b in zip(first, winograd(*data), strict=True))
    finally:
        torch.set_num_threads(threads)


def test_memory_format_of_the_arguments_does_not_matter(library):
    data = make_data(3, 32, 32, 9, 9)
    others = winograd(*(tensor.contiguous() for tensor in data))
    assert all(torch.equal(a, b) for a, b in zip(winograd(*data), others, strict=True))


def test_use_and_restore(library):
    model, x = make_model(), torch.randn(25, 3, 9, 9)
    names = list(model.state_dict())
    assert convolution.use_winograd(model) == 1  # not the one of three channels
    with torch.autocast("cpu", torch.bfloat16):
        fast = model(x)
        assert "WinogradConvolution" in type(fast.grad_fn).__name__
        convolution.restore(model)
        assert "WinogradConvolution" not in type(model(x).grad_fn).__name__
        torch.testing.assert_close(fast, model(x), rtol=0.05, atol=0.02)
    assert list(model.state_dict()) == names and "forward" not in model[1].__dict__


def test_falls_back_outside_of_training_in_bfloat16(library):
    model, x = make_model(), torch.randn(25, 3, 9, 9)
    expected = model(x)
    convolution.use_winograd(model)
    assert torch.equal(model(x), expected)  # float32
    with torch.autocast("cpu", torch.bfloat16):
        assert "Winograd" in type(model(x).grad_fn).__name__
        assert "Winograd" not in type(model(x[:24]).grad_fn).__name__  # a small batch
        assert "Winograd" not in type(model(torch.randn(2000, 3, 2, 2)).grad_fn).__name__  # small images
        with torch.no_grad():
            assert torch.equal(model(x), model.eval()(x))


def test_copies_use_their_own_weights(library):
    model, x = make_model(), torch.randn(25, 3, 9, 9)
    convolution.use_winograd(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            other[1].weight.zero_()
        with torch.autocast("cpu", torch.bfloat16):
            assert not other(x).any() and model(x).any()


def test_saved_model_is_the_same(library, tmp_path):
    torch.manual_seed(0)
    model = build_cifar_cnn(TINY_CNN | {"hidden_sizes": [32, 32], "convolution_bias": False}, ["a", "b"])
    model.save_pretrained(tmp_path / "before")
    assert convolution.use_winograd(model) > 0
    model.save_pretrained(tmp_path / "after")
    files = sorted(path.name for path in (tmp_path / "before").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "after").iterdir())
    for name in files:
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()


@pytest.mark.parametrize("missing", ["compiler", "cpu"])
def test_without_compiler_or_cpu_nothing_changes(monkeypatch, uncached, caplog, missing):
    if missing == "compiler":
        monkeypatch.setattr(compiler, "read_cpu_flags", lambda: {"avx512_bf16"})
        monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    else:
        monkeypatch.setattr(compiler, "read_cpu_flags", lambda: {"avx2"})
    model = make_model()
    with caplog.at_level("INFO", logger=compiler.__name__):
        assert convolution.use_winograd(model) == 0
    assert "forward" not in model[1].__dict__ and len(caplog.records) == 1


def test_a_compiler_that_fails_is_no_error(library, monkeypatch, uncached, caplog, tmp_path):
    monkeypatch.setattr(compiler, "get_cache_dir", lambda: tmp_path)
    monkeypatch.setattr(compiler, "_COMPILE", ("-no-such-option",))
    with caplog.at_level("INFO", logger=compiler.__name__):
        assert compiler.load_library("winograd") is None
    assert "no-such-option" in caplog.text and not list((tmp_path / "kernels").iterdir())
