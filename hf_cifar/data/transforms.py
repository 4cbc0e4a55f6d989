"""Owns the one callable that turns rows of the table into model input: whole batch in, whole batch out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from .augmentation import flip_images, translate_images
from .constants import IMAGE_SIZE, MEAN, STD
from .keyed import FLIP, SHIFT_X, SHIFT_Y, draw_integers, draw_uniform


@dataclass(frozen=True)
class Preprocessing:
    """What a model expects of its input; also what its saved image processor does.

    Attributes:
        image_size: height and width in pixels after resizing (directly, without a crop).
        mean, std: per channel, for pixels in [0, 1].
        interpolation: a torchvision `InterpolationMode` value; always antialiased.
    """

    image_size: int = IMAGE_SIZE
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    interpolation: str = "bicubic"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Resize and normalise uint8 (B, C, H, W) to float32 (B, C, S, S), channels last in memory."""
        size = [self.image_size, self.image_size]
        if list(images.shape[-2:]) != size:
            images = tvf.resize(images, size, InterpolationMode(self.interpolation), antialias=True)
        mean, std = (
            255 * torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (self.mean, self.std)
        )
        return images.float().sub_(mean).div_(std)


class ImageTransform:
    """For `datasets.Dataset.with_transform`: table rows to `pixel_values` and `labels`, augmented by key.

    The draws for an image depend on (seed, epoch, index) alone. `epoch` is set by `KeyedDataset`, to which the
    sampler sends it inside every index.

    Args:
        preprocessing: resizing and normalisation.
        flip: "none", "random" (each image, each epoch, by a coin), or "alternating" (a coin per image for the first
            epoch, mirrored on every other; Jordan 2024, section 3.6).
        translate: largest shift in pixels along each axis.
        seed: of the augmentation.
    """

    def __init__(self, preprocessing: Preprocessing, flip: str = "none", translate: int = 0, seed: int = 0) -> None:
        self.preprocessing, self.flip, self.translate, self.seed = preprocessing, flip, translate, seed
        self.epoch = 0

    def __call__(self, batch: dict[str, list]) -> dict[str, torch.Tensor]:
        """Rows `pixels`, `index`, `label` to float32 (B, C, S, S) and int64 (B,)."""
        images = self.augment(pixels_to_images(batch["pixels"]), torch.as_tensor(batch["index"]))
        return {"pixel_values": self.preprocessing(images), "labels": torch.as_tensor(batch["label"])}

    def augment(self, images: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Augment uint8 (B, C, H, W) images that have canonical indices int64 (B,)."""
        if self.flip != "none":
            epoch = self.epoch if self.flip == "random" else 0
            flip = draw_uniform(indices, self.seed, epoch, FLIP) < 0.5
            if self.flip == "alternating" and self.epoch % 2:
                flip = ~flip
            images = flip_images(images, flip)
        if self.translate:
            shifts = (
                draw_integers(indices, -self.translate, self.translate, self.seed, self.epoch, axis)
                for axis in (SHIFT_Y, SHIFT_X)
            )
            images = translate_images(images, *shifts, limit=self.translate)
        return images


def pixels_to_images(pixels: list[bytes]) -> torch.Tensor:
    """Rows of the pixel column to uint8 (B, C, H, W), channels last in memory."""
    flat = torch.from_numpy(np.frombuffer(bytearray(b"".join(pixels)), dtype=np.uint8))  # torch wants it writable
    return flat.view(len(pixels), IMAGE_SIZE, IMAGE_SIZE, 3).permute(0, 3, 1, 2)


def collate_whole_batch(batch: dict[str, Any]) -> dict[str, Any]:
    """The collator for datasets whose `__getitems__` already returns the batch."""
    return batch
