"""Inference cost: measured for what loads, and said of what does not."""

import shutil
import sys
import types

import pytest
import torch

from hf_cifar.evaluation import inference
from hf_cifar.evaluation.comparison import load_runs
from hf_cifar.evaluation.inference import measure_inference


def test_models_are_timed_and_one_without_weights_is_not(cnn_run, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(inference, "SECONDS", 0.05)
    shutil.copytree(cnn_run, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoints", "*.safetensors"))
    costs = measure_inference(load_runs([str(cnn_run), str(tmp_path / "bare")]))
    cost = costs[str(cnn_run)]
    assert cost["size_bytes"] == (cnn_run / "model.safetensors").stat().st_size
    assert cost["latency_ms"] > 0 and cost["throughput"] > 1000 / cost["latency_ms"] / 4
    assert cost["peak_memory_bytes"] is None or cost["peak_memory_bytes"] >= 0.9 * cost["size_bytes"]
    assert costs[str(tmp_path / "bare")] is None and "is not timed" in caplog.text


def test_memory_that_a_call_adds_is_seen():
    added = inference.measure_added_memory(lambda: torch.ones(50_000_000).sum(), torch.device("cpu"))
    if added is None:
        pytest.skip("the system does not tell")
    assert 150e6 < added < 400e6


def test_energy_is_measured_where_codecarbon_is_installed(monkeypatch):
    cpu, calls = torch.device("cpu"), []
    monkeypatch.setattr(inference, "ENERGY_SECONDS", 0.01)
    monkeypatch.setitem(sys.modules, "codecarbon", None)  # not to be imported
    assert inference.measure_energy(lambda: None, cpu) is None

    class Tracker:
        final_emissions_data = types.SimpleNamespace(energy_consumed=1e-6)  # kWh

        def __init__(self, **options):
            assert options["save_to_file"] is False

        def start(self):
            calls.clear()  # the one that warms up does not count

        def stop(self):
            calls.append("stopped")

    monkeypatch.setitem(sys.modules, "codecarbon", types.SimpleNamespace(OfflineEmissionsTracker=Tracker))
    joules = inference.measure_energy(lambda: calls.append("called"), cpu)
    assert calls[-1] == "stopped" and joules == pytest.approx(3.6 / (64 * (len(calls) - 1)))
