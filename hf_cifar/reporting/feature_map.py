"""Owns the features that maps of images are drawn from, and where in a plane t-SNE puts them."""

import datasets
import numpy as np
from sklearn.decomposition import PCA
from transformers import PreTrainedModel

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
    mapped = table.select(rows)
    features = compute_features(model, processor, mapped, IMAGE_SIZE, cache_dir)
    return features, read_column(mapped, "label")


def compute_features(
    model: PreTrainedModel, processor, table: datasets.Dataset, image_size: int | None = None, cache_dir=None
) -> np.ndarray:
    """What enters a model's classifier, for each image of a table: float32 (N, D), from the cache where it is there.

    Args:
        model: with a classifier that `find_classifier` finds.
        processor: its image processor.
        table: of images.
        image_size: in pixels; None for the processor's own.
        cache_dir: see `get_cache_dir`.
    """
    preprocessing = read_preprocessing(processor, image_size)
    place = get_cache_dir(cache_dir), choose_device(), choose_precision()
    return get_features(model, table, preprocessing, *place).float().flatten(1).numpy()


def project_features(features: np.ndarray) -> np.ndarray | None:
    """Points in a plane (N, 2) by t-SNE of the first 50 principal components; None where features do not vary.

    Neighbours stay neighbours, but distances between groups, and axes, mean nothing.
    Source: van der Maaten & Hinton 2008, Visualizing Data using t-SNE, JMLR 9.

    Args:
        features: float (N, D), N at least 4.
    """
    from sklearn.manifold import TSNE

    centered = features - features.mean(0)
    if len(features) < 4 or not np.isfinite(centered).all() or np.abs(centered).max() < 1e-9:
        return None
    components = min(50, *features.shape)
    reduced = PCA(components, random_state=0).fit_transform(centered / np.abs(centered).max())
    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="random" if components < 2 else "pca", random_state=0).fit_transform(
        reduced
    )
