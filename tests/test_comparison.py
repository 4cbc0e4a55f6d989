"""Comparing runs: only on one test set, with paired intervals and an honest tie."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hf_cifar.errors import UserError
from hf_cifar.evaluation.comparison import Run, compare_pair, find_confusions, load_runs


def make_run(right: np.ndarray) -> Run:
    """A run on two classes that is right where `right` is True."""
    labels = np.zeros(len(right), dtype=int)
    frame = pd.DataFrame({"index": range(len(right)), "label": labels})
    frame["probability_a"], frame["probability_b"] = right.astype(float), 1.0 - right
    return Run("run", Path("run"), {}, frame)


def test_a_clear_difference_is_better_and_worse():
    generator = np.random.default_rng(0)
    good, bad = make_run(generator.random(2000) < 0.9), make_run(generator.random(2000) < 0.8)
    pair = compare_pair(good, bad)
    assert pair["verdict"] == "better" and compare_pair(bad, good)["verdict"] == "worse"
    assert pair["difference"]["value"] == pytest.approx((good.predicted == 0).mean() - (bad.predicted == 0).mean())
    assert sum(pair[name] for name in ("only_first", "only_second", "both", "neither")) == 2000


def test_the_interval_is_the_paired_one():
    generator = np.random.default_rng(0)
    right = generator.random(4000) < 0.9
    other = right ^ (generator.random(4000) < 0.01)  # the same but for 1 % of the images
    pair = compare_pair(make_run(right), make_run(other))
    differences = right.astype(int) - other.astype(int)
    error = 1.96 * differences.std() / 4000**0.5
    assert pair["difference"]["high"] - pair["difference"]["low"] == pytest.approx(2 * error, rel=0.1)
    assert error < 0.004  # unpaired it would be 0.013


def test_noise_is_a_tie():
    generator = np.random.default_rng(1)
    pair = compare_pair(make_run(generator.random(1000) < 0.9), make_run(generator.random(1000) < 0.9))
    assert pair["verdict"] == "tie"


def test_runs_of_one_name_are_told_apart(cnn_run, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(cnn_run, twin, ignore=shutil.ignore_patterns("checkpoints"))
    names = [run.name for run in load_runs([str(cnn_run), str(twin)])]
    assert names == [f"Tiny CNN ({cnn_run})", f"Tiny CNN ({twin})"]
    with pytest.raises(UserError, match="given twice"):
        load_runs([str(cnn_run), f"{cnn_run}/../cnn"])


def test_other_test_sets_are_refused(cnn_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(cnn_run, other, ignore=shutil.ignore_patterns("checkpoints"))
    results = json.loads((other / "results.json").read_text())
    changed = copy.deepcopy(results)
    changed["data"]["hashes"]["test"]["images"] = "0" * 64
    (other / "results.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match="their test sets differ"):
        load_runs([str(cnn_run), str(other)])
    (other / "results.json").write_text(json.dumps(results))
    frame = pd.read_parquet(other / "predictions/test.parquet")
    frame.iloc[:-1].to_parquet(other / "predictions/test.parquet")
    with pytest.raises(UserError, match="covers other test images"):
        load_runs([str(cnn_run), str(other)])


def test_one_run_or_no_run_is_refused(cnn_run, tmp_path):
    with pytest.raises(UserError, match="at least two"):
        load_runs([str(cnn_run)])
    with pytest.raises(UserError, match="holds no results.json"):
        load_runs([str(cnn_run), str(tmp_path)])


def test_confusions_are_sorted_and_off_the_diagonal():
    assert find_confusions([[5, 2, 0], [3, 9, 1], [0, 0, 7]], ["a", "b", "c"], 2) == [("b", "a", 3), ("a", "b", 2)]
