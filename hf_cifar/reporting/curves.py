"""Owns the figures of probabilities and robustness: reliability, ROC and precision-recall curves, corruptions."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..evaluation.ranking_curves import FALSE_POSITIVE_RATES, RECALLS, RankingCurves
from .figures import COLORS, get_style, make_panels, place_legend
from .image_grids import shorten

WORST = 3  # classes that are named beside the mean


def draw_reliability(tables: Mapping[str, Mapping[str, list[dict]]], errors: Mapping[str, str]) -> Figure:
    """A panel per model: accuracy against confidence in bins of equally many images; below the diagonal, too sure.

    Args:
        tables: by model, "before" temperature scaling and, where there is one, "after" it: bins with `confidence`
            and `accuracy`.
        errors: by model, its calibration error as text.
    """
    figure, panels = make_panels(len(tables), 4, 4.2)
    bins = [each for states in tables.values() for rows in states.values() for each in rows]
    start = 100 * max(0.0, min(min(each["confidence"], each["accuracy"]) for each in bins) - 0.05)
    for axes, (name, states) in zip(panels, tables.items(), strict=True):
        axes.plot([start, 100], [start, 100], color="0.55", linewidth=1, label="confidence = accuracy")
        for position, (state, rows) in enumerate(states.items()):
            points = 100 * np.array([[each["confidence"], each["accuracy"]] for each in rows])
            label = "as trained" if state == "before" else "after temperature scaling"
            style = get_style(position)
            face = style["color"] if state == "before" else "white"
            axes.plot(*points.T, markersize=5, markerfacecolor=face, label=label, **style)
        axes.set(xlabel="confidence (%)", ylabel="accuracy (%)", xlim=(start, 101), ylim=(start, 101), aspect="equal")
        axes.set_title(f"{name}\n{errors[name]}" if errors.get(name) else name, fontsize=10)
        axes.grid(alpha=0.3)
    place_legend(figure)
    return figure


def draw_roc(curves: Mapping[str, RankingCurves], class_names: Sequence[str]) -> Figure:
    """ROC curves of each class against the rest: means of all models, then each model's classes."""

    def prepare(axes: Axes) -> None:
        axes.set(xscale="log", xlim=(0.01, 100), xlabel="false-positive rate (%, log scale)")
        axes.set(ylabel="true-positive rate (%)")
        axes.xaxis.set_major_locator(FixedLocator([0.01, 0.1, 1, 10, 100]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))

    values = {name: each.true_positive_rates[:, 1:] for name, each in curves.items()}
    return _draw_classes(FALSE_POSITIVE_RATES[1:], values, curves, class_names, prepare)


def draw_precision_recall(curves: Mapping[str, RankingCurves], class_names: Sequence[str]) -> Figure:
    """Precision-recall curves of each class against the rest, as `draw_roc` does."""

    def prepare(axes: Axes) -> None:
        axes.set(xlabel="recall (%)", ylabel="precision (%)", xlim=(-1, 101))

    values = {name: each.precisions for name, each in curves.items()}
    return _draw_classes(RECALLS, values, curves, class_names, prepare)


def _draw_classes(
    grid: np.ndarray,
    values: Mapping[str, np.ndarray],
    curves: Mapping[str, RankingCurves],
    class_names: Sequence[str],
    prepare: Callable[[Axes], None],
) -> Figure:
    """A panel with the models' means over classes and, for each model, one with its classes, the lowest named."""
    is_single = len(values) == 1
    figure, panels = make_panels(len(values) + (not is_single), 4.3, 4.2)
    lowest = 100 * min(each.min() for each in values.values())
    for axes in panels:
        prepare(axes)
        axes.set_ylim(max(lowest - 3, 0) if lowest > 5 else -2, 102)
        axes.grid(alpha=0.3)
    if not is_single:
        panels[0].set_title("Mean over classes", fontsize=10)
        for position, (name, rows) in enumerate(values.items()):
            style = get_style(position)
            panels[0].plot(100 * grid, 100 * rows.mean(0), label=name, markevery=0.12, markersize=5, **style)
        place_legend(figure)
    for axes, (name, rows) in zip(panels[not is_single :], values.items(), strict=True):
        for row in rows:
            axes.plot(100 * grid, 100 * row, color="0.75", linewidth=0.8)
        axes.plot(100 * grid, 100 * rows.mean(0), color="black", linewidth=1.8, label="mean")
        for position, place in enumerate(np.argsort(rows.mean(1), kind="stable")[:WORST]):
            label = shorten(class_names[curves[name].classes[place]])
            line, color = ("--", "-.", ":")[position], COLORS[1 + position]
            axes.plot(100 * grid, 100 * rows[place], linestyle=line, color=color, linewidth=1.6, label=label)
        axes.set_title(name, fontsize=10)
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, frameon=False, fontsize=8, handlelength=3
        )
    return figure


def draw_corruptions(accuracies: Mapping[str, Mapping[str, float]]) -> Figure:
    """Accuracy on clean images and under each family of corruptions: a mark per model, a line up to its clean one.

    Args:
        accuracies: by model, 0 to 1 by name: "clean" and families.
    """
    names = list(dict.fromkeys(name for values in accuracies.values() for name in values))
    figure, (axes,) = make_panels(1, max(6.5, 1.3 * len(names)), 4.2)
    for position, (model, values) in enumerate(accuracies.items()):
        shift = 0.5 * ((position + 0.5) / len(accuracies) - 0.5)
        style = get_style(position) | {"linestyle": "none"}
        places, percent = [names.index(name) + shift for name in values], [100 * value for value in values.values()]
        axes.vlines(places, percent, 100 * values["clean"], color=style["color"], linewidth=1, alpha=0.6, zorder=1)
        axes.plot(places, percent, markersize=8, label=model, zorder=2, **style)
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="accuracy (%)", title="Accuracy on clean and on corrupted test images", ylim=(0, 103))
    axes.set_xlabel("test images: clean, or corrupted by a family of corruptions (mean over its corruptions)")
    axes.grid(axis="y", alpha=0.3)
    place_legend(figure)
    return figure


def draw_human_agreement(groups: Sequence[dict], subsets: Mapping[str, dict]) -> Figure:
    """Accuracy by how many people choose the label (left), and without test images that should not count (right).

    Args:
        groups: of `measure_by_agreement`; none for no such panel.
        subsets: of `measure_subsets`; fewer than two for no such panel.
    """
    parts = []
    if groups:
        labels = [f"{_describe_group(each)}\n{each['images']:,}" for each in groups]
        parts.append(("By share of people who choose the label", "share of people; images", labels, groups))
    if len(subsets) > 1:
        labels = [f"{name.replace('_', chr(10), 1)}\n{each['images']:,}" for name, each in subsets.items()]
        parts.append(("Without some test images", "what is left out; images", labels, list(subsets.values())))
    figure, panels = make_panels(len(parts), 5.8, 4.3, columns=2)
    for axes, (title, xlabel, labels, rows) in zip(panels, parts, strict=True):
        names = list(rows[0]["accuracy"])
        for position, name in enumerate(names):
            estimates = [row["accuracy"][name] for row in rows]
            values, low, high = (100 * np.array([each[key] for each in estimates]) for key in ("value", "low", "high"))
            places = np.arange(len(rows)) + 0.5 * ((position + 0.5) / len(names) - 0.5)
            style = get_style(position) | {"linestyle": "none"}
            axes.errorbar(places, values, np.maximum([values - low, high - values], 0), capsize=3, label=name, **style)
        axes.set_xticks(range(len(rows)), labels, fontsize=9)
        axes.set_title(title, fontsize=10)
        axes.set(ylabel="accuracy (%), 95 % intervals", xlabel=xlabel, xlim=(-0.5, len(rows) - 0.5))
        axes.grid(axis="y", alpha=0.3)
    place_legend(figure)
    return figure


def _describe_group(group: dict) -> str:
    low, high = 100 * group["low"], 100 * group["high"]
    if low == high:
        return "all"
    return f"below {high:.0f} %" if low == 0 else f"{low:.0f} to {high:.0f} %"
