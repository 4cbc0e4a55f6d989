"""Owns test-time augmentation: the views of an image whose logits are averaged."""

from collections.abc import Iterator
from typing import get_args

import numpy as np

from ..arguments import TestTimeAugmentation


def make_views(images: np.ndarray, tta: str) -> Iterator[tuple[float, np.ndarray]]:
    """Views of a batch and their weights, which sum to 1; the first is the batch itself.

    Source: Jordan 2024, section 3.5 (multi-crop evaluation).

    Args:
        images: uint8 (B, H, W, C), as stored.
        tta: "none"; "mirror": the image and its mirror image; "mirror_translate": both, and with the same weight in
            all both moved by one pixel up-left and down-right, with reflected borders.

    Raises:
        ValueError: An unknown `tta`.
    """
    if tta not in get_args(TestTimeAugmentation):
        raise ValueError(f"tta={tta!r}; allowed: {', '.join(get_args(TestTimeAugmentation))}")
    height, width = images.shape[1:3]
    shifted = []
    if tta == "mirror_translate":
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        shifted = [padded[:, :height, :width], padded[:, 2:, 2:]]
    for view in [images, *shifted]:
        weight = 1.0 if not shifted else 0.5 if view is images else 0.25
        if tta == "none":
            yield weight, view
            continue
        yield weight / 2, view
        yield weight / 2, view[:, :, ::-1]
