"""Paired intervals, exact tests and groups of seeds: against scipy, definitions, and what they promise."""

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from hf_cifar.errors import UserError
from hf_cifar.evaluation.selection import compare_hits
from hf_cifar.evaluation.statistics import (
    CHUNK_SIZE,
    add_interval,
    adjust_holm,
    bootstrap_accuracies,
    compare_groups,
    compare_models,
    compute_mcnemar,
    count_images_needed,
    draw_counts,
    stack_hits,
    summarize_group,
)

COUNTS = st.integers(0, 3000)


def make_hits(share: float, seed: int = 0, total: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).random(total) < share


def test_counts_are_drawn_with_replacement_and_repeat():
    counts = np.concatenate(list(draw_counts(7, 4000, seed=3)))
    assert counts.shape == (4000, 7) and (counts.sum(1) == 7).all()
    np.testing.assert_array_equal(counts, np.concatenate(list(draw_counts(7, 4000, seed=3))))
    assert counts.mean(0) == pytest.approx(np.ones(7), abs=0.06)
    assert counts.var(0) == pytest.approx(np.full(7, 6 / 7), abs=0.1)  # of a binomial (7, 1/7)


def test_counts_do_not_depend_on_the_chunks(monkeypatch):
    whole = np.concatenate(list(draw_counts(13, 50)))
    monkeypatch.setattr("hf_cifar.evaluation.statistics.CHUNK_SIZE", 13 * 7)
    chunks = list(draw_counts(13, 50))
    assert len(chunks) == 8
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


def test_the_bootstrap_is_that_of_explicit_indices():
    hits = np.stack([make_hits(0.9, 1, 40), make_hits(0.7, 2, 40)])
    indices = np.random.default_rng(0).integers(40, size=(200, 40))
    np.testing.assert_allclose(bootstrap_accuracies(hits, 200), hits[:, indices].mean(-1).T, atol=1e-15)


def test_the_interval_of_accuracy_holds_the_truth_in_95_percent_of_experiments():
    hits = np.random.default_rng(0).random((1500, 400)) < 0.8  # 1,500 experiments on 400 images
    low, high = np.quantile(bootstrap_accuracies(hits, 1500, seed=1), [0.025, 0.975], axis=0)
    assert 0.93 <= ((low <= 0.8) & (high >= 0.8)).mean() <= 0.97


def test_the_interval_of_a_difference_holds_the_truth_in_95_percent_of_experiments():
    generator = np.random.default_rng(0)
    first = generator.random((1000, 400)) < 0.8
    second = np.where(generator.random((1000, 400)) < 0.7, first, generator.random((1000, 400)) < 0.6)  # paired
    truth = 0.8 - (0.7 * 0.8 + 0.3 * 0.6)
    both = np.concatenate([first, second])
    samples = bootstrap_accuracies(both, 1000)
    low, high = np.quantile(samples[:, :1000] - samples[:, 1000:], [0.025, 0.975], axis=0)
    assert 0.93 <= ((low <= truth) & (high >= truth)).mean() <= 0.97


def test_time_and_memory_are_bounded():
    """A tenth of 10 models on 10,000 images with 10,000 resamples, which may take 30 s and 1 GB."""
    hits = {str(seed): make_hits(0.9, seed, 10_000) for seed in range(10)}
    tracemalloc.start()
    start = time.process_time()
    compare_models(hits, 1000)
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 3
    assert peak < 5 * 8 * CHUNK_SIZE  # all counts at once would be 80 MB, their draws as much again


def test_intervals():
    samples = np.linspace(0, 1, 1001) ** 2
    percentile, basic = add_interval(0.3, samples), add_interval(0.3, samples, "basic")
    assert (percentile["low"], percentile["high"]) == pytest.approx((0.025**2, 0.975**2))
    assert (basic["low"], basic["high"]) == pytest.approx((0.6 - 0.975**2, 0.6 - 0.025**2))


@settings(max_examples=60, deadline=None)
@given(COUNTS, COUNTS)
def test_mcnemar_is_the_binomial_test(only_first, only_second):
    expected = stats.binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1
    assert compute_mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_takes_arrays():
    first, second = np.array([[0, 3], [9, 5]]), np.array([[0, 3], [1, 0]])
    expected = [[1, 1], [stats.binomtest(9, 10).pvalue, stats.binomtest(5, 5).pvalue]]
    np.testing.assert_allclose(compute_mcnemar(first, second), expected, rtol=1e-12)


def test_mcnemar_errs_as_rarely_as_it_says():
    for total in (1, 2, 5, 6, 17, 60, 301):
        only = np.arange(total + 1)
        p_values, chances = compute_mcnemar(only, total - only), stats.binom.pmf(only, total, 0.5)
        for alpha in (0.001, 0.01, 0.05, 0.2, 0.5):
            assert chances[p_values <= alpha].sum() <= alpha + 1e-12  # exactly, not by simulation


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=0, max_size=12))
def test_holm_is_its_definition(p_values):
    adjusted = adjust_holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected, left = set(), sorted(range(len(p_values)), key=lambda i: p_values[i])
        while left and p_values[left[0]] * len(left) <= alpha:  # smallest first, until one is kept
            rejected.add(left.pop(0))
        assert set(np.flatnonzero(adjusted <= alpha)) == rejected
    assert (adjusted >= p_values).all() and (adjusted <= 1).all()


def test_images_needed_are_connors():
    assert count_images_needed(45, 5, 100) == 23  # published examples
    assert count_images_needed(300, 150, 1000) == 155
    assert count_images_needed(150, 300, 1000) == 155
    assert count_images_needed(7, 7, 100) == count_images_needed(0, 0, 100) == math.inf
    assert count_images_needed(45, 5, 100, power=0.9) > 23


def test_images_needed_give_the_power():
    needed = int(count_images_needed(60, 40, 1000))
    draws = np.random.default_rng(0).multinomial(needed, [0.06, 0.04, 0.9], size=4000)
    power = (compute_mcnemar(draws[:, 0], draws[:, 1]) < 0.05).mean()
    assert 0.76 < power < 0.83  # the exact test is a little more careful than Connor's approximation


def test_pairs_agree_with_the_comparison_of_two():
    hits = {"a": make_hits(0.9, 1), "b": make_hits(0.86, 2), "c": make_hits(0.5, 3)}
    pairs = compare_models(hits, 4000)
    assert [(pair["first"], pair["second"]) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    np.testing.assert_allclose([p["p_adjusted"] for p in pairs], adjust_holm([p["p_value"] for p in pairs]))
    for pair in pairs:
        first, second = hits[pair["first"]], hits[pair["second"]]
        assert (pair["only_first"], pair["only_second"]) == ((first & ~second).sum(), (~first & second).sum())
        differences = first.astype(float) - second
        mean, margin = differences.mean(), 1.96 * differences.std() / len(first) ** 0.5
        expected = {"value": mean, "low": mean - margin, "high": mean + margin}
        assert pair["difference"] == pytest.approx(expected, abs=0.004)
        assert pair["p_value"] == pytest.approx(compare_hits(first, second)["p_value"])
        needed = count_images_needed(pair["only_first"], pair["only_second"], 1000, alpha=0.05 / 3)
        assert pair["images_needed"] == needed
    assert pairs[1]["verdict"] == "better"
    assert compare_models({"c": hits["c"], "a": hits["a"]}, 100)[0]["verdict"] == "worse"


def test_many_equal_models_are_ties():
    """Of 45 pairs without correction about two would be told apart."""
    hits = {str(seed): make_hits(0.9, seed) for seed in range(10)}
    pairs = compare_models(hits, 500)
    assert len(pairs) == 45 and {pair["verdict"] for pair in pairs} == {"tie"}


def test_a_model_ties_with_itself_for_ever():
    hits = make_hits(0.9)
    (pair,) = compare_models({"a": hits, "b": hits.copy()}, 200)
    assert pair["difference"] == {"value": 0, "low": 0, "high": 0}
    assert pair["p_value"] == 1 and pair["verdict"] == "tie" and pair["images_needed"] is None


def test_one_image_is_a_tie():
    (pair,) = compare_models({"a": np.array([True]), "b": np.array([False])}, 50)
    assert pair["verdict"] == "tie" and pair["p_value"] == 1 and pair["difference"]["value"] == 1


def test_bad_hits_are_refused():
    with pytest.raises(UserError, match="1 models given"):
        compare_models({"a": make_hits(0.9)})
    with pytest.raises(UserError, match="differ in number"):
        stack_hits({"a": make_hits(0.9), "b": make_hits(0.9, total=999)})
    for wrong in (np.array([], dtype=bool), np.ones((2, 2), dtype=bool), np.array([0.5, np.nan]), np.array([3, 1])):
        with pytest.raises(UserError, match="hits of b are"):
            stack_hits({"b": wrong})


def test_a_group_of_seeds():
    values = [0.934, 0.936, 0.9355]
    group = summarize_group(values)
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (group["low"], group["high"]) == pytest.approx(expected)
    assert group["deviation"] == pytest.approx(np.std(values, ddof=1)) and group["count"] == 3
    assert summarize_group([0.9]) == {"mean": 0.9, "deviation": None, "low": None, "high": None, "count": 1}
    assert summarize_group([0.9, 0.9])["low"] == 0.9
    with pytest.raises(UserError, match="0 seeds"):
        summarize_group([])


@pytest.mark.filterwarnings("error")
def test_groups_are_compared_by_welch_or_by_images():
    good = {str(seed): make_hits(0.9, seed) for seed in range(4)}
    poor = {str(seed): make_hits(0.8, seed + 10) for seed in range(3)}
    result = compare_groups(good, poor)
    accuracies = [[hits.mean() for hits in group.values()] for group in (good, poor)]
    assert result["method"] == "welch" and result["verdict"] == "better"
    assert result["p_value"] == pytest.approx(stats.ttest_ind(*accuracies, equal_var=False).pvalue)
    assert result["difference"]["low"] < result["difference"]["value"] < result["difference"]["high"]
    one = compare_groups(poor, {"0": good["0"]}, 1000)
    assert (one["method"], one["p_value"], one["verdict"]) == ("paired_bootstrap", None, "worse")
    constant = {"0": good["0"], "1": good["0"]}  # Welch's t would divide by 0
    assert compare_groups(constant, constant, 200)["verdict"] == "tie"
    half = compare_groups(constant, poor)
    t_quantile, values = stats.t.ppf(0.975, 2), [hits.mean() for hits in poor.values()]  # only three seeds vary
    assert half["method"] == "welch"
    assert half["difference"]["high"] - half["difference"]["value"] == pytest.approx(t_quantile * stats.sem(values))
    with pytest.raises(UserError, match="0 and 3 seeds"):
        compare_groups({}, poor)


def test_statsmodels_says_the_same():
    generator = np.random.default_rng(0)
    counts = np.concatenate([generator.integers(0, 60, (40, 2)), [[0, 0], [0, 1], [1, 0], [0, 30]]])
    expected = [mcnemar([[5, first], [second, 7]], exact=True).pvalue for first, second in counts]
    p_values = compute_mcnemar(counts[:, 0], counts[:, 1])
    np.testing.assert_allclose(p_values, np.minimum(expected, 1), atol=1e-9)
    np.testing.assert_allclose(adjust_holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-9)
