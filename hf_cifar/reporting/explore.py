"""Owns the pictures of a dataset: what is in it, what augmentation does to it, how its splits are balanced."""

import datasets
import numpy as np
import torch
from matplotlib.figure import Figure

from ..data.table import read_column, read_images
from ..data.transforms import ImageTransform
from .figures import draw_class_balance, draw_image_grid


def draw_classes(table: datasets.Dataset, per_class: int = 10) -> Figure:
    """The first images of each class."""
    labels = read_column(table, "label")
    names = table.features["label"].names
    rows = {name: np.flatnonzero(labels == number)[:per_class] for number, name in enumerate(names)}
    return draw_image_grid(
        {name: read_images(table.select(chosen)) for name, chosen in rows.items()},
        f"The first {per_class} training images of each class",
    )


def draw_augmentations(table: datasets.Dataset, transform: ImageTransform, epochs: int = 10) -> Figure:
    """One image of each class as it is, then as training sees it in each epoch."""
    labels, indices = read_column(table, "label"), read_column(table, "index")
    names = table.features["label"].names
    chosen = [int(np.flatnonzero(labels == number)[0]) for number in range(len(names))]
    images = read_images(table.select(chosen))
    originals = torch.from_numpy(images.copy()).permute(0, 3, 1, 2)
    columns = [images]
    for transform.epoch in range(epochs):
        augmented = transform.augment(originals, torch.from_numpy(indices[chosen]))
        columns.append(augmented.permute(0, 2, 3, 1).numpy())
    stacked = np.stack(columns, axis=1)  # (classes, 1 + epochs, H, W, C)
    title = f"Left: as it is; then epoch 0 to {epochs - 1} (flip: {transform.flip}, translate: {transform.translate})"
    return draw_image_grid(dict(zip(names, stacked, strict=True)), title)


def draw_balance(tables: dict[str, datasets.Dataset | None]) -> Figure:
    """Images per class in each split that there is."""
    tables = {split: table for split, table in tables.items() if table is not None}
    names = next(iter(tables.values())).features["label"].names
    counts = {
        split: np.bincount(read_column(table, "label"), minlength=len(names)).tolist()
        for split, table in tables.items()
    }
    return draw_class_balance(counts, names)
