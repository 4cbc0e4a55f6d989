"""Which layers of a model train by our kernels: only `forward` changes, and only in bfloat16 training."""

import copy
import json
import pickle
from types import SimpleNamespace

import pytest
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn
from transformers import ConvNextForImageClassification, TrainingArguments, set_seed

from hf_cifar.arguments import DataArguments, RecipeArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.split import split_table
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.evaluation.metrics import build_compute_metrics
from hf_cifar.evaluation.results import read_results
from hf_cifar.kernels import compiler, layers
from hf_cifar.models.loading import build_cifar_cnn, load_model
from hf_cifar.training.fit import fit
from hf_cifar.training.run_folder import save_model
from hf_cifar.training.trainer import get_training_defaults

from .conftest import TINY_CNN

WIDE = {**TINY_CNN, "hidden_sizes": [32, 64], "depths": [2, 2], "residual": True}
ALL = ["winograd", "normalization"]


@pytest.fixture
def kernels(monkeypatch):
    """Skips where the kernels cannot run; elsewhere AMX, which winograd leaves alone, is hidden."""
    if compiler.load_library("winograd") is None or compiler.load_library("normalization") is None:
        pytest.skip("needs Linux with gcc and AVX512-BF16")
    flags = layers.read_cpu_flags() - {"amx_bf16"}
    monkeypatch.setattr(layers, "read_cpu_flags", lambda: flags)


@pytest.fixture
def uncached():
    compiler.load_library.cache_clear()
    yield
    compiler.load_library.cache_clear()


def make_model(**options):
    torch.manual_seed(0)
    model = build_cifar_cnn({**WIDE, **options}, list(CLASS_NAMES)).to(memory_format=torch.channels_last)
    with torch.no_grad():  # scales and shifts that are not 1 and 0
        for name, value in model.named_parameters():
            if "normalization" in name:
                value.add_(0.3 * torch.randn_like(value))
    return model


class Mobile(nn.Module):
    """EfficientNet-Lite0 in small: depthwise convolutions of all kinds between pointwise ones."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(Conv2dSame(3, 16, 3, 2, bias=False), BatchNormAct2d(16, act_layer=nn.ReLU6))
        sizes = [(16, 48, 24, 3, 2), (24, 72, 40, 5, 2), (40, 80, 40, 5, 1), (40, 80, 40, 3, 1)]
        self.blocks = nn.Sequential(*(self.make_block(*size) for size in sizes))
        self.head = nn.Linear(40, 10)

    @staticmethod
    def make_block(inputs: int, hidden: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
        padding = {} if stride == 2 else {"padding": kernel // 2}
        kind = Conv2dSame if stride == 2 else nn.Conv2d
        return nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            BatchNormAct2d(hidden, act_layer=nn.ReLU6),
            kind(hidden, hidden, kernel, stride, groups=hidden, bias=False, **padding),
            BatchNormAct2d(hidden, act_layer=nn.ReLU6),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            BatchNormAct2d(outputs, apply_act=False),
        )

    def forward(self, images: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(self.blocks(self.stem(images)).mean((2, 3))))


def make_batch(size: int = 17):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(50, 3, size, size, generator=generator), torch.arange(50) % 7


def take_step(model, precision: torch.dtype | None, size: int = 17) -> dict[str, torch.Tensor]:
    """Logits, gradients and running statistics of one forward and backward pass in training."""
    images, labels = make_batch(size)
    with torch.autocast("cpu", precision, enabled=precision is not None):
        logits = model.train()(images).logits
    torch.nn.functional.cross_entropy(logits.float(), labels).backward()
    result = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    result |= {name: value for name, value in model.named_buffers() if value.is_floating_point()}
    return {"logits": logits} | result


def assert_as_near(ours: dict, torchs: dict, exact: dict, factor: float) -> None:
    """Our error is at most `factor` times PyTorch's, each tensor's."""
    for name, truth in exact.items():
        error, allowed = ((other[name].float() - truth).norm() / truth.norm() for other in (ours, torchs))
        assert error < factor * allowed + 1e-3, (name, error, allowed)


def find_changed(model) -> list[str]:
    # The root itself is accelerate's to wrap.
    return [name for name, module in model.named_modules() if name and "forward" in module.__dict__]


def test_a_steps_gradients_are_as_near_to_float32_as_torchs(kernels):
    model = make_model()
    exact, torchs = take_step(copy.deepcopy(model), None), take_step(copy.deepcopy(model), torch.bfloat16)
    assert layers.use_kernels(model) == ALL
    ours = take_step(model, torch.bfloat16)
    assert set(ours) == set(torchs) == set(exact)
    assert not torch.equal(ours["logits"], torchs["logits"])  # the kernels did run
    assert_as_near(ours, torchs, exact, 2)


def test_a_mobile_networks_gradients_are_as_near_to_float32_as_torchs(kernels):
    model = Mobile().to(memory_format=torch.channels_last)
    exact, torchs = take_step(copy.deepcopy(model), None), take_step(copy.deepcopy(model), torch.bfloat16)
    assert layers.use_kernels(model) == ["depthwise"]
    assert find_changed(model) == [f"blocks.{i}.2" for i in range(3)]
    ours = take_step(model, torch.bfloat16)
    assert_as_near(ours, torchs, exact, 1.5)
    layers.restore(model)
    assert find_changed(model) == []


def test_a_convnext_trains_by_them(kernels, tiny_convnext):
    model = ConvNextForImageClassification.from_pretrained(tiny_convnext).to(memory_format=torch.channels_last)
    exact, torchs = take_step(copy.deepcopy(model), None, 64), take_step(copy.deepcopy(model), torch.bfloat16, 64)
    assert layers.use_kernels(model) == ["depthwise"] and len(find_changed(model)) == 4
    ours = take_step(model, torch.bfloat16, 64)
    assert_as_near(ours, torchs, exact, 1.5)


@pytest.mark.parametrize("residual", [True, False])
def test_a_residual_layer_adds_its_shortcut_before_the_activation(kernels, residual):
    model = make_model(residual=residual)
    plain = copy.deepcopy(model).cifar_cnn.stages[1].train()
    layers.use_kernels(model)
    stage = model.cifar_cnn.stages[1].train()
    inputs = torch.randn(50, 32, 12, 12, generator=torch.Generator().manual_seed(0))
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    exact = plain(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        ours, torchs = stage(inputs.bfloat16()), plain(inputs.bfloat16())
    error, allowed = ((value.float() - exact).norm() / exact.norm() for value in (ours, torchs))
    assert error < 2 * allowed + 1e-3 and not torch.equal(ours, torchs)


def test_evaluation_and_other_precisions_are_bit_for_bit_as_before(kernels):
    model, (images, _) = make_model(), make_batch()
    plain = copy.deepcopy(model)
    layers.use_kernels(model)
    for training in (True, False):
        assert torch.equal(model.train(training)(images).logits, plain.train(training)(images).logits)  # float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(images).logits, plain(images).logits)
        with torch.no_grad():
            assert torch.equal(model.train()(images).logits, plain.train()(images).logits)


def test_what_is_saved_stays_the_same_and_restore_undoes_all(kernels, tmp_path):
    model, (images, _) = make_model(), make_batch()
    save_model(model, Preprocessing(), tmp_path / "before")
    keys = list(model.state_dict())
    assert layers.use_kernels(model) == ALL
    assert list(model.state_dict()) == keys and len(find_changed(model)) == 8
    save_model(model, Preprocessing(), tmp_path / "after")
    for path in (tmp_path / "before").iterdir():
        assert path.read_bytes() == (tmp_path / "after" / path.name).read_bytes()
    layers.restore(model)
    assert find_changed(model) == []
    plain = make_model()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.train()(images).logits, plain.train()(images).logits)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_runs_on_its_own_weights(kernels, duplicate):
    model, (images, _) = make_model(), make_batch()
    layers.use_kernels(model)
    other = duplicate(model)
    assert find_changed(other) == find_changed(model)
    with torch.no_grad():
        for name, value in other.named_parameters():
            if "normalization" in name:  # scale 0, shift 0
                value.zero_()
    kept = copy.deepcopy(dict(model.named_buffers()))
    with torch.autocast("cpu", torch.bfloat16):
        assert not other.train()(images).logits.any()
    assert all(torch.equal(value, kept[name]) for name, value in model.named_buffers())
    layers.restore(other)
    assert len(find_changed(model)) == 8


def test_without_gcc_nothing_is_attached(monkeypatch, uncached):
    monkeypatch.setattr(compiler, "read_cpu_flags", lambda: {"avx512_bf16"})
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    model = make_model()
    assert layers.use_kernels(model) == [] and find_changed(model) == []


def test_amx_multiplies_faster_than_winograd(kernels, monkeypatch):
    monkeypatch.setattr(layers, "read_cpu_flags", lambda: {"amx_bf16", "avx512_bf16"})
    model = make_model()
    assert layers.use_kernels(model) == ["normalization"]
    assert all(name.endswith(("layers.0", "layers.1")) for name in find_changed(model))


def test_layers_of_another_kind_are_left_alone(kernels):
    model = make_model(hidden_act="relu", convolution_bias=True)
    assert layers.use_kernels(model) == [] and find_changed(model) == []


def train(model, data, folder, recipe=None, **options):
    set_seed(0)
    settings = get_training_defaults() | {"fp16": False, "bf16": True, "use_cpu": True, "disable_tqdm": True}
    settings |= {"output_dir": str(folder), "max_steps": 2, "per_device_train_batch_size": 50, "learning_rate": 0.01}
    settings |= {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False}
    ours = {name: options.pop(name) for name in ("from_scratch", "head_only") if name in options}
    table, _ = split_table(data.train, 0.8)
    return fit(
        model, Preprocessing(), table, None, TrainingArguments(**settings | options), DataArguments(),
        recipe or RecipeArguments(), build_compute_metrics(10), folder, **ours,
    )  # fmt: skip


def test_a_run_uses_them_where_convolutions_train_in_bfloat16_unless_told_not_to(kernels, data, tmp_path):
    assert train(model := make_model(), data, tmp_path).kernels == ALL
    assert find_changed(model) == []
    for options in ({"recipe": RecipeArguments(fast_kernels=False)}, {"bf16": False}, {"head_only": True}):
        assert train(make_model(), data, tmp_path, **options).kernels == []


@pytest.mark.parametrize(("option", "expected"), [("true", ALL), ("false", [])])
def test_results_say_which_were_used(kernels, recipe, tmp_path, option, expected):
    options = ["--dataset=sample", f"--model_config={json.dumps(WIDE)}", "--train_fraction=0.2", "--bf16=true"]
    options += ["--num_train_epochs=1", "--per_device_train_batch_size=50", f"--fast_kernels={option}"]
    code, _, err = recipe("train.py", *options, f"--output_dir={tmp_path}/run", "--validation_size=0")
    assert code == 0, err
    assert read_results(tmp_path / "run")["environment"]["kernels"] == expected


def test_a_fine_tuned_cifar_cnn_keeps_its_learnt_stem(data, tmp_path):
    model = make_model()
    with torch.no_grad():
        model.cifar_cnn.stem[0].weight.normal_(std=0.3)
        model.cifar_cnn.stem[0].bias.normal_(std=0.3)
    save_model(model, Preprocessing(), tmp_path / "base")
    stem = model.cifar_cnn.stem[0].weight.clone()
    tuned, _ = load_model(str(tmp_path / "base"), list(CLASS_NAMES))
    train(tuned, data, tmp_path, bf16=False, from_scratch=False)
    assert torch.equal(tuned.cifar_cnn.stem[0].weight, stem)
    fresh, _ = load_model(str(tmp_path / "base"), list(CLASS_NAMES))
    train(fresh, data, tmp_path, bf16=False)
    assert not torch.equal(fresh.cifar_cnn.stem[0].weight, stem)
