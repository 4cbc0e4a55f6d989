"""The quickstart: on the sample and, marked slow, for real."""

import os
import runpy
import subprocess
import sys

import pytest

from hf_cifar.data.split import CIFAR10_VALIDATION_SHA256
from hf_cifar.evaluation.results import read_results
from hf_cifar.reporting.report import REPORT_FILES

from .conftest import ROOT


def test_smoke_spares_a_real_quickstart(tmp_path, cnn_run):
    holds_real_run = runpy.run_path(str(ROOT / "recipes/quickstart.py"))["holds_real_run"]
    (tmp_path / "cnn").mkdir()
    text = (cnn_run / "results.json").read_text()
    (tmp_path / "cnn/results.json").write_text(text)
    assert not holds_real_run(tmp_path)
    (tmp_path / "cnn/results.json").write_text(text.replace('"cifar10-sample"', '"cifar10"'))
    assert holds_real_run(tmp_path)


@pytest.mark.slow
def test_quickstart_on_the_sample(tmp_path):
    command = [sys.executable, "recipes/quickstart.py", "--smoke", f"--output_dir={tmp_path}/quickstart"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "SMOKE: on the bundled sample" in result.stdout and "NOTE: measured on the bundled sample" in result.stdout
    for name in (
        "cnn/results.json",
        "efficientnet-lite0/results.json",
        *(f"comparison/{name}" for name in REPORT_FILES),
    ):
        assert (tmp_path / "quickstart" / name).exists()


@pytest.mark.slow
def test_quickstart_on_cifar10(tmp_path):
    """The main job for real: fetches CIFAR-10, trains both models; about 10 minutes on 2 cores."""
    environment = os.environ | {"HF_CIFAR_CACHE": str(tmp_path / "cache")}
    environment.pop("HF_HUB_OFFLINE")
    command = [sys.executable, "recipes/quickstart.py", f"--output_dir={tmp_path}/quickstart"]
    subprocess.run(command, cwd=ROOT, check=True, env=environment)
    cnn, frozen = (read_results(tmp_path / "quickstart" / name) for name in ("cnn", "efficientnet-lite0"))
    assert cnn["data"]["sizes"] == {"train": 50_000, "validation": 0, "test": 10_000}
    assert frozen["data"]["sizes"] == {"train": 45_000, "validation": 5_000, "test": 10_000}
    assert frozen["data"]["validation_sha256"] == CIFAR10_VALIDATION_SHA256
    assert cnn["metrics"]["test"]["accuracy"]["value"] > 0.925
    assert cnn["metrics_tta"]["test"]["accuracy"]["value"] > 0.93
    assert frozen["metrics"]["test"]["accuracy"]["value"] > 0.88
