"""Owns the one callable that turns rows of the table into model input: whole batch in, whole batch out."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from ..arguments import AugmentationArguments
from ..errors import UserError
from . import keyed
from .augmentation import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    crop_and_resize,
    erase_boxes,
    flip_images,
    translate_images,
)
from .auto_augment import auto_augment
from .boxes import draw_crops, draw_cutouts, draw_erasures
from .constants import IMAGE_SIZE, MEAN, STD
from .keyed import draw_integers, draw_uniform


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
        # Statistics are repeated to a whole image's length: broadcasting over 3 channels is 10 times slower on a CPU.
        mean, std = (
            (255 * torch.tensor(values, device=images.device)).repeat(self.image_size**2)
            for values in (self.mean, self.std)
        )
        flat = images.permute(0, 2, 3, 1).reshape(len(images), -1)
        flat = flat.float().sub_(mean).div_(std)
        return flat.view(len(images), *size, -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class ProgressiveResizing:
    """Smaller images in the early epochs, which cost less and teach almost as much (Howard 2018, fast.ai's DAWNBench).

    Attributes:
        sizes: (share, size) pairs: from this share of the epochs on, height and width in pixels. Ascending.
        epochs: of the whole training.
    """

    sizes: tuple[tuple[float, int], ...]
    epochs: float

    def get_size(self, epoch: int, full_size: int) -> int:
        """Height and width of an epoch's images in pixels; `full_size` before the first pair and in the last epoch."""
        if epoch + 1 >= self.epochs:
            return full_size
        reached = [size for share, size in self.sizes if share * self.epochs <= epoch + 1e-6]
        return reached[-1] if reached else full_size


class ImageTransform:
    """For `datasets.Dataset.with_transform`: table rows to `pixel_values` and `labels`, augmented by key.

    The draws for an image depend on (seed, epoch, index) alone. `epoch` is set by `KeyedDataset`, to which the
    sampler sends it inside every index. Mixing, which needs a second image, is the dataset's (`ImageBatches`).

    Args:
        preprocessing: resizing and normalisation.
        augmentation: what is varied; None for nothing.
        seed: of the augmentation.
        resizing: smaller images in early epochs; None for the full size throughout.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        augmentation: AugmentationArguments | None = None,
        seed: int = 0,
        resizing: ProgressiveResizing | None = None,
    ) -> None:
        self.full_preprocessing, self.seed, self.resizing = preprocessing, seed, resizing
        self.augmentation = augmentation or AugmentationArguments()
        self.epoch = 0

    @property
    def preprocessing(self) -> Preprocessing:
        """Resizing and normalisation of this epoch."""
        if self.resizing is None:
            return self.full_preprocessing
        size = self.resizing.get_size(self.epoch, self.full_preprocessing.image_size)
        return replace(self.full_preprocessing, image_size=size)

    def __call__(self, batch: dict[str, list]) -> dict[str, torch.Tensor]:
        """Rows `pixels`, `index`, `label` to float32 (B, C, S, S) and int64 (B,)."""
        images = self.augment(pixels_to_images(batch["pixels"]), torch.as_tensor(batch["index"]))
        return {"pixel_values": self.preprocessing(images), "labels": torch.as_tensor(batch["label"])}

    def augment(self, images: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Augment uint8 (B, C, H, W) images, on any device, that have canonical indices int64 (B,), on the CPU.

        All but the crop happens at the stored size, before enlarging for a pretrained backbone: the same picture for
        less work.
        """
        options, key = self.augmentation, (self.seed, self.epoch)
        images = self._move(images, indices)
        if options.random_resized_crop:
            boxes = draw_crops(indices, images.shape[-1], options.random_resized_crop, *key).to(images.device)
            interpolation = self.preprocessing.interpolation
            interpolation = interpolation if interpolation in ("bilinear", "bicubic") else "bicubic"
            images = crop_and_resize(images, boxes, self.preprocessing.image_size, interpolation)
        if options.auto_augment != "none":
            images = auto_augment(
                images, indices, options.auto_augment, options.randaugment_ops, options.randaugment_magnitude, *key
            )
        if options.color_jitter:
            for adjust, purpose in (
                (adjust_brightness, keyed.BRIGHTNESS),
                (adjust_contrast, keyed.CONTRAST),
                (adjust_saturation, keyed.SATURATION),
            ):
                factor = 1 + options.color_jitter * (2 * draw_uniform(indices, *key, purpose) - 1)
                images = adjust(images, factor.to(images.device))
        if options.cutout or options.random_erasing:
            images = self._erase(images, indices)
        return images

    def _move(self, images: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Flip and translate, in one pass where both are on."""
        options, key, device, flip = self.augmentation, (self.seed, self.epoch), images.device, None
        if options.flip != "none":
            is_alternating = options.flip == "alternating"
            flip = draw_uniform(indices, self.seed, 0 if is_alternating else self.epoch, keyed.FLIP) < 0.5
            if is_alternating and self.epoch % 2:  # Jordan 2024, section 3.6
                flip = ~flip
            flip = flip.to(device)
        if limit := to_pixels(options.translate, images.shape[-1]):
            shifts = (draw_integers(indices, -limit, limit, *key, axis) for axis in (keyed.SHIFT_Y, keyed.SHIFT_X))
            return translate_images(images, *(shift.to(device) for shift in shifts), options.padding_mode, flip)
        return images if flip is None else flip_images(images, flip)

    def _erase(self, images: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Cutout and random erasing, with the mean colour, which normalisation makes 0."""
        options, key, size, device = self.augmentation, (self.seed, self.epoch), images.shape[-1], images.device
        color = torch.tensor(self.preprocessing.mean, device=device).mul(255).round().to(torch.uint8)
        if side := to_pixels(options.cutout, size):
            images = erase_boxes(images, draw_cutouts(indices, size, side, *key).to(device), color)
        if options.random_erasing:
            images = erase_boxes(images, draw_erasures(indices, size, options.random_erasing, *key).to(device), color)
        return images


def check_augmentation(options: AugmentationArguments, size: int, head_only: bool = False) -> None:
    """Refuse what does not fit images of `size` pixels, or would be ignored.

    Raises:
        UserError: With the remedy.
    """
    if to_pixels(options.translate, size) >= size:
        raise UserError(f"translate={options.translate:g} pixels is out of range; allowed: 0 to {size - 1}")
    if to_pixels(options.cutout, size) > size:
        raise UserError(f"cutout={options.cutout:g} pixels is out of range; allowed: 0 to {size}")
    if head_only and options.is_augmenting:
        raise UserError(
            "finetune=head computes the features of each image once, so augmentation would be ignored; leave it out, "
            "or use finetune: full"
        )


def to_pixels(length: float, size: int) -> int:
    """A length in pixels: a share of `size` if below 1."""
    return round(length * size) if length < 1 else int(length)


def pixels_to_images(pixels: list[bytes]) -> torch.Tensor:
    """Rows of the pixel column, each of a square RGB image, to uint8 (B, C, H, W), channels last in memory."""
    flat = torch.from_numpy(np.frombuffer(bytearray(b"".join(pixels)), dtype=np.uint8))  # torch wants it writable
    size = math.isqrt(len(pixels[0]) // 3)
    return flat.view(len(pixels), size, size, 3).permute(0, 3, 1, 2)


def collate_whole_batch(batch: dict[str, Any]) -> dict[str, Any]:
    """The collator for datasets whose `__getitems__` already returns the batch."""
    return batch
