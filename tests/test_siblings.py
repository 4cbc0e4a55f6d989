"""A card's comparison with other models: verdicts from intervals or image by image, on the same test images alone."""

import pytest

from hf_cifar.evaluation.comparison import load_runs
from hf_cifar.evaluation.results import read_results
from hf_cifar.publishing.siblings import compare_by_images, compare_by_intervals

from .made_runs import make_run


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three runs on the sample's test images: a good one, one much like it, and a bad one."""
    root = tmp_path_factory.mktemp("siblings")
    accuracies = {"Good": 0.94, "Alike": 0.936, "Bad": 0.7}
    return [make_run(root / name, name=name, accuracy=accuracy) for name, accuracy in accuracies.items()]


def read_verdicts(table: str) -> dict[str, str]:
    """The last column by the first."""
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    return {row[0]: row[-1] for row in rows}


def test_intervals_that_overlap_tell_nothing(folders):
    results = [read_results(folder) for folder in folders]
    verdicts = read_verdicts(compare_by_intervals(results[0], results))
    assert verdicts == {"Good": "this model", "Alike": "not told apart", "Bad": "lower"}
    verdicts = read_verdicts(compare_by_intervals(results[2], results))
    assert list(verdicts.values()) == ["higher", "higher", "this model"]  # the most accurate first
    assert "not paired by image" in compare_by_intervals(results[0], results)


def test_images_are_paired_where_predictions_are_at_hand(folders):
    runs = load_runs(folders)
    good, bad = (read_verdicts(compare_by_images(runs, place)) for place in (0, 2))
    assert good["Good"] == bad["Bad"] == "this model"
    assert good["Alike"].startswith("tie: -0.40 points [") and good["Bad"].startswith("worse: -24.00 points [-")
    assert bad["Good"].startswith("better: +24.00 points [+") and bad["Alike"].startswith("better: +23.60 points [")
    assert "McNemar" in compare_by_images(runs, 0)


def test_other_test_images_and_an_only_model_are_not_compared(folders, tmp_path):
    results = read_results(folders[0])
    other = read_results(make_run(tmp_path / "other", num_images=200))
    assert compare_by_intervals(results, [results, other]) == ""
    assert compare_by_images(load_runs(folders[:1]), 0) == ""


def test_times_on_different_hardware_are_said_to_be(folders, tmp_path):
    results = [read_results(folder) for folder in folders[:2]]
    assert "different hardware" not in compare_by_intervals(results[0], results)
    results[1]["environment"]["hardware"] = "another"
    assert "different hardware" in compare_by_intervals(results[0], results)


def test_the_recipe_makes_cards_of_runs_with_the_comparison(recipe, folders):
    code, out, err = recipe("cards.py", *folders)
    assert code == 0 and "Wrote 3 cards" in out, err
    for folder in folders:
        text = (folder / "README.md").read_text()
        assert "## Compared with other models" in text and "| this model |" in text
        # Its figures were not made, so none is shown.
        assert "confusion_matrix.png" not in text and (folder / "figures" / "example_horse.png").is_file()
    code, _, err = recipe("cards.py", folders[0].parent)
    assert code == 2 and "holds no results.json" in err
