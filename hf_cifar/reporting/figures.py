"""Owns the figures: each function takes numbers or images and returns a matplotlib Figure."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..files import write_then_rename

# Okabe & Ito 2008: told apart by colour-blind readers too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MANY_CLASSES = 20  # beyond, figures leave numbers out and write names small
RIGHT, WRONG = "#00694D", "#B03A00"
MARKERS = "osD^vP"
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 4)))


def save_figure(figure: Figure, path: Path, has_svg: bool = True) -> None:
    """Write a PNG and, beside it, an SVG whose text stays text; the same figure gives the same bytes.

    Args:
        figure: of any kind.
        path: of the PNG; or of an SVG, then there is no PNG.
        has_svg: whether there is an SVG beside a PNG.
    """
    options = {"svg.fonttype": "none", "svg.hashsalt": "hf_cifar"}
    suffixes = {path.suffix} | ({".svg"} if has_svg else set())
    for suffix in sorted(suffixes):
        metadata = {"Date": None} if suffix == ".svg" else {}
        with write_then_rename(path.with_suffix(suffix)) as temporary, matplotlib.rc_context(options):
            figure.savefig(temporary, format=suffix[1:], dpi=130, bbox_inches="tight", metadata=metadata)


def get_style(position: int) -> dict[str, object]:
    """Colour, line and marker of a model, told apart by any one of them, so in grayscale too."""
    return {
        "color": COLORS[position % len(COLORS)],
        "linestyle": LINES[position % len(LINES)],
        "marker": MARKERS[position % len(MARKERS)],
    }


def place_legend(figure: Figure) -> None:
    """One legend for all panels, below them, where it covers nothing."""
    handles = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        fitting = int(10 * figure.get_figwidth() / (max(map(len, handles)) + 6))
        columns = min(max(fitting, 1), len(handles))
        figure.set_figheight(figure.get_figheight() + 0.2 * -(-len(handles) // columns))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", frameon=False, fontsize=9, handlelength=3,
            ncols=columns,
        )  # fmt: skip


def make_panels(count: int, width: float, height: float, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of a size in inches, in rows of `columns`."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.09)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes in panels[count:]:
        axes.axis("off")
    return figure, list(panels[:count])


def draw_learning_curves(histories: dict[str, list[dict[str, float]]]) -> Figure:
    """Loss and, where a run has it, validation accuracy per epoch; a colour and marker per run."""
    is_validated = any("validation_accuracy" in row for history in histories.values() for row in history)
    figure, (loss_axes, *others) = make_panels(2 if is_validated else 1, 5, 4)
    for position, (name, history) in enumerate(histories.items()):
        style = {key: value for key, value in get_style(position).items() if key != "linestyle"}
        for axes, key, line in (
            (loss_axes, "loss", "-"),
            (loss_axes, "validation_loss", "--"),
            *((axes, "validation_accuracy", "--") for axes in others),
        ):
            points = [(row["epoch"], row[key]) for row in history if key in row]
            if points:
                epochs, values = zip(*points, strict=True)
                values = np.array(values) * (100 if "accuracy" in key else 1)
                spacing = max(1, len(values) // 8)
                axes.plot(epochs, values, linestyle=line, markersize=4, markevery=spacing, **style)
        loss_axes.plot([], [], linestyle="-", label=name, **style)
    if is_validated:  # lines are told apart by a key of their own
        loss_axes.plot([], [], "-", color="0.3", label="training")
        loss_axes.plot([], [], "--", color="0.3", label="validation")
    loss_axes.set(xlabel="epoch", ylabel="cross-entropy (nats)", title="Loss")
    for axes in others:
        axes.set(xlabel="epoch", ylabel="accuracy (%)", title="Validation accuracy")
    for axes in (loss_axes, *others):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    place_legend(figure)
    return figure


def draw_confusion_matrices(matrices: dict[str, list[list[int]]], class_names: Sequence[str]) -> Figure:
    """Per run, counts by true and predicted class; colour is the share of the true class, of many classes alone."""
    is_large = len(class_names) > MANY_CLASSES
    side = max(6.2, 0.11 * len(class_names))
    figure, panels = make_panels(len(matrices), side + 0.2, side, columns=2)
    for axes, (name, rows) in zip(panels, matrices.items(), strict=True):
        matrix = np.array(rows)
        shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(matrix):
            if count and not is_large:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=color, fontsize=8)
        ticks = range(len(class_names))
        small = {"fontsize": 6} if is_large else {}
        axes.set_xticks(
            ticks, class_names, rotation=90 if is_large else 45, ha="center" if is_large else "right", **small
        )
        axes.set_yticks(ticks, class_names, **small)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(textwrap.fill(name, 60))
    return figure


def draw_sample_predictions(
    images: np.ndarray, truths: Sequence[str], predictions: dict[str, list[tuple[str, float]]], groups: Sequence[str]
) -> Figure:
    """Images with each run's prediction beneath.

    Args:
        images: uint8 (N, H, W, 3).
        truths: the true class of each.
        predictions: by run, the predicted class and its probability for each image.
        groups: a heading for each image, such as "only the CNN is right".
    """
    columns = 6
    rows = -(-len(images) // columns)
    height = 1.9 + 0.24 * len(predictions)
    figure = Figure(figsize=(columns * 2.1, rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for position, axes in enumerate(grid.flat[: len(images)]):
        axes.imshow(images[position], interpolation="nearest")
        axes.set_title(f"{groups[position]}\n{truths[position]}", fontsize=8)
        for line, (name, row) in enumerate(predictions.items()):
            predicted, probability = row[position]
            axes.text(
                0.5,
                -0.04 - 0.13 * line,
                f"{name}: {predicted} {probability:.0%}",
                transform=axes.transAxes,
                ha="center",
                va="top",
                fontsize=7,
                color=RIGHT if predicted == truths[position] else WRONG,
            )
    return figure


def draw_class_scores(scores: dict[str, dict[str, dict]], metric: str = "f1") -> Figure:
    """A metric per class as points with 95 % intervals.

    Args:
        scores: by run, `metrics.test.per_class` of its results.
        metric: "precision", "recall" or "f1".
    """
    num_classes = max(map(len, scores.values()))
    figure = Figure(figsize=(max(10, 0.16 * num_classes), 3.8), layout="constrained")
    axes = figure.subplots()
    is_large = num_classes > MANY_CLASSES
    width = 0.5 / len(scores)
    for position, (name, classes) in enumerate(scores.items()):
        values, low, high = (
            100 * np.array([row[metric][side] for row in classes.values()]) for side in ("value", "low", "high")
        )
        places = np.arange(len(classes)) + (position - (len(scores) - 1) / 2) * width
        errors = np.maximum([values - low, high - values], 0)
        color = COLORS[position % len(COLORS)]
        style = {"rotation": 90, "fontsize": 6} if is_large else {"rotation": 30, "ha": "right"}
        axes.errorbar(
            places,
            values,
            errors,
            fmt=MARKERS[position % len(MARKERS)],
            color=color,
            label=name,
            capsize=0 if is_large else 3,
            markersize=3 if is_large else 6,
        )
        axes.set_xticks(range(len(classes)), list(classes), **style)
    label = "F1" if metric == "f1" else metric
    axes.set(ylabel=f"{label} (%)", title=f"Test {label} per class, with 95 % intervals")
    axes.grid(axis="y", alpha=0.3)
    place_legend(figure)
    return figure


def draw_class_balance(counts: dict[str, Sequence[int]], class_names: Sequence[str]) -> Figure:
    """Images per class, a panel per split."""
    figure = Figure(figsize=(4 * len(counts), 3.6), layout="constrained")
    for axes, (split, values) in zip(figure.subplots(1, len(counts), squeeze=False)[0], counts.items(), strict=True):
        label_bars(axes, axes.barh(class_names, values, color=COLORS[0]))
        axes.invert_yaxis()
        axes.set(title=f"{split}: {sum(values):,} images", xlabel="images", xlim=(0, max(values) * 1.2))
    return figure


def label_bars(axes: Axes, bars) -> None:
    """Write each bar's value beside it."""
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)


def write_run_figures(folder: Path, results: dict) -> None:
    """Write a run's own `figures/learning_curves.png` and `figures/confusion_matrix.png`."""
    name, class_names = results["model"]["name"], results["data"]["class_names"]
    matrices = {f"{name}, test": results["metrics"]["test"]["confusion_matrix"]}
    for stem, figure in (
        ("learning_curves", draw_learning_curves({name: results["history"]})),
        ("confusion_matrix", draw_confusion_matrices(matrices, class_names)),
    ):
        save_figure(figure, folder / "figures" / f"{stem}.png", has_svg=False)
