"""Data efficiency: recipes apart from their budget, seeds averaged, and nothing said of what was not measured."""

import pytest

from hf_cifar.evaluation.comparison import compare_runs, load_runs
from hf_cifar.evaluation.data_efficiency import describe_curve

from .made_runs import make_run


def make(folder, name, kind, fraction, accuracy, seed=0):
    options = {"recipe__options__train_fraction": fraction, "data__sizes__train": round(900 * fraction)}
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
    assert curve["sentences"][0].startswith("With 90 labelled images: ViT leads; CNN 50.0 %, ViT 80.0 %.")
    assert "With 900 labelled images: a tie" in curve["sentences"][1]
    assert curve["sentences"][2] == "Between and beyond 90, 900 nothing was measured."


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
    assert point["accuracy"]["low"] < 0.5 < point["accuracy"]["high"]


def test_budgets_that_are_not_shared_say_nothing(tmp_path):
    runs = [make(tmp_path, "CNN", "cnn", 0.1, 0.5), make(tmp_path, "ViT", "transfer", 1.0, 0.9)]
    assert "none can be said to need fewer" in describe_curve(load_runs(runs))["sentences"][0]
