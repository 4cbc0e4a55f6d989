"""Trade-offs: each axis can be won by either kind, be a tie, or be left undecided, and says why."""

import copy

import pytest

from hf_cifar.evaluation.tradeoffs import advise, describe_tradeoffs, discuss, find_fronts

from .report_cases import make_model, make_pairs


@pytest.fixture
def models():
    return [make_model(0, "CNN", True), make_model(1, "ViT", True)]


def judge(models, pairs=None, curve=None) -> dict[str, dict]:
    for model in models:
        if model["robustness"]:
            model["robustness"]["left_out"] = {}
    names = [model["name"] for model in models]
    axes = describe_tradeoffs(models, make_pairs(names, "tie") if pairs is None else pairs, curve)
    return {axis["axis"]: axis for axis in axes}


def test_accuracy_is_won_by_verdict_alone(models):
    assert judge(models)["accuracy"]["winner"] == "tie"
    axis = judge(models, make_pairs(["CNN", "ViT"], "worse"))["accuracy"]
    assert axis["winner"] == "ViT" and axis["sentence"] == "ViT leads with 94.40 %; CNN (94.00 %) follows."


def test_costs_within_a_tenth_are_a_tie(models):
    axes = judge(models)
    assert axes["training_cost"]["winner"] == axes["latency"]["winner"] == axes["size"]["winner"] == "CNN"
    assert "2.0 times as much" in axes["training_cost"]["sentence"]
    models[1]["cost"]["train_seconds"] = 1.05 * models[0]["cost"]["train_seconds"]
    assert judge(models)["training_cost"]["winner"] == "tie"


def test_features_of_a_frozen_backbone_count_as_training(models):
    models[0]["cost"]["feature_seconds"] = 10_000.0
    assert judge(models)["training_cost"]["winner"] == "ViT"
    assert judge(models)["training_cost"]["values"]["CNN"] == 10_400


def test_times_on_different_hardware_are_not_compared(models):
    models[1]["cost"]["hardware"] = "a GPU"
    axis = judge(models)["training_cost"]
    assert axis["winner"] is None and "different hardware" in axis["sentence"]
    assert "train_seconds" not in [front["cost"] for front in find_fronts(models)]


def test_what_was_not_measured_is_said(models):
    models[1]["inference"] = models[1]["robustness"] = None
    axes = judge(models)
    for name in ("latency", "robustness"):
        assert axes[name]["winner"] is None and "not measured for ViT" in axes[name]["sentence"]
    assert axes["data_needed"]["winner"] is None and "--curve" in axes["data_needed"]["sentence"]


def test_scores_win_where_intervals_are_apart(models):
    for model, value in zip(models, (0.6, 0.7), strict=True):
        model["robustness"]["mean_accuracy"] = {"value": value, "low": value - 0.01, "high": value + 0.01}
    for model, value in zip(models, (0.01, 0.03), strict=True):
        model["scores"]["calibration_error_scaled"] = {"value": value, "low": value - 0.005, "high": value + 0.005}
    axes = judge(models)
    assert axes["robustness"]["winner"] == "ViT" and axes["calibration"]["winner"] == "CNN"
    other = copy.deepcopy(models)
    other[1]["robustness"]["level"] = "full"
    assert "corrupted in different ways" in judge(other)["robustness"]["sentence"]
    models[0]["robustness"]["mean_accuracy"]["high"] = 0.695
    assert judge(models)["robustness"]["winner"] == "tie"


def test_the_front_leaves_out_what_is_worse_in_both(models):
    fronts = {front["cost"]: front["front"] for front in find_fronts(models)}
    assert fronts["parameters"] == ["CNN", "ViT"]
    models[1]["accuracy"]["value"] = 0.9
    fronts = {front["cost"]: front["front"] for front in find_fronts(models)}
    assert all(front == ["CNN"] for front in fronts.values())


def test_the_discussion_names_kinds_and_gives_advice(models):
    axes = list(judge(models, make_pairs(["CNN", "ViT"], "worse")).values())
    paragraphs = discuss(models, axes)
    assert paragraphs[0].startswith("Accuracy: transfer learning wins.")
    assert "Training cost: the CNN from scratch wins." in paragraphs[1]
    assert "ViT where accuracy counts" in paragraphs[-1] and "CNN where training time, " in paragraphs[-1]
    for model in models:
        model["kind"] = "cnn"
    assert discuss(models, axes)[0].startswith("Accuracy: ViT leads with 94.40 %")
    kinds = {"CNN": "cnn", "ViT": "cnn"}
    assert advise([{**axis, "leaders": list(kinds)} for axis in axes], kinds).startswith("No axis has a clear winner")


def test_a_kind_wins_where_only_its_models_tie_at_the_top():
    names = ["CNN", "ViT", "Another", "ConvNeXt"]
    models = [make_model(place, name, True) for place, name in enumerate(names)]
    pairs = make_pairs(names, "worse")
    next(pair for pair in pairs if (pair["first"], pair["second"]) == ("ViT", "ConvNeXt"))["verdict"] = "tie"
    axes = judge(models, pairs)
    axis = axes["accuracy"]
    assert axis["winner"] == "tie" and axis["leaders"] == ["ConvNeXt", "ViT"]
    assert axis["sentence"].endswith("tie at the top (no difference is found); Another and CNN follow.")
    paragraphs = discuss(models, list(axes.values()))
    assert paragraphs[0].startswith("Accuracy: transfer learning wins. ConvNeXt (95.20 %) and ViT (94.40 %) tie")
    assert "ConvNeXt or ViT where accuracy counts" in paragraphs[-1]
