"""Settings and fixtures for all tests: offline, own cache, tiny models, recipes run in this process."""

import multiprocessing
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_CIFAR_CACHE"] = tempfile.mkdtemp(prefix="hf_cifar_tests_")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tiny networks gain nothing from a second thread, and beside other work each step would wait for the slower one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import runpy
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import datasets
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from huggingface_hub import constants
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from hf_cifar.arguments import SourceArguments
from hf_cifar.data.table import ImageData, load_data
from hf_cifar.hub import is_hub_reachable

from . import strangers

ROOT = Path(__file__).parents[1]
datasets.disable_progress_bars()

# A CifarCnn that trains in a second, with every part that the fast recipe has.
TINY_CNN = {
    "stem": "whitening",
    "hidden_sizes": [16, 32],
    "depths": [2, 1],
    "pooling": "after_first_convolution",
    "normalization": "batch",
    "convolution_bias": False,
    "identity_init": True,
    "hidden_act": "gelu",
    "final_pooling": "max",
    "classifier_hidden_sizes": [],
    "classifier_bias": False,
    "initializer_range": 0.03,
}


def pytest_sessionfinish() -> None:
    shutil.rmtree(os.environ["HF_CIFAR_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def fresh_accelerate_state():
    """Runs in one process would otherwise share the first one's precision."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState._reset_state()


@pytest.fixture(scope="session")
def data() -> ImageData:
    """The bundled sample: 1,000 training and 500 test images."""
    return load_data(SourceArguments("sample"))


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory) -> Path:
    """A ViT checkpoint with an ImageNet-like head of 7 classes and its own preprocessing."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, num_labels=7,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def tiny_convnext(tmp_path_factory) -> Path:
    """A ConvNeXt checkpoint."""
    folder = tmp_path_factory.mktemp("convnext")
    torch.manual_seed(0)
    config = ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_labels=7, image_size=64)
    ConvNextForImageClassification(config).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=1.0).save_pretrained(folder)
    return folder


def run_recipe(script: str, *arguments: object) -> int:
    """Run a recipe in this process, which has imported all that it needs; gives its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", [f"recipes/{script}", *map(str, arguments)])
        try:
            runpy.run_path(str(ROOT / "recipes" / script), run_name="__main__")
        except SystemExit as error:
            return error.code or 0
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)
    return 0


@pytest.fixture
def recipe(capfd):
    """`run_recipe` with what it printed: `recipe("train.py", "--seed=1")` gives (exit code, stdout, stderr)."""

    def run(script: str, *arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_recipe(script, *arguments)
        output = capfd.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory) -> Path:
    """A YAML that trains TINY_CNN on the sample in seconds."""
    import yaml

    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    options = {
        "run_name": "Tiny CNN",
        "dataset": "sample",
        "model_config": TINY_CNN,
        "flip": "alternating",
        "translate": 2,
        "optimizer": "muon",
        "learning_rate": 0.05,
        "momentum": 0.6,
        "parameter_groups": {"vectors": {"lr": 0.05}, "head": {"lr": 0.1}},
        "num_train_epochs": 2,
        "per_device_train_batch_size": 90,
        "bf16": False,
        "disable_tqdm": True,
    }
    path.write_text(yaml.safe_dump(options))
    return path


@pytest.fixture(scope="session")
def cnn_run(tiny_config, tmp_path_factory) -> Path:
    """A finished run of `tiny_config`."""
    folder = tmp_path_factory.mktemp("runs") / "cnn"
    assert run_recipe("train.py", "--config", tiny_config, f"--output_dir={folder}") == 0
    return folder


@pytest.fixture(scope="session")
def frozen_run(tmp_path_factory) -> Path:
    """A finished run of the frozen EfficientNet-Lite0 recipe on the sample, small."""
    folder = tmp_path_factory.mktemp("runs") / "lite0"
    options = ["--config=recipes/efficientnet/lite0-frozen.yaml", "--dataset=sample", "--image_size=64"]
    options += ["--num_train_epochs=20", "--per_device_train_batch_size=100", f"--output_dir={folder}"]
    assert run_recipe("train.py", *options) == 0
    return folder


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """Call a function of `strangers.py` in a process without this package: `stranger(function, *arguments)`.

    Each call has a process of its own, forked from one that has imported the libraries and nothing else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "timm", "torch", "transformers.pipelines"])

    def call(function: Callable, *arguments: object) -> object:
        with ProcessPoolExecutor(1, context, strangers.forget_this_package) as executor:
            return executor.submit(function, *arguments).result()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("home")))
        call(os.getpid)  # the first call starts the process that the others are forked from
    return call


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No token, no offline mode, nothing asked yet."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    is_hub_reachable.cache_clear()
    yield monkeypatch
    is_hub_reachable.cache_clear()


def put_npm_on_path(folder, monkeypatch, script: str) -> None:
    """Make `npm` a shell script."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
