"""Owns the figures of what is inside a network: activation maps, its features in a plane, its first filters."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch.nn.functional import interpolate

from .figures import COLORS, make_panels
from .image_grids import MAX_CLASSES, draw_galleries, limit_title, shorten

HEAT = colormaps["cividis"]  # its lightness rises evenly, for all readers
CLASS_MARKERS = "os^Dv"  # with six colours: 30 combinations
MAX_FILTERS = 64


def overlay(images: np.ndarray, maps: np.ndarray) -> list[np.ndarray]:
    """Images in gray below their activation maps, in colour; both are enlarged to 96 pixels or the image's size.

    Args:
        images: uint8 (N, S, S, 3).
        maps: float (N, h, w), 0 to 1.
    """
    size = max(96, images.shape[1])
    grids = torch.from_numpy(maps)[:, None]
    heat = interpolate(grids, (size, size), mode="bilinear", align_corners=False)[:, 0].numpy()
    scale = -(-size // images.shape[1])
    repeated = images.repeat(scale, 1).repeat(scale, 2)
    places = np.arange(size) * repeated.shape[1] // size
    gray = repeated[:, places][:, :, places].mean(3, keepdims=True) / 255
    strength = 0.15 + 0.5 * heat[..., None]
    mixed = (1 - strength) * gray + strength * HEAT(heat)[..., :3]
    return list((255 * mixed).round().astype(np.uint8))


def draw_activation_maps(
    images: np.ndarray, truths: Sequence[str], maps: Mapping[str, np.ndarray], captions: Mapping[str, Sequence[str]]
) -> Figure:
    """Images, and below them for each model where it looks, with what it says.

    Args:
        images: uint8 (N, S, S, 3).
        truths: their classes.
        maps: by model, float (N, h, w), 0 to 1.
        captions: by model, of each image.
    """
    rows = [("Test images", list(images), list(truths))]
    rows += [(name, overlay(images, each), list(captions[name])) for name, each in maps.items()]
    return draw_galleries(rows, "Where each model finds its prediction: bright speaks for it")


def draw_feature_maps(points: Mapping[str, np.ndarray], labels: np.ndarray, class_names: Sequence[str]) -> Figure:
    """A panel per model: each image where t-SNE puts its features, coloured and marked by class.

    Args:
        points: by model, (N, 2).
        labels: integers (N,).
        class_names: in the labels' order; of many, the first 20 that there are get a colour.
    """
    shown = np.unique(labels)[:MAX_CLASSES]
    figure, panels = make_panels(len(points), 4.4, 4.4)
    for axes, (name, places) in zip(panels, points.items(), strict=True):
        others = ~np.isin(labels, shown)
        axes.scatter(*places[others].T, s=5, color="0.85")
        for position, label in enumerate(shown):
            own = places[labels == label]
            axes.scatter(
                *own.T, s=12, color=COLORS[position % len(COLORS)],
                marker=CLASS_MARKERS[position % len(CLASS_MARKERS)],
                linewidths=0, alpha=0.8, label=shorten(class_names[label]),
            )  # fmt: skip
        for label in shown if len(shown) <= 10 else ():
            center = np.median(places[labels == label], axis=0)
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
            axes.text(*center, shorten(class_names[label], 12), fontsize=8, ha="center", va="center", bbox=box)
        axes.set_title(name, fontsize=10)
        axes.set(xticks=[], yticks=[])
        axes.set(xlabel="t-SNE, first direction (no unit)", ylabel="t-SNE, second direction (no unit)")
    handles, names = panels[0].get_legend_handles_labels()
    columns = max(1, min(len(names), int(figure.get_figwidth() * 0.9)))
    figure.set_figheight(figure.get_figheight() + 0.22 * -(-len(names) // columns))
    title = limit_title("class", len(shown), len(class_names)) if len(shown) < len(class_names) else None
    figure.legend(
        handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=8, markerscale=1.8,
        title=title,
    )  # fmt: skip
    return figure


def draw_first_filters(filters: Mapping[str, np.ndarray]) -> Figure:
    """A panel per model: its first layer's filters, the first 64, each scaled by its largest weight; gray is 0.

    Args:
        filters: by model, float (n, k, k, 3).
    """
    figure, panels = make_panels(len(filters), 4, 4.3)
    for axes, (name, weights) in zip(panels, filters.items(), strict=True):
        shown = weights[:MAX_FILTERS]
        largest = np.abs(shown).max((1, 2, 3), keepdims=True)
        pictures = 0.5 + 0.5 * shown / np.where(largest > 0, largest, 1)
        count, size = len(shown), shown.shape[1]
        columns, scale = int(np.ceil(count**0.5)), max(1, 24 // size)
        pictures = pictures.repeat(scale, 1).repeat(scale, 2)
        size, gap = size * scale, max(1, size * scale // 8)
        rows = -(-count // columns)
        canvas = np.ones((rows * (size + gap) - gap, columns * (size + gap) - gap, 3))
        for place, picture in enumerate(pictures):
            top, left = (size + gap) * (place // columns), (size + gap) * (place % columns)
            canvas[top : top + size, left : left + size] = picture
        axes.imshow(canvas, interpolation="nearest")
        axes.axis("off")
        kind = f"{count} of {len(weights)}" if count < len(weights) else f"{count}"
        axes.set_title(f"{name}\n{kind} filters of {weights.shape[1]} x {weights.shape[2]} pixels", fontsize=10)
    return figure
