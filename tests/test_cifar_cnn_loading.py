"""CifarCnn through save_pretrained and from_pretrained: exact, in every precision, and as remote code."""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageClassification

from hf_cifar.models import CifarCnnForImageClassification

from . import strangers
from .conftest import ROOT
from .test_cifar_cnn_common import (
    CONFIGS,
    each_class,
    each_config,
    make_images,
    make_model,
)
from .test_cifar_cnn_training import FROZEN, find_frozen


@contextlib.contextmanager
def catch_messages() -> Iterator[list[str]]:
    """What transformers says in this context, from warnings upwards."""
    said = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("transformers").addHandler(handler)
    yield said
    logging.getLogger("transformers").removeHandler(handler)


@each_class
@each_config
def test_saving_and_loading_is_exact_and_silent(options, model_class, tmp_path):
    model = make_model(options, model_class)
    with warnings.catch_warnings(), catch_messages() as messages:
        warnings.simplefilter("error")
        model.save_pretrained(tmp_path)
        loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not messages and not any(info.values())
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    with torch.no_grad():
        assert torch.equal(loaded(make_images())[0], model(make_images())[0])
    again = loaded.config.to_dict()
    assert {k: again[k] for k in options} == options and again["architectures"] == [model_class.__name__]


@each_config
def test_weights_are_saved_as_safetensors_only(options, tmp_path):
    make_model(options).save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir() if path.suffix != ".py"}
    assert names == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each_config
def test_a_half_checkpoint_loads_in_half_and_in_float32(options, dtype, tmp_path):
    model = make_model(options)
    model.save_pretrained(tmp_path / "full")
    half = CifarCnnForImageClassification.from_pretrained(tmp_path / "full", dtype=dtype)
    assert {value.dtype for value in half.parameters()} == {dtype}
    expected = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    torch.testing.assert_close(half.state_dict(), expected, rtol=0, atol=0)
    half.save_pretrained(tmp_path / "half")
    again = CifarCnnForImageClassification.from_pretrained(tmp_path / "half", dtype="auto")
    torch.testing.assert_close(again.state_dict(), expected, rtol=0, atol=0)
    back = CifarCnnForImageClassification.from_pretrained(tmp_path / "half", dtype=torch.float32)
    assert {value.dtype for value in back.parameters()} == {torch.float32}
    with torch.no_grad():
        logits = model(make_images()).logits
        torch.testing.assert_close(half(make_images()).logits.float(), logits, atol=0.05, rtol=0.05)
        torch.testing.assert_close(back(make_images()).logits, logits, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_loads_with_a_device_map(name, tmp_path):
    model = make_model(CONFIGS[name])
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path, device_map={"": "cpu"})
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert find_frozen(loaded) == FROZEN[name]


def test_remote_code_that_is_saved_again_is_remote_code_again(stranger, tmp_path):
    model = make_model(CONFIGS["best"])
    model.save_pretrained(tmp_path / "first")
    with torch.no_grad():
        expected = model(torch.ones(2, 3, 32, 32)).logits.numpy()
    answers = stranger(strangers.save_again, str(tmp_path / "first"), str(tmp_path / "second"))
    for module, frozen, logits in answers:
        assert module.startswith("transformers_modules.") and np.array_equal(logits, expected)
        assert {name.removeprefix("cifar_cnn.") for name in frozen} == FROZEN["best"]
    for name in ("configuration_cifar_cnn.py", "modeling_cifar_cnn.py"):
        assert (tmp_path / "second" / name).read_bytes() == (ROOT / "hf_cifar/models" / name).read_bytes()
    auto_map = json.loads((tmp_path / "second/config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForImageClassification"] == "modeling_cifar_cnn.CifarCnnForImageClassification"
    assert auto_map["AutoConfig"] == "configuration_cifar_cnn.CifarCnnConfig"
