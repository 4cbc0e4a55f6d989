"""Figures of a comparison: every case is drawn, with units, and nothing drawn lies outside of the figure."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hf_cifar.reporting.comparison_figures import draw_comparison
from hf_cifar.reporting.curves import draw_filters, draw_ranking_curves, draw_reliability, draw_robustness

from .report_cases import CASES, LONG_NAMES


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_drawn(case):
    comparison, _ = CASES[case]
    figures, captions = draw_comparison(comparison)
    assert figures.keys() == captions.keys() and {"accuracies", "tradeoffs"} <= set(figures)
    assert ("differences" in figures) == (len(comparison["models"]) > 1)
    assert ("data_efficiency" in figures) == (comparison["data_efficiency"] is not None)
    for figure in figures.values():
        FigureCanvasAgg(figure).draw()
        for axes in figure.axes:
            if axes.axison:
                assert axes.get_xlabel()
                box, edge = axes.get_tightbbox(), figure.bbox
                assert box.x0 >= edge.x0 - 2 and box.x1 <= edge.x1 + 2 and box.y0 >= edge.y0 - 2


def test_curves_of_many_models_and_degenerate_predictions():
    generator = np.random.default_rng(0)
    values = generator.dirichlet(np.ones(3), 60)
    labels = generator.integers(0, 3, 60)
    figure = draw_ranking_curves(dict.fromkeys(LONG_NAMES, values), labels)
    assert len(figure.axes[0].lines) == len(LONG_NAMES)
    assert draw_ranking_curves({"one": values}, np.zeros(60, dtype=int)) is None
    bins = [{"confidence": 0.5, "accuracy": 0.4, "count": 10}, {"confidence": 0.9, "accuracy": 1.0, "count": 10}]
    figure = draw_reliability({name: {"before": bins, "after": bins[:1]} for name in LONG_NAMES[:4]})
    assert sum(axes.axison for axes in figure.axes) == 4
    sections = {"a": {"clean_accuracy": 0.9, "families": {"noise": 0.5, "blur": 0.6}},
                "b": {"clean_accuracy": 0.8, "families": {"noise": 0.4}}}  # fmt: skip
    labels = [text.get_text() for text in draw_robustness(sections).axes[0].get_xticklabels()]
    assert labels == ["clean", "noise", "blur"]
    assert draw_filters({"a": [np.zeros((3, 3, 3))] * 40, "b": [np.ones((2, 2, 3))]}).axes
