"""Owns the figures of a comparison: accuracies, differences, cost, trade-offs and data efficiency, with intervals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..evaluation.tradeoffs import get_cost
from .comparison_text import format_value, shorten_names
from .figures import COLORS
from .formatting import format_count

MARKERS = "osD^vPX<>*"
HATCHES = ("///", "...", "xxx", "\\\\\\", "++", "ooo")
MAX_PAIRS = 30  # more lines than that cannot be read


def draw_comparison(comparison: dict) -> tuple[dict[str, Figure], dict[str, str]]:
    """Every figure that the comparison has numbers for, and what each shows, by file stem."""
    figures, captions = {"accuracies": draw_accuracies(comparison)}, {}
    parts = ["Test accuracy with 95 % intervals (bootstrap over test images)"]
    if any(model["accuracy_tta"] for model in comparison["models"]):
        parts.append("hollow: with test-time augmentation")
    if any(model["seed_summary"] for model in comparison["models"]):
        parts.append("grey bar: 95 % interval of the mean over seeds")
    captions["accuracies"] = f"{'; '.join(parts)}."
    if comparison["pairs"]:
        figures["differences"] = draw_differences(comparison)
        captions["differences"] = (
            "Difference in accuracy of each pair with its paired 95 % interval; filled where the verdict is not a tie."
        )
    if comparison["pareto"]:
        figures["pareto"] = draw_pareto(comparison)
        captions["pareto"] = (
            "Accuracy against what it costs. A line joins the models that no other beats on both; the rest are hollow."
        )
    if any(axis["values"] for axis in comparison["tradeoffs"]):
        figures["tradeoffs"] = draw_tradeoffs(comparison)
        captions["tradeoffs"] = "Every axis of the trade-off; a star marks the winner, where there is one."
    if comparison["data_efficiency"]:
        figures["data_efficiency"] = draw_data_efficiency(comparison["data_efficiency"])
        captions["data_efficiency"] = "Test accuracy against the number of labelled training images, 95 % intervals."
    return figures, captions


def get_style(position: int) -> dict[str, str]:
    """Colour and marker of a model: told apart by either alone."""
    return {"color": COLORS[position % len(COLORS)], "marker": MARKERS[position % len(MARKERS)]}


def get_errors(estimates: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Values in percent (N,), and how far their intervals reach down and up (2, N)."""
    values, low, high = (100 * np.array([each[key] for each in estimates]) for key in ("value", "low", "high"))
    return values, np.maximum([values - low, high - values], 0)


def plain(name: str) -> str:
    """A name without matplotlib's formulas."""
    return name.replace("$", r"\$")


def draw_accuracies(comparison: dict) -> Figure:
    """A line per model: test accuracy with its interval, with test-time augmentation, and over seeds."""
    models = comparison["models"]
    names = shorten_names([model["name"] for model in models], 40)
    figure = Figure(figsize=(9, 1.3 + 0.55 * len(models)), layout="constrained")
    axes = figure.subplots()
    for place, model in enumerate(models):
        style = get_style(place)
        for key, offset, filled in (("accuracy", 0, True), ("accuracy_tta", 0.22, False)):
            if model[key]:
                value, errors = get_errors([model[key]])
                face = style["color"] if filled else "white"
                axes.errorbar(
                    value, place + offset, xerr=errors, capsize=3, markerfacecolor=face, markersize=7, **style
                )
        if seeds := model["seed_summary"]:
            spread = [100 * seeds[key] for key in ("low", "high") if seeds.get(key) is not None]
            axes.plot(
                spread, [place - 0.22] * len(spread), color="0.35", linewidth=5, solid_capstyle="butt", alpha=0.6
            )
            axes.plot(100 * seeds["mean"], place - 0.22, "|", color="black", markersize=11)
    axes.set_yticks(range(len(models)), [plain(names[model["name"]]) for model in models])
    axes.set_ylim(len(models) - 0.4, -0.6)
    axes.set(xlabel="test accuracy (%)", title="Test accuracy, 95 % intervals")
    axes.grid(axis="x", alpha=0.3)
    return figure


def draw_differences(comparison: dict) -> Figure:
    """A line per pair: accuracy of the first minus that of the second, with its paired interval."""
    pairs = comparison["pairs"][:MAX_PAIRS]
    names = shorten_names([model["name"] for model in comparison["models"]], 30)
    figure = Figure(figsize=(9, 1.3 + 0.36 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    for place, pair in enumerate(pairs):
        value, errors = get_errors([pair["difference"]])
        decided = pair["verdict"] in ("better", "worse")
        face = COLORS[0] if decided else "white"
        axes.errorbar(
            value, place, xerr=errors, fmt="o", capsize=3, color=COLORS[0], markerfacecolor=face, markersize=7
        )
    axes.axvline(0, color="0.2", linewidth=1)
    labels = [plain(f"{names[pair['first']]} − {names[pair['second']]}") for pair in pairs]
    axes.set_yticks(range(len(pairs)), labels, fontsize=8)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    left_out = len(comparison["pairs"]) - len(pairs)
    title = "Differences in accuracy, paired 95 % intervals" + (
        f" ({left_out} more pairs not shown)" if left_out else ""
    )
    axes.set(xlabel="difference (percentage points); right of 0 the first is ahead", title=title)
    axes.grid(axis="x", alpha=0.3)
    return figure


def draw_pareto(comparison: dict) -> Figure:
    """Accuracy against each cost, a panel per cost, the front marked."""
    models, panels = comparison["models"], comparison["pareto"]
    names = shorten_names([model["name"] for model in models], 40)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5 * columns, 3.7 * rows + 0.3 * len(models)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, panel in zip(grid.flat, panels, strict=False):
        front = []
        for place, model in enumerate(models):
            if not (cost := get_cost(model, panel["cost"])):
                continue
            is_front = model["name"] in panel["front"]
            style = get_style(place)
            value, errors = get_errors([model["accuracy"]])
            axes.errorbar(
                cost, value, errors, capsize=3, markersize=8, linestyle="none", label=plain(names[model["name"]]),
                markerfacecolor=style["color"] if is_front else "white", **style,
            )  # fmt: skip
            front += [(cost, value[0])] if is_front else []
        if front:
            axes.plot(*zip(*sorted(front), strict=True), color="0.4", linewidth=1, linestyle="--", zorder=0)
        set_log_axis(axes)
        unit = f" ({panel['unit']})" if panel["unit"] and f"({panel['unit']})" not in panel["label"] else ""
        axes.set(xlabel=f"{panel['label']}{unit}, log scale", ylabel="test accuracy (%)")
        axes.grid(alpha=0.3)
    handles = {
        label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", frameon=False, ncols=2)
    return figure


def set_log_axis(axes: Axes) -> None:
    """A logarithmic x axis with numbers that people read, also where it spans less than a power of ten."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high / low < 5:
        axes.set_xlim(low / 2, high * 2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(format_tick))
    axes.xaxis.set_minor_formatter(NullFormatter())


def format_tick(value: float, _: object = None) -> str:
    """As in "0.5", "200" or "50 k"."""
    return format_count(value) if value >= 1000 else f"{value:.3g}"


def draw_tradeoffs(comparison: dict) -> Figure:
    """A panel per axis that was measured: a bar per model with its number and interval, a star at the winner."""
    names = [model["name"] for model in comparison["models"]]
    short = shorten_names(names, 26)
    measured = [axis for axis in comparison["tradeoffs"] if axis["values"]]
    columns = min(3, len(measured))
    rows = -(-len(measured) // columns)
    size = (3.2 * columns + 1.6, rows * (1.2 + 0.36 * len(names)))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(measured) :]:
        axes.axis("off")
    for axes, axis in zip(grid.flat, measured, strict=False):
        draw_axis(axes, axis, names)
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(names)), [plain(short[name]) for name in names], fontsize=9)
        axes.set_ylim(len(names) - 0.4, -0.6)
    return figure


def draw_axis(axes: Axes, axis: dict, names: Sequence[str]) -> None:
    """One panel of `draw_tradeoffs`."""
    factor = 100 if axis["unit"] == "%" else 1
    longest = 1e-9
    for place, name in enumerate(names):
        found = axis["values"].get(name)
        low, value, high = (
            factor * (found[key] if isinstance(found, dict) else found or 0) for key in ("low", "value", "high")
        )
        color, hatch = COLORS[place % len(COLORS)], HATCHES[place % len(HATCHES)]
        axes.barh(place, value, 0.7, color="white", edgecolor=color, linewidth=1.2, hatch=hatch)
        if high > low:
            axes.errorbar(value, place, xerr=[[max(value - low, 0)], [max(high - value, 0)]], color="black", capsize=2)
        star = " ★" if name == axis["winner"] else ""
        text = f"{value:.1f} %" if axis["unit"] == "%" else format_value(found, axis["unit"])
        text = text.removesuffix(f" {axis['unit']}") if axis["unit"] not in ("%", "s") else text
        text = "not measured" if found is None else text + star
        axes.text(max(value, high), place, f" {text}", va="center", fontsize=8)
        longest = max(longest, value, high)
    axes.set_xlim(0, 1.5 * longest)
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(FuncFormatter(format_tick))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(axis["label"], fontsize=10)
    axes.set_xlabel(", ".join(filter(None, (axis["unit"], f"{axis['better']} is better"))), fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def draw_data_efficiency(curve: dict) -> Figure:
    """Test accuracy against labelled training images, a line per recipe: solid from scratch, dashed by transfer."""
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots()
    groups = list(dict.fromkeys(point["group"] for point in curve["points"]))
    names = shorten_names(groups, 40)
    for place, group in enumerate(groups):
        points = sorted((p for p in curve["points"] if p["group"] == group), key=lambda point: point["images"])
        values, errors = get_errors([point["accuracy"] for point in points])
        axes.errorbar(
            [point["images"] for point in points], values, errors, capsize=3, label=plain(names[group]),
            linestyle="--" if points[0]["kind"] == "transfer" else "-", **get_style(place),
        )  # fmt: skip
    set_log_axis(axes)
    axes.set(
        xlabel="labelled training images, log scale", ylabel="test accuracy (%)", title="How many labels it takes"
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    return figure
