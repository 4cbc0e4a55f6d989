"""Data efficiency: recipes apart from their budget, seeds averaged, and nothing said of what was not measured."""

import pytest

from hf_cifar.evaluation.comparison import compare_runs, load_runs
from hf_cifar.evaluation.data_efficiency import describe_curve
from hf_cifar.evaluation.statistics import adjust_holm, compare_models

from .made_runs import make_run


def make(folder, name, kind, fraction, accuracy, seed=0):
    options = {"recipe__options__train_fraction": fraction, "data__sizes__train": round(900 * fraction)}
    if fraction == 1:  # which does not make it another recipe: the curve is without
        options |= {"recipe__tta": "mirror", "recipe__options__tta": "mirror"}
    return str(make_run(folder / f"{name}{fraction}{seed}", name, kind, accuracy, seed, **options))


@pytest.fixture
def folders(tmp_path):
    rows = (("CNN", "cnn", 0.1, 0.5), ("CNN", "cnn", 1.0, 0.9), ("ViT", "transfer", 0.1, 0.8),
            ("ViT", "transfer", 1.0, 0.9), ("ViT", "transfer", 0.5, 0.85))  # fmt: skip
    return [make(tmp_path, *row) for row in rows]


def test_points_are_by_recipe_and_budget(folders):
    curve = describe_curve(load_runs(folders))
    assert curve["groups"] == ["CNN", "ViT"]
    found = [(point["group"], point["kind"], point["images"]) for point in curve["points"]]
    assert found == [("CNN", "cnn", 90), ("CNN", "cnn", 900)] + [("ViT", "transfer", n) for n in (90, 450, 900)]
    assert [(each["images"], each["verdict"]) for each in curve["comparisons"]] == [(90, "worse"), (900, "tie")]
    assert curve["sentences"] == [
        "CNN against ViT: with 90 labels ViT is ahead (90: 50.0 % against 80.0 %), with 900 labels a tie (900: 90.0 % "
        "against 90.0 %).",
        "Between 90 and 900 labels the verdict changes; where, was not measured.",
        "Below 90, above 900 and between the numbers tried, nothing was measured.",
    ]


def test_the_verdict_is_the_paired_test_and_not_that_intervals_overlap(tmp_path):
    curve = describe_curve(
        load_runs([make(tmp_path, "CNN", "cnn", 0.1, 0.65), make(tmp_path, "ViT", "transfer", 0.1, 0.7)])
    )
    first, second = (point["accuracy"] for point in curve["points"])
    assert first["high"] > second["low"]
    assert curve["comparisons"][0]["verdict"] == "worse"


def test_holm_counts_all_budgets_and_pairs(tmp_path):
    rows = [
        ("CNN", "cnn", 0.1, 0.65),
        ("ViT", "transfer", 0.1, 0.68),
        ("CNN", "cnn", 1.0, 0.9),
        ("ViT", "transfer", 1.0, 0.9),
    ]
    runs = load_runs([make(tmp_path, *row) for row in rows])
    expected = [
        pair["p_value"]
        for pair in (compare_models({"a": a.hits, "b": b.hits}, 10)[0] for a, b in (runs[:2], runs[2:]))
    ]
    found = [each["p_adjusted"] for each in describe_curve(runs)["comparisons"]]
    assert found == pytest.approx(adjust_holm(expected))


def test_the_length_of_training_may_follow_the_budget(tmp_path):
    folders = [
        make_run(
            tmp_path / str(epochs), recipe__options__train_fraction=share, recipe__options__num_train_epochs=epochs,
            data__sizes__train=round(900 * share),
        )
        for share, epochs in ((0.1, 160.0), (1.0, 16.0))
    ]  # fmt: skip
    curve = describe_curve(load_runs(list(map(str, folders))))
    assert curve["groups"] == ["CNN"] and len(curve["sentences"]) == 1 and "90.0 % with 900" in curve["sentences"][0]


def test_the_curve_decides_who_needs_fewer_labels(folders):
    runs = load_runs(folders)
    axis = next(
        axis for axis in compare_runs(runs[1:2] + runs[3:4], curve=runs)["tradeoffs"] if axis["axis"] == "data_needed"
    )
    assert axis["winner"] == "ViT"


def test_seeds_are_averaged(tmp_path):
    runs = [make(tmp_path, "CNN", "cnn", 0.1, accuracy, seed) for seed, accuracy in enumerate((0.5, 0.52, 0.54))]
    (point,) = describe_curve(load_runs(runs))["points"]
    assert point["seeds"] == 3 and point["accuracy"]["value"] == pytest.approx(0.52)
    assert 0.47 < point["accuracy"]["low"] < 0.5 < 0.54 < point["accuracy"]["high"] < 0.57  # over 500 images


def test_budgets_that_are_not_shared_say_nothing(tmp_path):
    runs = [make(tmp_path, "CNN", "cnn", 0.1, 0.5), make(tmp_path, "ViT", "transfer", 1.0, 0.9)]
    assert "so they are not compared" in describe_curve(load_runs(runs))["sentences"][0]
