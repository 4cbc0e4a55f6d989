"""Comparing runs: only on one test set, with paired intervals and an honest tie."""

import copy
import json
import shutil
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from hf_cifar.errors import UserError
from hf_cifar.evaluation.comparison import compare_runs, load_runs
from hf_cifar.evaluation.mistakes import find_confusions

from . import made_runs
from .made_runs import make_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three seeds of a CNN, two of a better model, and an older run without further scores."""
    folder = tmp_path_factory.mktemp("made")
    folders = [make_run(folder / f"cnn{seed}", accuracy=0.8 + 0.01 * seed, seed=seed) for seed in range(3)]
    folders += [make_run(folder / f"vit{seed}", "ViT", "transfer", 0.95, seed) for seed in range(2)]
    folders.append(make_run(folder / "old", "Old", accuracy=0.8))
    results = json.loads((folders[-1] / "results.json").read_text())
    for split in results["metrics"].values():
        del split["scores"], split["roc_auc_per_class"]
    (folders[-1] / "results.json").write_text(json.dumps(results))
    return load_runs(list(map(str, folders)))


def find_pair(comparison: dict, *names: str) -> dict:
    return next(pair for pair in comparison["pairs"] if (pair["first"], pair["second"]) == names)


def test_seeds_are_one_model_and_verdicts_are_the_tests(runs):
    comparison = compare_runs(runs)
    assert [(model["name"], model["seeds"], model["kind"]) for model in comparison["models"]] == [
        ("CNN", 3, "cnn"), ("ViT", 2, "transfer"), ("Old", 1, "cnn"),
    ]  # fmt: skip
    summary = comparison["models"][0]["seed_summary"]
    assert summary["mean"] == pytest.approx(0.81) and summary["count"] == 3
    assert comparison["models"][2]["seed_summary"] is None
    pair = find_pair(comparison, "CNN", "ViT")
    assert pair["verdict"] == "worse" and "CNN is worse than ViT: -15.00 points" in pair["sentence"]
    assert sum(pair[key] for key in ("both", "neither", "only_first", "only_second")) == 500
    p_value = binomtest(pair["only_first"], pair["only_first"] + pair["only_second"]).pvalue
    assert pair["p_value"] == pytest.approx(p_value, abs=1e-12) and pair["p_adjusted"] >= pair["p_value"]
    tie = find_pair(comparison, "CNN", "Old")
    assert tie["verdict"] == "tie" and "a tie at 500 test images" in tie["sentence"]
    (group,) = comparison["seed_groups"]
    assert (group["first"], group["second"], group["verdict"]) == ("CNN", "ViT", "worse")


def test_scores_that_an_older_run_lacks_are_computed(runs):
    models = {model["name"]: model for model in compare_runs(runs)["models"]}
    for name in ("CNN", "Old"):
        scores = models[name]["scores"]
        assert set(scores) == {
            "macro_f1", "macro_precision", "macro_recall", "top_5_accuracy", "balanced_accuracy", "kappa", "matthews",
            "roc_auc", "brier", "negative_log_likelihood", "calibration_error", "calibration_error_scaled",
        }  # fmt: skip
        assert all(score is not None for score in scores.values())
    assert models["Old"]["inference"] is None and models["Old"]["robustness"] is None


def test_without_validation_predictions_nothing_is_scaled(tmp_path):
    folder = make_run(tmp_path / "final")
    (folder / "predictions/validation.parquet").unlink()
    (model,) = compare_runs(load_runs([str(folder)]))["models"]
    assert model["scores"]["calibration_error_scaled"] is None and model["scores"]["calibration_error"] is not None


def test_one_run_is_described_and_compared_with_nothing(tmp_path):
    comparison = compare_runs(load_runs([str(make_run(tmp_path / "a"))]))
    assert comparison["pairs"] == comparison["seed_groups"] == []
    assert all(axis["winner"] is None for axis in comparison["tradeoffs"])
    assert comparison["discussion"][0].startswith("There is one model, so nothing is compared.")


def test_identical_models_are_said_to_be_identical(tmp_path):
    first = make_run(tmp_path / "a", "A")
    shutil.copytree(first, tmp_path / "b")
    comparison = compare_runs(load_runs([str(first), str(tmp_path / "b")]))
    assert len(comparison["models"]) == 2  # one seed twice is not two seeds
    (pair,) = comparison["pairs"]
    assert pair["verdict"] == "identical" and "predict the same class for each" in pair["sentence"]
    assert pair["images_needed"] is None and pair["difference"]["value"] == 0


@pytest.mark.parametrize("num_classes", [2, 10])
def test_a_model_that_predicts_one_class_leaves_no_gap(tmp_path, num_classes):
    constant = np.full((400, num_classes), 0.1 / (num_classes - 1))
    constant[:, 1] = 0.9
    shape = {"num_images": 400, "num_classes": num_classes}
    folders = [make_run(tmp_path / "a", "A", **shape), make_run(tmp_path / "b", "B", probabilities=constant, **shape)]
    comparison = compare_runs(load_runs(list(map(str, folders))))
    json.dumps(comparison, allow_nan=False)
    model = comparison["models"][1]
    assert model["scores"]["matthews"]["value"] == 0 and model["scores"]["roc_auc"]["value"] == 0.5
    assert comparison["pairs"][0]["verdict"] == "better"


def test_predictions_that_are_not_finite_are_refused(tmp_path):
    folder = make_run(tmp_path / "a")
    frame = pd.read_parquet(folder / "predictions/test.parquet")
    frame.iloc[3, 2:] = np.nan
    frame.to_parquet(folder / "predictions/test.parquet")
    with pytest.raises(UserError, match=r"test.parquet: 1 of 500 rows of probabilities hold NaN"):
        load_runs([str(folder)])


def test_probabilities_of_other_classes_are_refused(tmp_path):
    folder = make_run(tmp_path / "a")
    frame = pd.read_parquet(folder / "predictions/test.parquet")
    frame.assign(probability_zebra=0.0).to_parquet(folder / "predictions/test.parquet")
    with pytest.raises(UserError, match="has 11 classes; allowed: the 10 of results.json"):
        load_runs([str(folder)])


def test_a_curve_on_other_test_images_is_refused(tmp_path):
    runs = load_runs([str(make_run(tmp_path / "a"))])
    other = str(make_run(tmp_path / "b", num_images=50))
    with pytest.raises(UserError, match="their test sets differ"):
        load_runs([other], like=runs[0])
    with pytest.raises(UserError, match="their test sets differ"):
        compare_runs(runs, curve=load_runs([other]))


def test_a_class_without_images_leaves_its_scores_out(tmp_path, monkeypatch):
    index, labels, data = made_runs.make_data(300, 10)
    monkeypatch.setattr(made_runs, "make_data", lambda *_: (index, np.where(labels == 3, 4, labels), data))
    folders = [make_run(tmp_path / name, name, num_images=300) for name in ("A", "B")]
    comparison = compare_runs(load_runs(list(map(str, folders))))
    scores = comparison["models"][0]["scores"]
    assert [name for name, score in scores.items() if score is None] == ["balanced_accuracy", "roc_auc"]


def test_ten_models_take_seconds(tmp_path):
    """10,000 resamples of 10 models on 500 images."""
    folders = [make_run(tmp_path / str(k), f"Model {k}", accuracy=0.9 + 0.005 * k) for k in range(10)]
    runs = load_runs(list(map(str, folders)))
    started = time.process_time()
    comparison = compare_runs(runs)
    assert time.process_time() - started < 15 and len(comparison["pairs"]) == 45


@pytest.mark.slow
def test_ten_models_on_all_test_images_take_seconds(tmp_path):
    folders = [
        make_run(tmp_path / str(k), f"Model {k}", accuracy=0.9 + 0.005 * k, num_images=10_000) for k in range(10)
    ]
    runs = load_runs(list(map(str, folders)))
    tracemalloc.start()
    started = time.process_time()
    compare_runs(runs)
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 30 and peak < 1e9


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


def test_no_run_is_refused(cnn_run, tmp_path):
    with pytest.raises(UserError, match="0 run given; a comparison needs at least 1"):
        load_runs([])
    with pytest.raises(UserError, match="holds no results.json"):
        load_runs([str(cnn_run), str(tmp_path)])


def test_confusions_are_sorted_and_off_the_diagonal():
    assert find_confusions([[5, 2, 0], [3, 9, 1], [0, 0, 7]], ["a", "b", "c"], 2) == [("b", "a", 3), ("a", "b", 2)]
