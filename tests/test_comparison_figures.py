"""Figures of a comparison: every case is drawn, with units, and nothing drawn lies outside of the figure."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hf_cifar.reporting.comparison_figures import draw_comparison

from .report_cases import CASES


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
