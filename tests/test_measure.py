"""What measuring writes down about model, data and recipe."""

import json

import pytest
from transformers import TrainingArguments

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
from hf_cifar.data.split import split_table
from hf_cifar.errors import UserError
from hf_cifar.evaluation.measure import describe_data, describe_recipe, get_validation_table
from hf_cifar.evaluation.results import read_results
from hf_cifar.training.trainer import get_training_defaults


def test_selection_says_what_was_saved(tmp_path):
    options = (DataArguments(cache_dir="/secret/place"), ModelArguments(), RecipeArguments())
    for best, expected in ((True, "best epoch by validation accuracy"), (False, "last epoch")):
        settings = get_training_defaults() | {"output_dir": str(tmp_path), "load_best_model_at_end": best}
        recipe = describe_recipe("command", TrainingArguments(**settings, learning_rate=0.3), *options)
        assert recipe["selection"] == expected
    assert recipe["options"]["learning_rate"] == 0.3 and recipe["options"]["optimizer"] == "adamw"
    assert str(tmp_path) not in str(recipe) and "/secret/place" not in str(recipe)


def test_data_without_validation(data):
    described = describe_data(data, data.train, None)
    assert described["validation_sha256"] is None and described["sizes"]["validation"] == 0


def test_the_validation_table_is_the_runs_own(data, cnn_run, tmp_path):
    default = split_table(data.train)[1]["index"][:]
    assert get_validation_table(data, tmp_path)["index"][:] == default  # no run there
    assert get_validation_table(data, cnn_run)["index"][:] == default
    results = read_results(cnn_run)
    results["data"]["validation_sha256"] = None
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match="kept no validation images"):
        get_validation_table(data, tmp_path)


def test_a_run_knows_its_calibration_and_further_scores(cnn_run):
    results = read_results(cnn_run)
    test, calibration = results["metrics"]["test"], results["calibration"]
    assert calibration["fitted_on"] == "validation" and calibration["temperature"] > 0
    assert calibration["test"]["before"]["calibration_error"] == test["scores"]["calibration_error"]
    assert calibration["test"]["before"]["brier"] == test["scores"]["brier"]
    assert set(test["roc_auc_per_class"]) == set(results["data"]["class_names"])
    assert "scores" in results["metrics"]["validation"]
