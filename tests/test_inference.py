"""Inference cost: measured for what loads, and said of what does not."""

import shutil

import pytest

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
    import torch

    added = inference.measure_added_memory(lambda: torch.ones(50_000_000).sum(), torch.device("cpu"))
    if added is None:
        pytest.skip("the system does not tell")
    assert 150e6 < added < 400e6
