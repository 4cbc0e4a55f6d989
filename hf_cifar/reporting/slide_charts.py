"""Owns the native charts of the slides: bars and scatter charts with intervals, which python-pptx lacks."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from lxml import etree
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.dml.color import RGBColor
from pptx.enum.chart import XL_CHART_TYPE, XL_LABEL_POSITION, XL_LEGEND_POSITION, XL_MARKER_STYLE
from pptx.enum.dml import MSO_LINE, MSO_PATTERN
from pptx.oxml.ns import qn
from pptx.slide import Slide
from pptx.util import Pt

from .figures import COLORS
from .slide_shapes import DARK, FONT, Box, describe

PATTERNS = (None, MSO_PATTERN.WIDE_UPWARD_DIAGONAL, MSO_PATTERN.SMALL_CHECKER_BOARD, MSO_PATTERN.NARROW_HORIZONTAL)
MARKERS = (XL_MARKER_STYLE.CIRCLE, XL_MARKER_STYLE.SQUARE, XL_MARKER_STYLE.DIAMOND, XL_MARKER_STYLE.TRIANGLE)
DASHES = (MSO_LINE.SOLID, MSO_LINE.DASH, MSO_LINE.ROUND_DOT, MSO_LINE.DASH_DOT, MSO_LINE.LONG_DASH)


class Series(NamedTuple):
    """A line, or the bars of one colour: values (None where there is none), and half-intervals below and above."""

    name: str
    values: Sequence[float | None]
    errors: np.ndarray | None = None  # (2, N)
    places: Sequence[float] = ()  # on the x axis of a scatter chart


def add_bar_chart(
    slide: Slide, categories: Sequence[str], series: Sequence[Series], box: Box, title: str, description: str,
    lowest: float = 0, digits: int = 1,
) -> None:  # fmt: skip
    """Bars, a colour and pattern per series, with intervals where given.

    Args:
        slide, box: where.
        categories, series: what.
        title: of the axis, with its unit; that the axis does not start at 0 is added to it.
        description: for screen readers.
        lowest: where the axis starts.
        digits: of the numbers at the bars.
    """
    data = CategoryChartData(number_format=f"0.{'0' * digits}")
    data.categories = categories
    for each in series:
        data.add_series(each.name, each.values)
    frame = slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *box.to_emu(), data)
    chart = finish_chart(frame, series, description, "", title + (f", axis starts at {lowest:g}" if lowest else ""))
    chart.plots[0].gap_width, chart.plots[0].overlap = 60, -5
    values = [value for each in series for value in each.values if value is not None]
    highest = max(values, default=1) + max(
        (float(np.max(each.errors)) for each in series if each.errors is not None), default=0
    )
    chart.value_axis.minimum_scale = lowest
    chart.value_axis.maximum_scale = highest = (
        100 if 90 < highest <= 100 else lowest + 1.15 * max(highest - lowest, 0.01)
    )
    if highest - lowest in (5, 10, 15, 20):
        chart.value_axis.major_unit = 1 if highest - lowest == 5 else 2 if highest - lowest == 10 else 5
    if len(series) == 1:
        chart.plots[0].has_data_labels = True
        labels = chart.plots[0].data_labels
        labels.position, labels.show_value = XL_LABEL_POSITION.INSIDE_BASE, True
        labels.font.size, labels.font.bold, labels.font.color.rgb = Pt(16), True, RGBColor(255, 255, 255)
    for place, each in enumerate(chart.plots[0].series):
        color, pattern = RGBColor.from_string(COLORS[place % len(COLORS)][1:]), PATTERNS[place % len(PATTERNS)]
        if pattern is None:
            each.format.fill.solid()
        else:
            each.format.fill.patterned()
            each.format.fill.pattern = pattern
            each.format.fill.back_color.rgb = RGBColor(255, 255, 255)
        each.format.fill.fore_color.rgb = each.format.line.color.rgb = color
        each.format.line.width = Pt(1)


def add_scatter_chart(
    slide: Slide, series: Sequence[Series], box: Box, titles: tuple[str, str], description: str,
    has_lines: bool = True, is_log: bool = True,
) -> None:  # fmt: skip
    """Points, joined by lines or not, with intervals where given.

    Args:
        slide, box, series: where and what.
        titles: of the x and the y axis, with units.
        description: for screen readers.
        has_lines: join each series' points.
        is_log: x is logarithmic.
    """
    data = XyChartData(number_format="General")
    series = [repeat_last(each, max(len(other.values) for other in series)) for each in series]
    for each in series:
        points = data.add_series(each.name)
        for x, y in zip(each.places, each.values, strict=True):
            points.add_data_point(x, y)
    frame = slide.shapes.add_chart(XL_CHART_TYPE.XY_SCATTER_LINES, *box.to_emu(), data)
    places = [x for each in series for x in each.places]
    chart = finish_chart(frame, series, description, titles[0] + (", log scale" if is_log else ""), titles[1])
    if is_log:
        scaling = chart.category_axis._element.find(qn("c:scaling"))
        scaling.insert(0, scaling.makeelement(qn("c:logBase"), {"val": "10"}))
        chart.category_axis.minimum_scale = 10.0 ** math.floor(math.log10(min(places)) - 1e-9)
        chart.category_axis.maximum_scale = 10.0 ** math.ceil(math.log10(max(places)) + 1e-9)
    elif has_lines:
        chart.category_axis.minimum_scale, chart.category_axis.maximum_scale = 0, max(places)
    else:
        set_range(chart.category_axis, 0, 1.1 * max(places))
    reach = [0 if each.errors is None else float(each.errors.max()) for each in series]
    low = min(min(each.values) - margin for each, margin in zip(series, reach, strict=True))
    high = max(max(each.values) + margin for each, margin in zip(series, reach, strict=True))
    set_range(chart.value_axis, low, high)
    for place, each in enumerate(chart.plots[0].series):
        color = RGBColor.from_string(COLORS[place % len(COLORS)][1:])
        each.smooth = False
        each.marker.style, each.marker.size = MARKERS[place % len(MARKERS)], 4 if len(each.values) > 24 else 8
        each.marker.format.fill.solid()
        each.marker.format.fill.fore_color.rgb = each.marker.format.line.color.rgb = color
        if has_lines:
            each.format.line.color.rgb, each.format.line.width = color, Pt(2.25)
            each.format.line.dash_style = DASHES[place % len(DASHES)]
        else:
            each.format.line.fill.background()


def repeat_last(series: Series, length: int) -> Series:
    """A series whose last point is there several times: LibreOffice loses a first one that is shorter than others."""
    missing = length - len(series.values)
    errors = None if series.errors is None else np.pad(series.errors, ((0, 0), (0, missing)), mode="edge")
    values, places = ([*each, *[each[-1]] * missing] for each in (series.values, series.places))
    return series._replace(values=values, places=places, errors=errors)


def set_range(axis, low: float, high: float) -> None:
    """An axis that holds low and high, between numbers that people read."""
    raw = max(high - low, 1e-3) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    axis.minimum_scale, axis.maximum_scale = step * math.floor(low / step), step * math.ceil(high / step)
    axis.major_unit = step


def finish_chart(frame, series: Sequence[Series], description: str, x_title: str, y_title: str):
    """Fonts, legend, axis titles and intervals, alike in all charts."""
    describe(frame, description)
    chart = frame.chart
    chart.font.size, chart.font.name, chart.font.color.rgb = Pt(14), FONT, DARK
    chart.has_title = False
    chart.has_legend = len(series) > 1 or bool(series[0].places)
    if chart.has_legend:
        chart.legend.position, chart.legend.include_in_layout = XL_LEGEND_POSITION.BOTTOM, False
    for axis, title in ((chart.category_axis, x_title), (chart.value_axis, y_title)):
        axis.has_major_gridlines = axis is chart.value_axis
        if title:
            axis.axis_title.text_frame.text = title
            axis.axis_title.text_frame.paragraphs[0].runs[0].font.size = Pt(14)
            axis.axis_title.text_frame.paragraphs[0].runs[0].font.bold = False
    chart.value_axis.major_gridlines.format.line.color.rgb = RGBColor(0xD0, 0xD5, 0xDB)
    for element, each in zip(chart._chartSpace.iter(qn("c:ser")), series, strict=True):
        if each.errors is not None:
            add_error_bars(element, each.errors)
    return chart


def add_error_bars(element, errors: np.ndarray) -> None:
    """Intervals of a series, which python-pptx cannot write itself; `errors` are (2, N): below and above."""
    below, above = (
        "".join(f'<c:pt idx="{place}"><c:v>{value:.6g}</c:v></c:pt>' for place, value in enumerate(row))
        for row in errors
    )
    count = f'<c:ptCount val="{errors.shape[1]}"/>'
    direction = '<c:errDir val="y"/>' if element.find(qn("c:xVal")) is not None else ""
    xml = (
        f'<c:errBars xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
        f'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main">{direction}'
        f'<c:errBarType val="both"/><c:errValType val="cust"/><c:noEndCap val="0"/>'
        f"<c:plus><c:numLit>{count}{above}</c:numLit></c:plus><c:minus><c:numLit>{count}{below}</c:numLit></c:minus>"
        f'<c:spPr><a:ln w="19050"><a:solidFill><a:srgbClr val="1B1F24"/></a:solidFill></a:ln></c:spPr></c:errBars>'
    )
    following = next(child for child in element if child.tag in (qn("c:cat"), qn("c:val"), qn("c:xVal")))
    following.addprevious(etree.fromstring(xml))
