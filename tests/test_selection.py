"""The rules of a selection: noise, ties, budget, and a record by which an interrupted one goes on."""

import numpy as np
import pytest
from scipy.stats import binomtest

from hf_cifar.errors import UserError
from hf_cifar.evaluation.selection import MARGIN, SelectionArguments, choose, compare_hits, get_cost, plan
from hf_cifar.evaluation.trial import open_record, pack_hits, unpack_hits
from hf_cifar.files import write_json


def make_hits(right: int, total: int = 1000) -> np.ndarray:
    return np.arange(total) < right


def test_differences_are_paired():
    hits, other = make_hits(900), make_hits(880)
    result = compare_hits(hits, other)
    assert result["difference"] == pytest.approx(0.02)
    assert result["p_value"] == pytest.approx(binomtest(20, 20).pvalue)
    assert result["standard_error"] == pytest.approx((0.02 * 0.98 / 1000) ** 0.5)
    # The same accuracies, but each right where the other is wrong, cannot be told apart.
    assert compare_hits(hits, other[::-1])["p_value"] > 0.1
    assert compare_hits(hits, hits) == {"difference": 0, "standard_error": 0, "p_value": 1}


def test_a_clear_lead_wins_at_any_cost():
    result = choose({"small": make_hits(850), "large": make_hits(900)}, {"small": 1, "large": 100})
    assert result["choice"] == result["best"] == "large" and result["tied"] == ["large"]
    assert result["comparisons"]["small"]["difference"] == pytest.approx(0.05)


def test_within_noise_the_cheaper_one_wins():
    hits = {"small": make_hits(897), "medium": make_hits(898), "large": make_hits(900), "poor": make_hits(700)}
    costs = {"small": 2, "medium": 3, "large": 100, "poor": 1}
    result = choose(hits, costs)
    assert result["best"] == "large" and result["choice"] == "small" and result["tied"] == ["small", "medium", "large"]
    assert set(result["comparisons"]) == {"small", "medium", "poor"}


def test_a_large_gap_is_not_excused_by_few_images():
    hits, costs = {"small": make_hits(46, 50), "large": make_hits(50, 50)}, {"small": 1, "large": 2}
    result = choose(hits, costs)
    assert result["comparisons"]["small"]["p_value"] > 0.1 and result["choice"] == "large"
    assert choose(hits, costs, tolerance=0.1)["choice"] == "small"


def test_equal_accuracy_and_equal_cost_are_decided_too():
    assert choose({"a": make_hits(9), "b": make_hits(9)}, {"a": 2, "b": 1})["choice"] == "b"
    assert choose({"a": make_hits(8), "b": make_hits(9)}, {"a": 1, "b": 1})["choice"] == "b"
    assert choose({"a": make_hits(9)}, {"a": 1}) == {"choice": "a", "best": "a", "tied": ["a"], "comparisons": {}}


def test_what_is_cheap_is_what_was_asked_for():
    cost = {"images_per_second": 50.0, "flops_per_image": 7, "parameters": 3}
    assert [get_cost(cost, name) for name in ("time", "flops", "parameters")] == [0.02, 7, 3]


PER_IMAGE, FIXED = {"fast": 0.01, "slow": 0.1}, {"fast": 1.0, "slow": 1.0}


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (10_000, (["fast", "slow"], 5000)),  # everything fits
        (MARGIN * 112, (["fast", "slow"], 1000)),  # fewer images for both
        (MARGIN * 20, (["fast"], 1900)),  # 200 images do not fit for both, so the last is left out
        (MARGIN * 2.9, ([], 0)),  # not even 200 of the first
        (0, ([], 0)),
        (-5, ([], 0)),
    ],
)
def test_a_step_is_shortened_before_anyone_is_left_out(budget, expected):
    names, images = plan(["fast", "slow"], PER_IMAGE, FIXED, 5000, 200, budget)
    assert names == expected[0] and images == pytest.approx(expected[1], abs=1)
    assert sum(FIXED[name] + images * PER_IMAGE[name] for name in names) * MARGIN <= max(budget, 0) + 1e-6


def test_a_small_dataset_needs_no_more_images_than_it_has():
    assert plan(["fast"], PER_IMAGE, FIXED, 50, 200, 100) == (["fast"], 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": []}, "give one or more"),
        ({"candidates": ["a", "a"]}, "each of them once"),
        ({"budget_minutes": 0}, "budget_minutes=0 is out of range; allowed: 0.01 to"),
        ({"budget_minutes": float("nan")}, "budget_minutes=nan"),
        ({"image_size": 4}, "image_size=4"),
        ({"subset": 1}, "subset=1 is"),
        ({"finalists": -1}, "finalists=-1"),
        ({"batch_size": 1}, "batch_size=1 is"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        SelectionArguments(**options)


def test_hits_survive_json():
    hits = np.array([True, False, False, True])
    assert pack_hits(hits) == "1001" and np.array_equal(unpack_hits("1001"), hits)


def test_a_record_is_gone_on_with_only_by_the_same_command(tmp_path):
    path, identity = tmp_path / "progress.json", {"options": {"seed": 0, "output_dir": "a", "overwrite": False}}
    fresh = open_record(path, identity, overwrite=False)
    assert list(fresh) == ["identity"]
    write_json(path, fresh | {"seconds": 7.0})
    moved = {"options": {"seed": 0, "output_dir": "b", "overwrite": True}}
    assert open_record(path, moved, overwrite=True)["seconds"] == 7
    other = {"options": {"seed": 1}}
    with pytest.raises(UserError, match="unfinished selection with other options"):
        open_record(path, other, overwrite=False)
    assert open_record(path, other, overwrite=True) == {"identity": other}
    path.write_text("{")
    with pytest.raises(UserError, match="damaged record"):
        open_record(path, identity, overwrite=False)
