"""Models in other formats: equal to PyTorch, timed, published with their checksum, refused where they differ."""

import json
import shutil

import numpy as np
import pytest
import torch

from hf_cifar.data.transforms import Preprocessing
from hf_cifar.errors import UserError
from hf_cifar.evaluation.results import read_results
from hf_cifar.models.image_processors import build_image_processor
from hf_cifar.publishing import export
from hf_cifar.publishing.checks import check_run, list_files
from hf_cifar.publishing.verify import verify_model

from .hub_server import open_here
from .tiny_models import FOR_32_PIXELS

FEW = ("vit", "timm efficientnet")  # in the default tests; the others are slow


@pytest.fixture(autouse=True)
def short_timings(monkeypatch):
    monkeypatch.setattr(export, "ROUNDS", 1)
    monkeypatch.setattr(export, "SECONDS", 0.1)


@pytest.fixture(scope="module")
def exported(cnn_run, tmp_path_factory):
    """A run with its exports, and what was said."""
    from .conftest import run_recipe

    folder = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(cnn_run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    assert run_recipe("export.py", folder, "--num_images=60") == 0
    return folder


def test_a_run_gets_files_that_equal_it_and_keeps_what_was_measured(exported):
    section = read_results(exported)["exports"]
    for name in ("onnx", "torch_export"):
        assert (exported / section[name]["file"]).stat().st_size == section[name]["size_bytes"]
        assert section[name]["num_images"] == 60 and section[name]["largest_difference"] <= export.TOLERANCE
        assert section[name]["other_classes"] == 0
    card = (exported / "README.md").read_text()
    assert "### Other formats" in card and "| ONNX, by onnxruntime |" in card
    for name in ("pytorch", "onnx", "torch_export"):
        assert section[name]["latency_ms"] > 0 and section[name]["throughput"] > 0


def test_onnx_takes_any_batch_and_names_labels_and_preprocessing(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(exported / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    for size in (1, 3, 70):
        (logits,) = session.run(None, {"pixel_values": np.zeros((size, 3, 32, 32), "float32")})
        assert logits.shape == (size, 10)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"])[:2] == ["airplane", "automobile"]
    assert "image_mean" in json.loads(facts["preprocessing"])


def test_onnx_is_published_with_its_checksum_and_torch_export_is_not(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_cifar.publishing.checks.open_stranger", open_here)
    monkeypatch.setattr("hf_cifar.publishing.verify.open_stranger", open_here)
    folder = tmp_path / "run"
    shutil.copytree(exported, folder)
    _, paths = check_run(folder)
    assert "onnx/model.onnx" in paths and not any("torch_export" in path for path in paths)
    with open(folder / "onnx/model.onnx", "ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="onnx/model.onnx is not the file that results.json names"):
        check_run(folder)
    failed = [check.name for check in verify_model(str(folder), subset=20) if not check.ok]
    assert failed == ["onnx/model.onnx, SHA-256"]
    (folder / "onnx/other.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match="other.onnx"):
        list_files(folder)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in FEW else pytest.mark.slow) for name in FOR_32_PIXELS
])  # fmt: skip
def test_every_family_is_exported(name, tmp_path):
    torch.manual_seed(0)
    model = FOR_32_PIXELS[name]().eval()
    size = 224 if name == "timm swin" else 32
    processor = build_image_processor(Preprocessing(size, [0.5] * 3, [0.25] * 3))
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    section = export.export_model(model, processor, images, tmp_path, list(export.FILES))
    for each in export.FILES:
        assert section[each]["largest_difference"] < 1e-5 and (tmp_path / export.FILES[each]).is_file()


@pytest.mark.parametrize("offset", [0.1, float("nan")])
def test_what_differs_is_refused_and_not_kept(offset, monkeypatch, tmp_path):
    right = export.load
    monkeypatch.setattr(export, "load", lambda *given: lambda batch: right(*given)(batch) * (1 + offset))
    model, processor = FOR_32_PIXELS["cifar_cnn"](), build_image_processor(Preprocessing(32, [0.5] * 3, [0.25] * 3))
    torch.nn.init.normal_(model.classifier[-1].weight)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="differs from PyTorch"):
        export.export_model(model, processor, images, tmp_path, ["torch_export"])
    assert not list((tmp_path / "torch_export").iterdir())


def test_bad_input_is_one_line(recipe, exported, tmp_path, monkeypatch):
    model = tmp_path / "model"
    shutil.copytree(exported, model, ignore=shutil.ignore_patterns("results.json"))
    code, _, err = recipe("export.py", model)
    assert code == 2 and "is no run folder; give --output_dir" in err
    code, _, err = recipe("export.py", exported, "--num_images=0")
    assert code == 2 and "num_images=0 is out of range" in err
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    code, _, err = recipe("export.py", exported)
    assert code == 2 and "pip install onnx onnxruntime onnxscript" in err
