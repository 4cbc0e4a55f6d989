"""Owns the pictures of augmentation: what training sees of an image, epoch by epoch."""

import datasets
import numpy as np
import torch
from matplotlib.figure import Figure

from ..arguments import PRESETS, AugmentationArguments
from ..data.batches import ImageBatches
from ..data.store import read_images
from .explore import find_first_images
from .image_grids import draw_strips, limit_title, shorten

# One at a time, each as strong as it is known for; erasing, which presets do to few images, to every other one.
KNOBS: dict[str, dict] = {
    "flip: random": {"flip": "random"},
    "translate: 0.125": {"translate": 0.125},
    "the same, padding_mode: zeros": {"translate": 0.125, "padding_mode": "zeros"},
    "random_resized_crop: 0.25": {"random_resized_crop": 0.25},
    "color_jitter: 0.4": {"color_jitter": 0.4},
    "auto_augment: randaugment": {"auto_augment": "randaugment"},
    "auto_augment: trivialaugment": {"auto_augment": "trivialaugment"},
    "cutout: 0.5": {"cutout": 0.5},
    "random_erasing: 0.5": {"random_erasing": 0.5},
    "mixup: 1.0": {"mixup": 1.0},
    "cutmix: 1.0": {"cutmix": 1.0},
}


def augment_over_epochs(
    batches: ImageBatches, rows: list[int], augmentation: AugmentationArguments, epochs: int
) -> np.ndarray:
    """Images as they are, then as training gets them in each epoch, before normalisation.

    Args:
        batches: of training images, from which mixing takes its partners too; its preprocessing keeps their size.
        rows: of the images.
        augmentation: what is varied.
        epochs: how many.

    Returns:
        uint8 (len(rows), 1 + epochs, S, S, 3).
    """
    transform = batches.transform
    mean, std = (
        torch.tensor(each)[:, None, None] for each in (transform.preprocessing.mean, transform.preprocessing.std)
    )
    columns = []
    for transform.augmentation, epoch in [(AugmentationArguments(), 0), *((augmentation, i) for i in range(epochs))]:
        pixels = 255 * (batches.fetch(torch.as_tensor(rows), epoch)["pixel_values"] * std + mean)  # (B, C, S, S)
        columns.append(pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.stack(columns, axis=1)


def _head_columns(epochs: int) -> list[str]:
    return ["original", *(f"epoch {epoch}" for epoch in range(epochs))]


def find_vivid_image(table: datasets.Dataset, count: int = 100) -> int:
    """The row, among the first, of the image whose saturation varies most: every augmentation shows on it."""
    images = read_images(table.select(range(min(count, len(table)))))
    return int((images.max(3) - images.min(3)).std((1, 2)).argmax())


def draw_each_augmentation(batches: ImageBatches, epochs: int = 10) -> Figure:
    """One training image under each augmentation alone, a row each; arguments as for `augment_over_epochs`."""
    row = find_vivid_image(batches.table)
    rows = [
        (label, augment_over_epochs(batches, [row], AugmentationArguments(**knobs), epochs)[0])
        for label, knobs in KNOBS.items()
    ]
    return draw_strips(rows, "One image under each augmentation alone", _head_columns(epochs))


def draw_presets(batches: ImageBatches, images: int = 3, epochs: int = 10) -> Figure:
    """A few training images, of one class each, under each preset; arguments as for `augment_over_epochs`."""
    chosen = [int(rows[0]) for rows in find_first_images(batches.table, 1).values()][:images]
    rows = []
    for preset in PRESETS:
        strips = augment_over_epochs(batches, chosen, AugmentationArguments(preset), epochs)
        rows += [(preset if position == 0 else "", strip) for position, strip in enumerate(strips)]
    return draw_strips(rows, "The presets", _head_columns(epochs))


def draw_augmentations(batches: ImageBatches, augmentation: AugmentationArguments, epochs: int = 10) -> Figure:
    """One image of each class under the given options; arguments as for `augment_over_epochs`."""
    names = batches.table.features["label"].names
    chosen = {label: int(rows[0]) for label, rows in find_first_images(batches.table, 1).items()}
    strips = augment_over_epochs(batches, list(chosen.values()), augmentation, epochs)
    rows = [(shorten(names[label]), strip) for label, strip in zip(chosen, strips, strict=True)]
    return draw_strips(rows, limit_title("The chosen options", len(rows), len(names)), _head_columns(epochs))
