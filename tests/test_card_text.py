"""A card's sentences: what the numbers say, and no more."""

import copy

import pytest

from hf_cifar.evaluation.results import read_results
from hf_cifar.publishing import card_text
from hf_cifar.publishing.card_procedure import describe_optimizer, list_options, make_command, make_setting_rows
from hf_cifar.publishing.cards import render_card

from .made_runs import make_run


def estimate(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def make_test(matrix: list[list[int]], recalls: list[dict]) -> dict:
    names = [f"c_{place}" for place in range(len(matrix))]
    rows = {name: {"recall": recall, "support": 10} for name, recall in zip(names, recalls, strict=True)}
    return {"num_images": sum(map(sum, matrix)), "confusion_matrix": matrix, "per_class": rows}


SEPARATE = [estimate(0.5, 0.4, 0.6), estimate(0.9, 0.85, 0.95), estimate(0.8, 0.7, 0.9)]


def test_the_weakest_class_is_named_and_chance_is_too():
    test = make_test([[5, 5, 0], [0, 9, 1], [1, 1, 8]], SEPARATE)
    text = card_text.describe_classes(test)
    assert text == "Recall is lowest for c\\_0 (50.00 % [40.0, 60.0]), and highest for c\\_1 (90.00 % [85.0, 95.0])."
    blurred = make_test(test["confusion_matrix"], [SEPARATE[0] | {"high": 0.9}, *SEPARATE[1:]])
    assert "these intervals overlap, so the order may be chance" in card_text.describe_classes(blurred)


def test_confusions_and_classes_that_are_predicted_too_often():
    test = make_test([[5, 5, 0], [0, 9, 1], [1, 1, 8]], SEPARATE)
    assert card_text.describe_confusions(test, ["a", "b", "c"]) == (
        "Of 8 mistakes, the most frequent are 5 × a taken for b, 1 × b taken for c and 1 × c taken for a: 88 % of all."
    )
    assert card_text.describe_bias(test) == (
        "Of all classes it predicts c\\_1 15 times for 10 images (most above its share), and c\\_0 6 times for 10 "
        "images (most below)."
    )
    perfect = make_test([[10, 0], [0, 10]], SEPARATE[:2])
    assert card_text.describe_confusions(perfect, ["a", "b"]) == "It made no mistake on these 20 test images."
    assert card_text.describe_bias(perfect) == ""


@pytest.mark.parametrize(
    ("confidences", "words"),
    [
        ((0.9, 0.8), "85.00 % at an accuracy of 80.00 %, so it is overconfident by 5.0 points on average"),
        ((0.7, 0.74), "72.00 % at an accuracy of 80.00 %, so it is underconfident by 8.0 points on average"),
        ((0.8, 0.82), "81.00 % at an accuracy of 80.00 %, which is within the accuracy's interval"),
    ],
)
def test_confidence_is_compared_with_accuracy(confidences, words):
    bins = [{"confidence": confidence, "accuracy": 0.8, "count": 10} for confidence in confidences]
    text = card_text.describe_confidence({"reliability": {"before": bins}}, estimate(0.8, 0.78, 0.82))
    assert text == f"Its mean confidence is {words}."


def test_robustness_names_the_worst():
    robustness = {
        "clean_accuracy": 0.9,
        "families": {"noise": 0.6},
        "corruptions": {"gaussian_noise": {"family": "noise", "severities": {"1": 0.8, "5": 0.4}}},
    }
    assert card_text.describe_worst_corruption(robustness) == "Lowest: 40.0 %, gaussian noise at severity 5."
    assert card_text.make_robustness_rows(robustness) == [["clean", "noise"], ["90.0 %", "60.0 %"]]


def test_what_was_not_measured_is_said_with_the_command_that_measures_it(tmp_path):
    results = read_results(make_run(tmp_path / "run"))
    text = render_card(results, figures=())
    assert "`python recipes/eval.py FOLDER --robustness quick` measures it" in text
    assert "`python recipes/eval.py FOLDER` measures it" in text
    assert "confusion_matrix.png" not in text and "confident" not in text and "Compared with" not in text
    assert "not measured" in text.split("## Purpose")[0]  # with test-time augmentation


def test_calibration_and_robustness_are_shown_where_they_were_measured(tmp_path):
    results = read_results(make_run(tmp_path / "run"))
    score = estimate(0.05, 0.04, 0.06)
    scores = dict.fromkeys(("calibration_error", "negative_log_likelihood", "brier"), score)
    bins = [{"confidence": 0.99, "accuracy": 0.9, "count": 500}]
    results["calibration"] = {
        "temperature": 1.25, "fitted_on": "validation", "reason": None,
        "test": {"before": scores, "after": scores}, "reliability": {"before": bins, "after": bins},
    }  # fmt: skip
    results["robustness"] = {
        "level": "quick", "num_images": 500, "seed": 0, "clean_accuracy": 0.9,
        "mean_accuracy": estimate(0.7, 0.6, 0.8), "families": {"blur": 0.7},
        "corruptions": {"zoom_blur": {"family": "blur", "severities": {"3": 0.65}}},
        "left_out": {"frost": "no photographs"}, "images_per_second": 1.0, "plain_images_per_second": 1.0,
    }  # fmt: skip
    text = render_card(results)
    assert "| expected calibration error | 5.00 % [4.0, 6.0] | 5.00 % [4.0, 6.0] |" in text
    assert "divided by 1.250" in text and "overconfident by 9.0 points" in text
    assert "70.00 % [60.0, 80.0] on average. Lowest: 65.0 %, zoom blur at severity 3. Left out: frost." in text
    final = copy.deepcopy(results)
    final["calibration"] |= {"temperature": None, "fitted_on": None, "reason": "no validation images"}
    del final["calibration"]["test"]["after"], final["calibration"]["reliability"]["after"]
    assert "No temperature was fitted: no validation images." in render_card(final)


def test_many_classes_are_folded_and_have_no_table_of_confusions(tmp_path):
    results = read_results(make_run(tmp_path / "run", num_classes=30, num_images=600))
    text = render_card(results)
    assert "<details><summary>Precision, recall and F1 of 30 classes</summary>" in text
    assert "Confusion matrix as a table" not in text and "class 19 ..." in text


def test_settings_that_are_off_are_not_said_and_secrets_are_left_out(tmp_path):
    results = read_results(make_run(tmp_path / "run", kind="transfer"))
    results["recipe"]["options"] |= {
        "optimizer": "adamw", "learning_rate": 0.001, "momentum": 0.9, "weight_decay": 0.05, "finetune": "head",
        "parameter_groups": {"head": {"lr": 0.003}}, "label_smoothing_factor": 0, "hub_token": "x", "mixup": 0.2,
        "per_device_train_batch_size": 50, "progressive_resizing": {"0": 96, "0.5": 128}, "flip": "none",
    }  # fmt: skip
    results["environment"]["world_size"] = 2
    options = results["recipe"]["options"]
    assert describe_optimizer(options) == "adamw, learning rate 0.001 (head 0.003), weight decay 0.05"
    rows = dict(make_setting_rows(results))
    assert rows["augmentation"] == "mixup 0.2" and rows["epochs"] == "4, batches of 100"
    assert rows["input"] == "96 px, 128 px from 50 % of training on" and "2 processes" in rows["hardware"]
    assert "88 s for features" in rows["time"] and rows["fine-tuning"] == "head"
    assert "hub_token" not in list_options(results) and "mixup: 0.2" in list_options(results)


def test_the_command_has_its_seed():
    assert make_command({"command": "python t.py", "seed": 3}) == "python t.py --seed 3"
    for command in ("python t.py --seed 3", "python t.py --seed=3"):
        assert make_command({"command": command, "seed": 3}) == command
