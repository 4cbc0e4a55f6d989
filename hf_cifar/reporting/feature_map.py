"""Owns the features of a frozen backbone that the map of a dataset is drawn from."""

import datasets
import numpy as np

from ..data.store import read_column
from ..errors import UserError
from ..files import get_cache_dir
from ..hardware import choose_device, choose_precision
from ..models.image_processors import read_preprocessing
from ..models.loading import find_classifier, load_model
from ..training.frozen import get_features

IMAGE_SIZE = 96  # pixels: at 64 the classes lie on each other, larger sizes show no more


def check_map(backbone: str, count: int) -> None:
    """Refuse what no map can be drawn from.

    Raises:
        UserError: Fewer than three images.
    """
    if backbone != "none" and count < 3:
        raise UserError(f"map_images={count} is too few; allowed: 3 or more, or --backbone none")


def compute_map(
    table: datasets.Dataset, backbone: str, count: int, cache_dir: str | None = None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Features and labels of images spread evenly over a table.

    Args:
        table: of images.
        backbone: Hub id, folder or `offline:` model; "none" for no map.
        count: images, at most.
        cache_dir: see `get_cache_dir`.

    Returns:
        float32 (N, D) and int64 (N,), or None and None.

    Raises:
        UserError: The backbone cannot be loaded, or keeps its classifier in an unknown place.
    """
    if backbone == "none":
        return None, None
    # A fresh classifier, which features do not pass: a backbone without a trained one is as good here.
    model, processor = load_model(backbone, table.features["label"].names, cache_dir=cache_dir)
    if find_classifier(model) is None:
        raise UserError(f"backbone={backbone!r} has no `classifier` module; give another, or --backbone none")
    rows = np.linspace(0, len(table) - 1, min(count, len(table))).astype(int)
    mapped, preprocessing = table.select(rows), read_preprocessing(processor, IMAGE_SIZE)
    cache, device, precision = get_cache_dir(cache_dir), choose_device(), choose_precision()
    features = get_features(model, mapped, preprocessing, cache, device, precision)
    return features.float().flatten(1).numpy(), read_column(mapped, "label")
