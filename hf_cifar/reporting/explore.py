"""Owns the pictures of what a dataset holds: its classes, their balance, colours and means, and a map of features."""

import datasets
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from ..data.store import get_image_size, iterate_images, read_column, read_images
from .figures import draw_class_balance
from .image_grids import MAX_CLASSES, draw_captioned, draw_strips, limit_title, shorten

CHANNELS = {"red": "#C4282D", "green": "#2E8B3D", "blue": "#2B5FB4"}


def find_first_images(table: datasets.Dataset, per_class: int) -> dict[int, np.ndarray]:
    """Rows of each class's first images, for the first classes that have any, at most `MAX_CLASSES`."""
    labels = read_column(table, "label")
    return {label: np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)[:MAX_CLASSES].tolist()}


def draw_classes(table: datasets.Dataset, per_class: int = 10) -> Figure:
    """The first images of each class."""
    names = table.features["label"].names
    chosen = find_first_images(table, per_class)
    rows = [(shorten(names[label]), read_images(table.select(rows))) for label, rows in chosen.items()]
    return draw_strips(rows, limit_title("Training images of each class", len(rows), len(names)))


def count_classes(tables: dict[str, datasets.Dataset | None]) -> dict[str, list[int]]:
    """Images per class in each split that there is."""
    return {
        split: np.bincount(read_column(table, "label"), minlength=table.features["label"].num_classes).tolist()
        for split, table in tables.items()
        if table is not None
    }


def draw_balance(counts: dict[str, list[int]], class_names: list[str]) -> Figure:
    """Images per class, a panel per split; of many classes the largest and the smallest.

    Args:
        counts: by split, images per class.
        class_names: in the labels' order.
    """
    order = np.arange(len(class_names))
    if len(order) > MAX_CLASSES:
        by_size = np.argsort(-np.array(next(iter(counts.values()))), kind="stable")
        order = np.concatenate([by_size[: MAX_CLASSES // 2], by_size[-MAX_CLASSES // 2 :]])
    names = [shorten(class_names[label]) for label in order]
    names = [f"{name}{' ' * names[:i].count(name)}" for i, name in enumerate(names)]  # bars of one name would merge
    figure = draw_class_balance({split: [values[i] for i in order] for split, values in counts.items()}, names)
    for axes, (split, values) in zip(figure.axes, counts.items(), strict=True):
        axes.set_title(f"{split}: {sum(values):,} images")
    figure.set_figheight(max(3.6, 0.24 * len(order) + 1))
    if len(order) < len(class_names):
        figure.suptitle(f"The {MAX_CLASSES // 2} largest and the {MAX_CLASSES // 2} smallest of {len(class_names)}")
    return figure


def count_intensities(table: datasets.Dataset) -> np.ndarray:
    """How often each value occurs in each channel: int64 (3, 256)."""
    counts = np.zeros((3, 256), dtype=np.int64)
    for images in iterate_images(table):
        for channel in range(3):
            counts[channel] += np.bincount(images[..., channel].reshape(-1), minlength=256)
    return counts


def measure_intensities(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, float64 (3,), for values in [0, 1]; counts as counted above."""
    values, shares = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    return mean, np.sqrt(np.maximum(shares @ values**2 - mean**2, 0))


def draw_intensities(counts: dict[str, np.ndarray]) -> Figure:
    """How often pixels have each value, a panel per split.

    Args:
        counts: by split, int64 (3, 256).
    """
    figure = Figure(figsize=(4 * len(counts), 3.2), layout="constrained")
    panels = figure.subplots(1, len(counts), squeeze=False, sharey=True)[0]
    for axes, (split, rows) in zip(panels, counts.items(), strict=True):
        shares = 100 * rows / rows.sum(1, keepdims=True)
        means, _ = measure_intensities(rows)
        for (name, color), values, mean in zip(CHANNELS.items(), shares, means, strict=True):
            axes.plot(values, color=color, linewidth=1.2, label=f"{name}, mean {255 * mean:.0f}")
        axes.set(title=split, xlabel="value (0 is black)", xlim=(-3, 258))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    panels[0].set(ylabel="pixels (%)", ylim=(0, None))
    return figure


def draw_mean_images(table: datasets.Dataset) -> Figure:
    """The mean of each class's images."""
    names, labels, size = table.features["label"].names, read_column(table, "label"), get_image_size(table)
    shown = np.unique(labels)[:MAX_CLASSES]
    sums, start = np.zeros((len(shown), size, size, 3)), 0
    for images in iterate_images(table):
        part = labels[start : start + len(images)]
        for row, label in enumerate(shown):
            sums[row] += images[part == label].sum(0, dtype=np.int64)
        start += len(images)
    means = [(sums[row] / (labels == label).sum()).round().astype(np.uint8) for row, label in enumerate(shown)]
    title = limit_title("Mean training image of each class", len(shown), len(names))
    return draw_captioned(means, [shorten(names[label]) for label in shown], title, columns=5)


def draw_feature_map(features: np.ndarray, labels: np.ndarray, class_names: list[str], backbone: str) -> Figure:
    """Features on their first two principal components, coloured by class, with each class's median.

    Args:
        features: float (N, D).
        labels: integers (N,).
        class_names: in the labels' order.
        backbone: whose features they are.
    """
    analysis = PCA(n_components=2, random_state=0)
    points = analysis.fit_transform(features)  # (N, 2)
    shown = np.unique(labels)[:MAX_CLASSES]
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    axes = figure.subplots()
    others = ~np.isin(labels, shown)
    axes.scatter(*points[others].T, s=7, color="#D0D4D8", linewidths=0)
    colors = colormaps["tab10" if len(shown) <= 10 else "tab20"]
    for position, label in enumerate(shown):
        own, style = points[labels == label], {"color": colors(position), "marker": "os^D"[position % 4]}
        axes.scatter(*own.T, s=9, alpha=0.6, linewidths=0, **style)
        axes.scatter(
            *np.median(own, 0), s=110, edgecolors="black", zorder=3, label=shorten(class_names[label]), **style
        )
    shares = analysis.explained_variance_ratio_
    axes.set(
        title=limit_title(f"Features of {backbone}", len(shown), len(class_names)),
        xlabel=f"first component ({shares[0]:.0%} of the variance)",
        ylabel=f"second component ({shares[1]:.0%})",
    )
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), markerscale=0.7)
    return figure
