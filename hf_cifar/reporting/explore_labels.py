"""Owns the pictures of doubtful test images: those that training has seen, and those whose label people dispute."""

from collections.abc import Sequence

import datasets
import numpy as np
from matplotlib.figure import Figure

from ..data.duplicates import Pair
from ..data.reference import Dispute
from ..data.store import read_column, read_images
from .image_grids import draw_captioned, shorten


def draw_duplicates(test: datasets.Dataset, train: datasets.Dataset, pairs: Sequence[Pair]) -> Figure:
    """Test images, each beside its nearest training image; red where their labels differ.

    Args:
        test, train: the tables that were searched.
        pairs: rows of them.
    """
    names = test.features["label"].names
    first, second = test.select([pair.query for pair in pairs]), train.select([pair.reference for pair in pairs])
    labels = [[names[label] for label in read_column(table, "label")] for table in (first, second)]
    images, others = read_images(first), read_images(second)
    gap = np.full((images.shape[1], max(1, images.shape[1] // 12), 3), 255, dtype=np.uint8)
    pictures = [np.concatenate([image, gap, other], axis=1) for image, other in zip(images, others, strict=True)]
    captions, is_marked = [], []
    for pair, label, other in zip(pairs, *labels, strict=True):
        mirrored = ", mirrored" if pair.is_mirrored else ""
        captions.append(f"{shorten(label, 14)} | {shorten(other, 14)}\n{pair.similarity:.2f}{mirrored}")
        is_marked.append(label != other)
    title = "Test images (left) and the most similar training images (right)"
    return draw_captioned(pictures, captions, title, is_marked, columns=4)


def measure_entropy(shares: np.ndarray) -> np.ndarray:
    """Entropy in bits of each row of shares (N, K): float64 (N,)."""
    return -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(1)


def find_outvoted(shares: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether people choose another class more often than the label (N,): bool (N,), from shares (N, K)."""
    return shares.max(1) > shares[np.arange(len(labels)), labels]


def draw_disagreement(test: datasets.Dataset, shares: np.ndarray, count: int = 24) -> Figure:
    """The test images that people disagree on most; red where they choose another class more often than the label.

    Args:
        test: whose `index` says which rows of `shares` are its own.
        shares: float (10000, 10), see `reference.read_human_labels`.
        count: images to show.
    """
    names, own = test.features["label"].names, shares[read_column(test, "index")]
    rows = np.argsort(-measure_entropy(own), kind="stable")[:count]
    chosen = test.select(rows)
    labels = read_column(chosen, "label")
    captions = []
    for label, values in zip(labels, own[rows], strict=True):
        first, second = np.argsort(-values, kind="stable")[:2]
        people = (f"{names[place]} {values[place]:.0%}" for place in (first, second))
        captions.append("\n".join([f"label {names[label]}", *people]))
    is_marked = find_outvoted(own[rows], labels).tolist()
    title = "Test images that people disagree on most: the label, and what most people say"
    return draw_captioned(read_images(chosen), captions, title, is_marked, columns=8)


def find_disputes(test: datasets.Dataset, disputes: Sequence[Dispute]) -> list[tuple[int, Dispute]]:
    """Rows of a table with their disputes, those first whose label the fewest people uphold and most would replace."""
    places = {index: row for row, index in enumerate(read_column(test, "index").tolist())}
    found = [(places[dispute.index], dispute) for dispute in disputes if dispute.index in places]
    return sorted(found, key=lambda each: (each[1].votes["given"], -each[1].votes["guessed"], each[0]))


def draw_disputes(test: datasets.Dataset, disputes: Sequence[Dispute], count: int = 24) -> Figure | None:
    """The test images whose label people reject most often; red where more choose the other one. None for none."""
    names, found = test.features["label"].names, find_disputes(test, disputes)[:count]
    if not found:
        return None
    chosen = test.select([row for row, _ in found])
    captions = [
        f"label {names[label]}: {dispute.votes['given']}\n{names[dispute.guessed]}: {dispute.votes['guessed']}\n"
        f"both: {dispute.votes['both']}, neither: {dispute.votes['neither']}"
        for label, (_, dispute) in zip(read_column(chosen, "label"), found, strict=True)
    ]
    is_marked = [dispute.votes["guessed"] > dispute.votes["given"] for _, dispute in found]
    title = "Test images whose label people dispute, with the votes"
    return draw_captioned(read_images(chosen), captions, title, is_marked, columns=8)
