"""Owns grids of images: labelled strips, and pictures with captions beneath; any size of image, any class names."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .figures import WRONG

MAX_CLASSES = 20  # more rows or colours than that cannot be read


def shorten(name: str, length: int = 18) -> str:
    """A name that fits, with an ellipsis where it is cut, and without matplotlib's formulas."""
    name = " ".join(name.split())
    return (name if len(name) <= length else f"{name[: length - 1]}…").replace("$", r"\$")


def limit_title(title: str, shown: int, total: int) -> str:
    """The title, with how many classes are left out, if any."""
    return title if shown == total else f"{title} (the first {shown} of {total} classes)"


def draw_strips(rows: Sequence[tuple[str, np.ndarray]], title: str, columns: Sequence[str] = ()) -> Figure:
    """Rows of images with a label each, as one picture.

    Args:
        rows: labels, and uint8 (n, S, S, 3), as many as there are or fewer than in the longest row.
        title: of the figure.
        columns: headings.
    """
    size = rows[0][1].shape[1]
    gap = max(1, size // 12)
    count = max(len(images) for _, images in rows)
    canvas = np.full((len(rows) * (size + gap) - gap, count * (size + gap) - gap, 3), 255, dtype=np.uint8)
    for row, (_, images) in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * (size + gap), column * (size + gap)
            canvas[top : top + size, left : left + size] = image
    height = 0.75 * len(rows)
    figure = Figure(figsize=(0.75 * count + 2.2, height + 0.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas, interpolation=_choose_interpolation(size))
    axes.set_yticks([row * (size + gap) + size / 2 for row in range(len(rows))], [label for label, _ in rows])
    axes.set_xticks([column * (size + gap) + size / 2 for column in range(len(columns))], columns, fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=11, pad=8)
    return figure


def draw_captioned(
    images: Sequence[np.ndarray], captions: Sequence[str], title: str, is_marked: Sequence[bool] = (), columns: int = 6
) -> Figure:
    """Images, each with its caption beneath; marked ones have it in red.

    Args:
        images: each uint8 (H, W, 3), all of one size.
        captions: of up to three lines.
        title: of the figure.
        is_marked: for each image; nothing for none.
        columns: images beside each other.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    width = max(1.25, 1.2 * images[0].shape[1] / images[0].shape[0])
    figure = Figure(figsize=(max(columns * width, 5), rows * (1.2 + 0.17 * lines) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    marks = is_marked or [False] * len(images)
    for axes, image, caption, mark in zip(grid.flat, images, captions, marks, strict=False):
        axes.imshow(image, interpolation=_choose_interpolation(len(image)))
        axes.text(
            0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", fontsize=7,
            color=WRONG if mark else "black",
        )  # fmt: skip
    return figure


def draw_galleries(
    rows: Sequence[tuple[str, Sequence[np.ndarray], Sequence[str]]], title: str, cell: float = 1.3
) -> Figure:
    """Rows of images, each row below its heading and each image above its caption.

    Args:
        rows: a heading of any length, images uint8 (H, W, 3), H = W, and a caption for each, of lines that fit.
        title: of the figure.
        cell: width of an image and the space to the next one, in inches.
    """
    width = max(cell * max(len(images) for _, images, _ in rows), 5.2)
    headings = [textwrap.wrap(heading, int(11 * width)) for heading, _, _ in rows]
    titles = textwrap.wrap(title, int(9 * width))
    lines = [max((caption.count("\n") + 1 for caption in captions if caption), default=0) for _, _, captions in rows]
    heights = [
        0.2 * len(heading) + 0.1 + (cell + 0.14 * count if len(images) else 0.1)
        for heading, count, (_, images, _) in zip(headings, lines, rows, strict=True)
    ]
    top = 0.15 + 0.24 * len(titles)
    height = top + sum(heights)
    figure = Figure(figsize=(width, height))
    figure.text(0.5, 1 - 0.05 / height, "\n".join(titles), ha="center", va="top", fontsize=11)
    for heading, row_height, (_, images, captions) in zip(headings, heights, rows, strict=True):
        text = "\n".join(heading)
        figure.text(0.03 / width, 1 - (top + 0.02) / height, text, va="top", fontsize=9, fontweight="bold")
        below = top + 0.2 * len(heading) + 0.06
        for column, (image, caption) in enumerate(zip(images, captions, strict=True)):
            side = cell - 0.14
            place = (column * cell / width, 1 - (below + side) / height, side / width, side / height)
            axes = figure.add_axes(place)
            axes.axis("off")
            axes.imshow(image, interpolation=_choose_interpolation(len(image)))
            axes.text(0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", fontsize=7)
        top += row_height
    return figure


def _choose_interpolation(size: int) -> str:
    """Small images show their pixels; large ones, which are drawn smaller than they are, are averaged."""
    return "nearest" if size <= 64 else "antialiased"
