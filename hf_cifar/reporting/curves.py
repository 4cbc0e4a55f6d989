"""Owns the curves of probabilities: reliability diagrams, ROC and precision-recall, clean against corrupted."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from .comparison_text import shorten_names
from .figures import COLORS

STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
MARKERS = "osD^vP"
GRID = np.linspace(0, 1, 201)


def draw_reliability(tables: dict[str, dict[str, list[dict]]]) -> Figure:
    """Accuracy against confidence, a panel per model: as trained, and after temperature scaling where there is one.

    Args:
        tables: by model, `calibration.reliability` of its results.
    """
    names, columns = shorten_names(tables, 30), min(3, len(tables))
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.4, 3.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(tables) :]:
        axes.axis("off")
    labels = {"before": "as trained", "after": "temperature-scaled"}
    for axes, (name, states) in zip(grid.flat, tables.items(), strict=False):
        axes.plot([0, 100], [0, 100], color="0.6", linewidth=1)
        for place, (state, bins) in enumerate(states.items()):
            points = np.array([(100 * row["confidence"], 100 * row["accuracy"]) for row in bins])
            axes.plot(*points.T, STYLES[place], marker=MARKERS[place], color=COLORS[place], markersize=4,
                      label=labels.get(state, state))  # fmt: skip
        axes.set(xlabel="confidence (%)", ylabel="accuracy (%)", title=names[name].replace("$", r"\$"))
        axes.set(xlim=(0, 102), ylim=(0, 102))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def draw_ranking_curves(probabilities: dict[str, np.ndarray], labels: np.ndarray) -> Figure | None:
    """ROC and precision-recall curves, each the mean of one class against the rest; None without two classes.

    Args:
        probabilities: by model, (N, K).
        labels: integers (N,).
    """
    classes = [k for k in np.unique(labels) if (labels != k).any()]
    if not classes:
        return None
    figure = Figure(figsize=(9.5, 4.2 + 0.2 * len(probabilities)), layout="constrained")
    roc_axes, pr_axes = figure.subplots(1, 2)
    for place, (name, values) in enumerate(probabilities.items()):
        roc, recall_curve = [], []
        for k in classes:
            false, true, _ = roc_curve(labels == k, values[:, k])
            roc.append(np.interp(GRID, false, true))
            precision, recall, _ = precision_recall_curve(labels == k, values[:, k])
            recall_curve.append(np.interp(GRID, recall[::-1], precision[::-1]))
        style = {"linestyle": STYLES[place % len(STYLES)], "color": COLORS[place % len(COLORS)]}
        label = shorten_names(probabilities, 34)[name].replace("$", r"\$")
        roc_axes.plot(np.maximum(100 * GRID, 0.1), 100 * np.mean(roc, 0), label=label, **style)
        pr_axes.plot(100 * GRID, 100 * np.mean(recall_curve, 0), **style)
    roc_axes.set(xscale="log", xlim=(0.4, 100), xlabel="false positives (%), log scale", ylabel="true positives (%)",
                 title="ROC, one class against the rest")  # fmt: skip
    pr_axes.set(xlabel="recall (%)", ylabel="precision (%)", title="Precision and recall, one class against the rest")
    for axes in (roc_axes, pr_axes):
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", frameon=False, ncols=2)
    return figure


def draw_robustness(sections: dict[str, dict]) -> Figure:
    """Accuracy on clean images and under each family of corruptions, a line per model.

    Args:
        sections: by model, `robustness` of its results.
    """
    figure = Figure(figsize=(8, 4 + 0.2 * len(sections)), layout="constrained")
    axes = figure.subplots()
    families = list(dict.fromkeys(family for section in sections.values() for family in section["families"]))
    names = shorten_names(sections, 34)
    for place, (name, section) in enumerate(sections.items()):
        values = [section["clean_accuracy"], *(section["families"].get(family, np.nan) for family in families)]
        axes.plot(
            range(len(values)), 100 * np.array(values), linestyle=STYLES[place % len(STYLES)],
            marker=MARKERS[place % len(MARKERS)], color=COLORS[place % len(COLORS)],
            label=names[name].replace("$", r"\$"),
        )  # fmt: skip
    axes.set_xticks(range(len(families) + 1), ["clean", *families])
    axes.set(ylabel="accuracy (%)", title="Accuracy on corrupted test images, by family")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", frameon=False, ncols=2)
    return figure


def draw_filters(filters: dict[str, Sequence[np.ndarray]]) -> Figure:
    """The first layer's filters as pictures, a panel per model.

    Args:
        filters: by model, arrays (h, w, 3) of weights; each is stretched to the full range of its own.
    """
    names, count = shorten_names(filters, 30), 32
    figure = Figure(figsize=(4.2 * min(2, len(filters)) + 0.3, 2.6 * -(-len(filters) // 2)), layout="constrained")
    grid = figure.subplots(-(-len(filters) // 2), min(2, len(filters)), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, (name, kernels) in zip(grid.flat, filters.items(), strict=False):
        height, width, _ = kernels[0].shape
        canvas = np.ones((4 * (height + 1) - 1, 8 * (width + 1) - 1, 3))
        for place, kernel in enumerate(kernels[:count]):
            top, left = place // 8 * (height + 1), place % 8 * (width + 1)
            spread = max(np.ptp(kernel), 1e-12)
            canvas[top : top + height, left : left + width] = (kernel - kernel.min()) / spread
        axes.imshow(canvas, interpolation="nearest")
        shown = f"{min(count, len(kernels))} of {len(kernels)} filters, {height} × {width}"
        axes.set_title(f"{names[name]}\n{shown}".replace("$", r"\$"), fontsize=9)
    return figure
