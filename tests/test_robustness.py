"""Robustness: every corruption once, resumable, the same each time, and summed up as the docs say."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from hf_cifar.data.store import read_column, read_images
from hf_cifar.evaluation import robustness as module
from hf_cifar.evaluation.corruptions import CORRUPTIONS, FAMILIES, corrupt
from hf_cifar.evaluation.predictions import predict_probabilities
from hf_cifar.evaluation.results import read_results
from hf_cifar.evaluation.robustness import choose_images, measure_robustness, pack, summarize_parts, unpack
from hf_cifar.models.loading import load_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def few(data):
    """The sample with its first 60 test images."""
    return dataclasses.replace(data, test=data.test.select(range(60)))


@pytest.fixture(scope="module")
def loaded(cnn_run):
    return load_model(str(cnn_run), trust_remote_code=True)


@pytest.fixture
def counted(monkeypatch):
    """The corruptions that are made, as (name, severity)."""
    made = []

    def record(images, name, severity, *rest):
        made.append((name, severity))
        return corrupt(images, name, severity, *rest)

    monkeypatch.setattr(module, "corrupt", record)
    return made


def measure(loaded, few, folder, **options):
    return measure_robustness(*loaded, few, "quick", folder, CPU, "fp32", **options)


def test_every_corruption_is_measured_and_the_numbers_are_those_of_its_images(loaded, few, tmp_path, counted):
    result = measure(loaded, few, tmp_path)
    assert set(result["corruptions"]) == set(CORRUPTIONS) - {"frost"} and "frost" in result["left_out"]
    assert len(counted) == 18 * 3 and result["num_images"] == 60 and result["level"] == "quick"
    images, labels = read_images(few.test), read_column(few.test, "label")
    noisy = corrupt(images, "gaussian_noise", 3, 0, read_column(few.test, "index"))
    expected = (predict_probabilities(*loaded, noisy, CPU).argmax(1) == labels).mean()
    assert result["corruptions"]["gaussian_noise"]["severities"]["3"] == expected
    means = {
        family: np.mean(
            [list(result["corruptions"][name]["severities"].values()) for name in names if name != "frost"]
        )
        for family, names in FAMILIES.items()
    }
    assert result["families"] == pytest.approx(means)
    counted_names = [name for name, row in result["corruptions"].items() if row["family"] != "extra"]
    assert len(counted_names) == 14
    mean = np.mean([list(result["corruptions"][name]["severities"].values()) for name in counted_names])
    assert result["mean_accuracy"]["value"] == pytest.approx(mean)
    assert result["mean_accuracy"]["low"] < mean < result["mean_accuracy"]["high"]


def test_an_interrupted_measurement_goes_on(loaded, few, tmp_path, monkeypatch, counted):
    write, written = module.write_json, []

    def fail(path, part):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(path)
        write(path, part)

    monkeypatch.setattr(module, "write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        measure(loaded, few, tmp_path)
    monkeypatch.setattr(module, "write_json", write)
    counted.clear()
    result = measure(loaded, few, tmp_path)
    assert len(counted) == 18 * 3 - 5
    # A part that was altered, one that is damaged, and one of other images are made again; no other.
    for path, change in zip(written, ("hits", "text", "images"), strict=False):
        part = json.loads(path.read_text())
        if change == "hits":
            part["hits"] = part["hits"][:-1] + ("0" if part["hits"][-1] != "0" else "1")
        if change == "images":
            part["images"] = 61
        path.write_text(json.dumps(part)[: 20 if change == "text" else None])
    counted.clear()
    again = measure(loaded, few, tmp_path)
    assert len(counted) == 3
    for name in ("corruptions", "families", "mean_accuracy", "clean_accuracy"):
        assert again[name] == result[name]
    counted.clear()
    measure(loaded, few, tmp_path, seed=1)
    assert len(counted) == 18 * 3  # other draws


def test_photographs_of_frost_are_used_where_there_are_some(loaded, few, tmp_path, counted):
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    result = measure(loaded, few, tmp_path, frost_photos=[photo])
    assert set(result["corruptions"]) == set(CORRUPTIONS) and result["left_out"] == {}
    counted.clear()
    measure(loaded, few, tmp_path, frost_photos=[255 - photo])
    assert counted == [("frost", 1), ("frost", 3), ("frost", 5)]


def test_quick_takes_as_many_images_of_each_class(data, monkeypatch):
    monkeypatch.setattr(module, "QUICK_IMAGES", 100)
    chosen = choose_images(data.test, "quick")
    assert np.bincount(read_column(chosen, "label")).tolist() == [10] * 10
    assert choose_images(data.test, "full") is data.test
    indices = read_column(chosen, "index")
    assert (np.diff(indices) > 0).all()
    first = np.flatnonzero(read_column(data.test, "label") == 3)[:10]
    assert set(read_column(data.test, "index")[first]) <= set(indices)


def test_packed_hits_are_checked():
    hits = np.random.default_rng(0).random(21) < 0.5
    assert (unpack(pack(hits), 21) == hits).all()
    with pytest.raises(ValueError, match="checksum"):
        unpack("0" * 16 + pack(hits)[16:], 21)


def test_a_model_that_is_always_right_or_wrong():
    for value in (True, False):
        parts = {("fog", severity): np.full(20, value) for severity in (1, 3)}
        result = summarize_parts(parts, {})
        assert result["mean_accuracy"] == {"value": value, "low": value, "high": value}
        assert result["families"] == {"weather": value}


def test_eval_keeps_robustness_in_the_run(recipe, tiny_config, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "QUICK_IMAGES", 20)
    options = ["--config", tiny_config, "--num_train_epochs=1", "--train_fraction=0.2"]
    assert recipe("train.py", *options, f"--output_dir={tmp_path}/run")[0] == 0
    code, out, err = recipe("eval.py", tmp_path / "run", "--robustness=quick", f"--output_dir={tmp_path}/e")
    assert code == 0, err
    assert "corrupted (quick, 20 images)" in out and "left out: frost" in out and "kept in" in out
    kept = read_results(tmp_path / "run")["robustness"]
    assert kept == json.loads((tmp_path / "e/robustness.json").read_text()) and kept["num_images"] == 20


def test_a_folder_without_photographs_is_refused(recipe, cnn_run, tmp_path):
    code, _, err = recipe("eval.py", cnn_run, "--robustness=quick", f"--frost_photos={tmp_path}")
    assert code == 2 and "photo" in err and len(err.strip().splitlines()) == 1
