"""Owns the search for images that two splits, or one, hold twice: exactly, or but for mirroring, light and detail."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import datasets
import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d, normalize

from .store import get_image_size, iterate_images

_SIZE = 8  # pixels a side that images are compared at: finer detail only adds noise (and time)
_FLOOR = 0.01  # share of the mean variance that whitening adds, lest it blow up directions that images hardly vary in
_CHUNK_BYTES = 50_000_000


@dataclass(frozen=True)
class Pair:
    """Two images that look alike.

    Attributes:
        query, reference: rows in what was searched.
        similarity: 1 is the same picture up to brightness and contrast; unrelated ones are near 0.
        is_mirrored: whether it is the query's mirror image that looks like the reference.
    """

    query: int
    reference: int
    similarity: float
    is_mirrored: bool


def find_near_duplicates(
    queries: np.ndarray | datasets.Dataset,
    references: np.ndarray | datasets.Dataset | None = None,
    top: int | None = None,
) -> list[Pair]:
    """The nearest reference of each query, or of its mirror image, by the cosine of whitened 8-pixel thumbnails.

    Thumbnails are standardised one by one, so that brightness and contrast do not count, and whitened by the
    references' covariance: else smooth images, such as planes before a sky, would all look alike, since natural
    images vary far more in coarse than in fine structure (Field 1987).

    Args:
        queries: a table of images, or uint8 (M, S, S, 3).
        references: a table of images, or uint8 (N, S, S, 3); None compares each query with those that follow it.
        top: how many pairs to return; None for all.

    Returns:
        Pairs by falling similarity, at most one for each query.
    """
    wanted = _make_thumbnails(queries)
    known = wanted if references is None else _make_thumbnails(references)
    mean, whitening = _fit_whitening(known)
    whitened = _whiten(known, mean, whitening)
    similarity, nearest = _search(_whiten(wanted, mean, whitening), whitened, within=references is None)
    mirrored = wanted.view(-1, 3, _SIZE, _SIZE).flip(-1).flatten(1)
    mirrored_similarity, mirrored_nearest = _search(_whiten(mirrored, mean, whitening), whitened, references is None)
    is_mirrored = mirrored_similarity > similarity
    similarity = torch.where(is_mirrored, mirrored_similarity, similarity)
    nearest = torch.where(is_mirrored, mirrored_nearest, nearest)
    # The last of the queries is followed by none.
    order = [row for row in similarity.argsort(descending=True, stable=True).tolist() if similarity[row] > -torch.inf]
    return [Pair(row, int(nearest[row]), float(similarity[row]), bool(is_mirrored[row])) for row in order[:top]]


def count_exact_duplicates(queries: np.ndarray | datasets.Dataset, references: np.ndarray | datasets.Dataset) -> int:
    """How many of the queries are among the references byte for byte; arguments as for `find_near_duplicates`."""
    known = set(_hash_each(references))
    return sum(digest in known for digest in _hash_each(queries))


def _hash_each(images: np.ndarray | datasets.Dataset) -> Iterator[bytes]:
    return (hashlib.sha256(np.ascontiguousarray(image)).digest() for batch in _iterate(images) for image in batch)


def _iterate(images: np.ndarray | datasets.Dataset) -> Iterator[np.ndarray]:
    """Batches uint8 (n, S, S, 3) that are small as float32."""
    is_array = isinstance(images, np.ndarray)
    size = images.shape[1] if is_array else get_image_size(images)
    count = max(1, _CHUNK_BYTES // (4 * 3 * size**2))
    if is_array:
        return (images[start : start + count] for start in range(0, len(images), count))
    return iterate_images(images, count)


def _make_thumbnails(images: np.ndarray | datasets.Dataset) -> torch.Tensor:
    """Standardised thumbnails, float32 (N, 3 * 8 * 8), each of length 1 (or 0, for an image of one grey)."""
    small = [
        adaptive_avg_pool2d(torch.from_numpy(batch.copy()).permute(0, 3, 1, 2).float(), _SIZE).flatten(1)
        for batch in _iterate(images)
    ]
    thumbnails = torch.cat(small)
    return normalize(thumbnails - thumbnails.mean(1, keepdim=True))


def _fit_whitening(thumbnails: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (D,) and matrix (D, D) that take thumbnails to a covariance near the identity."""
    mean = thumbnails.mean(0)
    centered = thumbnails - mean
    variances, directions = torch.linalg.eigh(centered.T @ centered / len(thumbnails))
    variances = variances.clamp(min=0) + _FLOOR * variances.mean().clamp(min=1e-6)
    return mean, directions / variances.sqrt()


def _whiten(thumbnails: torch.Tensor, mean: torch.Tensor, whitening: torch.Tensor) -> torch.Tensor:
    return normalize((thumbnails - mean) @ whitening)


def _search(queries: torch.Tensor, references: torch.Tensor, within: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Similarity (M,) and row (M,) of the nearest of the references (N, D), or if `within` of those that follow."""
    similarities, rows = [], []
    count = max(1, _CHUNK_BYTES // (4 * len(references)))
    for start in range(0, len(queries), count):
        products = queries[start : start + count] @ references.T  # (m, N)
        if within:
            products.masked_fill_(~torch.ones_like(products, dtype=torch.bool).triu(start + 1), -torch.inf)
        values, places = products.max(1)
        similarities.append(values)
        rows.append(places)
    return torch.cat(similarities), torch.cat(rows)
