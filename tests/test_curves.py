"""Figures of probabilities and robustness: what they plot is what they are given, and nothing hides it."""

import numpy as np
import pytest

from hf_cifar.evaluation.ranking_curves import RankingCurves
from hf_cifar.reporting import curves

NAMES = [f"model {i}" for i in range(5)]


def make_curves(num_classes: int = 10) -> RankingCurves:
    shares = np.linspace(0.5, 0.9, num_classes)[:, None]
    return RankingCurves(np.arange(num_classes), shares * np.ones((1, 162)), shares * np.ones((1, 101)))


def test_reliability_shows_the_bins_in_percent():
    bins = [{"confidence": 0.5, "accuracy": 0.4, "count": 3}, {"confidence": 0.9, "accuracy": 1.0, "count": 3}]
    figure = curves.draw_reliability({"a": {"before": bins, "after": bins}, "b": {"before": bins}}, {"a": "5 %"})
    first, second = figure.axes
    diagonal, before, after = first.lines
    assert list(before.get_xdata()) == [50, 90] and list(before.get_ydata()) == [40, 100]
    assert before.get_linestyle() != after.get_linestyle() and len(second.lines) == 2
    assert first.get_title() == "a\n5 %" and len(figure.legends) == 1


@pytest.mark.parametrize("draw", [curves.draw_roc, curves.draw_precision_recall])
@pytest.mark.parametrize("count", [1, 5])
def test_each_model_has_a_panel_with_its_lowest_classes_named(draw, count):
    figure = draw({name: make_curves() for name in NAMES[:count]}, [f"class {k}" for k in range(10)])
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == (1 if count == 1 else count + 1)
    labels = [text.get_text() for text in panels[-1].get_legend().get_texts()]
    assert labels == ["mean", "class 0", "class 1", "class 2"]
    assert len(panels[-1].lines) == 10 + 1 + 3
    mean = next(line for line in panels[-1].lines if line.get_label() == "mean")
    assert np.allclose(mean.get_ydata(), 70)


def test_models_are_told_apart_without_colour():
    figure = curves.draw_roc({name: make_curves() for name in NAMES}, [f"class {k}" for k in range(10)])
    lines = figure.axes[0].lines
    assert len({(line.get_marker(), str(line.get_linestyle())) for line in lines}) == 5
    assert len({line.get_marker() for line in lines}) == 5


def test_corruptions_hang_from_the_clean_accuracy():
    figure = curves.draw_corruptions(
        {"a": {"clean": 0.9, "noise": 0.5}, "b": {"clean": 0.8, "noise": 0.6, "blur": 0.7}}
    )
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["clean", "noise", "blur"]
    assert list(axes.lines[0].get_ydata()) == [90, 50] and list(axes.lines[1].get_ydata()) == [80, 60, 70]
    assert all(segment[1][1] == 90 for segment in axes.collections[0].get_segments())


def test_agreement_with_people_has_a_panel_for_what_there_is():
    estimate = {"a": {"value": 0.8, "low": 0.7, "high": 0.9}}
    groups = [{"low": 1.0, "high": 1.0, "images": 8, "accuracy": estimate}, {"low": 0.0, "high": 0.5, "images": 1234,
              "accuracy": estimate}]  # fmt: skip
    subsets = {"all": {"images": 10, "accuracy": estimate}, "without_disputed": {"images": 9, "accuracy": estimate}}
    both = curves.draw_human_agreement(groups, subsets)
    ticks = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in both.axes]
    assert ticks == [["all\n8", "below 50 %\n1,234"], ["all\n10", "without\ndisputed\n9"]]
    assert len(curves.draw_human_agreement(groups, {"all": subsets["all"]}).axes) == 1
