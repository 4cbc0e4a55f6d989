"""The range test: what it makes of curves, and of a real network."""

import numpy as np
import pytest

from hf_cifar.guidance.learning_rate import analyse, draw_range_test, judge_learning_rate, run_range_test

RATES = np.geomspace(1e-4, 1e2, 61)


def fall_and_rise(rate: float) -> float:
    """A loss that falls fastest at 0.1, is lowest about 1 and rises from there."""
    return 2.3 - 1.5 / (1 + (0.1 / rate) ** 2) + 0.3 * rate**1.5


def test_the_steepest_descent_is_suggested_and_the_rise_is_the_limit():
    losses = np.array([fall_and_rise(rate) for rate in RATES])
    test = analyse(RATES, losses, losses)
    assert test.suggestion == pytest.approx(0.1, rel=0.3)
    assert 1 < test.limit < 4


def test_it_stops_at_divergence_and_the_divergence_is_the_limit():
    asked = []

    def step(rate):
        asked.append(rate)
        return fall_and_rise(rate) if rate < 1 else float("nan")

    test = run_range_test(step, 1e-4, 1e2, 61)
    assert len(test.losses) == len(asked) - 1 == len(test.rates) and max(asked) < 1.3
    assert test.limit == pytest.approx(asked[-1])
    exploding = run_range_test(lambda rate: 2.3 if rate < 1 else 100.0, 1e-4, 1e2, 61)
    assert exploding.rates[-1] < 2 and exploding.suggestion is None


def test_rates_rise_exponentially():
    asked = []
    run_range_test(lambda rate: asked.append(rate) or 1.0, 0.001, 10, 5)
    np.testing.assert_allclose(asked, [0.001, 0.01, 0.1, 1, 10])


@pytest.mark.parametrize(
    ("learning_rate", "status", "words"),
    [
        (0.1, "ok", ""),
        (0.01, "ok", ""),
        (1.0, "ok", ""),
        (10.0, "warn", "learning_rate: 0."),
        (1e-5, "warn", "a higher"),
    ],
)
def test_the_configs_rate_is_judged(learning_rate, status, words):
    losses = np.array([fall_and_rise(rate) for rate in RATES])
    found = judge_learning_rate(analyse(RATES, losses, losses), learning_rate)
    assert found.status == status and (words in found.fix or status == "ok")


def test_a_loss_that_no_rate_lowers_fails():
    flat = np.full(61, 2.3)
    found = judge_learning_rate(analyse(RATES, flat, flat), 0.1)
    assert (found.status, found.entry) == ("fail", "learning-rate")
    assert judge_learning_rate(analyse(RATES, flat[:2], flat[:2]), 0.1).status == "fail"
    assert judge_learning_rate(analyse(RATES, flat[:0], flat[:0]), 0.1).status == "fail"


def test_rates_of_groups_are_to_follow():
    losses = np.array([fall_and_rise(rate) for rate in RATES])
    assert "times the same factor" in judge_learning_rate(analyse(RATES, losses, losses), 10.0, True).fix


def test_the_figure_shows_suggestion_and_config():
    losses = np.array([fall_and_rise(rate) for rate in RATES])
    (axes,) = draw_range_test(analyse(RATES, losses, losses), 0.02).axes
    labels = axes.get_legend_handles_labels()[1]
    assert labels[-1] == "config: 0.02" and labels[-2].startswith("suggested: 0.1")
    low, high = axes.get_ylim()
    assert low < losses.min() and 2.3 < high < 10
    draw_range_test(analyse(RATES, losses[:0], losses[:0]), 0.02)  # diverged at once
