"""Owns how the stock Trainer gets whole batches, and how the epoch reaches the transform: inside every index."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import datasets
import torch
from torch.utils.data import Dataset, Sampler

from .keyed import PARTNER, SHUFFLE, draw_integers, draw_permutation
from .mixing import mix_batch
from .store import map_images, read_column, read_images
from .transforms import ImageTransform


class KeyedDataset(Dataset, ABC):
    """A map-style dataset indexed by keys `epoch * len(self) + row`, which returns whole batches.

    Workers, persistent workers and DDP processes all see the epoch, because it travels with the index.
    A plain row number is the key of epoch 0.

    Attributes:
        chosen: rows that each epoch's sampler yields, bool (E, size), the same number in each; None for all.
    """

    chosen: torch.Tensor | None = None

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, keys: list[int]) -> dict[str, torch.Tensor]:
        # A batch is of one epoch: the sampler yields an epoch's keys, and accelerate pads from the same epoch.
        return self.fetch(torch.tensor(keys) % self.size, epoch=keys[0] // self.size)

    def __getitem__(self, key: int) -> dict[str, torch.Tensor]:
        return {name: values[0] for name, values in self.__getitems__([key]).items()}

    @abstractmethod
    def fetch(self, rows: torch.Tensor, epoch: int) -> dict[str, torch.Tensor]:
        """The batch of these rows, int64 (B,), in that epoch."""


class ImageBatches(KeyedDataset):
    """Rows of the image table through an `ImageTransform`, mixed in pairs where its augmentation says so.

    The batches are those of `table.with_transform(transform)`, but the pixels are gathered from the memory map
    itself: `datasets` would make Python objects of them, which takes longer than all of the transform.

    Args:
        table: of images.
        transform: what turns rows into model input.
        device: keep all images there, as bytes, and transform them there; None leaves them in the memory-mapped
            table. The results are the same, up to rounding on a GPU.
    """

    def __init__(
        self, table: datasets.Dataset, transform: ImageTransform, device: torch.device | str | None = None
    ) -> None:
        super().__init__(len(table))
        self.table, self.transform, self.device = table, transform, device
        self.indices, self.labels = (torch.from_numpy(read_column(table, name)) for name in ("index", "label"))
        self.num_classes = table.features["label"].num_classes
        self.open()

    def open(self) -> None:
        """Map the file, or fill the device."""
        if self.device is None:
            self.images, self.rows = map_images(self.table)
        else:
            self.images = torch.from_numpy(read_images(self.table).copy()).to(self.device)  # (N, H, W, C)

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is spawned, not forked, maps the file again instead of receiving all pixels."""
        return {name: value for name, value in self.__dict__.items() if name not in ("images", "rows")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.open()

    def fetch(self, rows: torch.Tensor, epoch: int) -> dict[str, torch.Tensor]:
        """`pixel_values` float32 (B, C, S, S) and `labels`: int64 (B,), or where images are mixed float32 (B, K)."""
        self.transform.epoch = epoch
        options, key = self.transform.augmentation, (self.transform.seed, epoch)
        if not options.mixup and not options.cutmix:
            return self.read(rows)
        indices = self.indices[rows]
        partners = draw_integers(indices, 0, self.size - 1, *key, PARTNER)
        batch = self.read(torch.cat([rows, partners]))
        images, labels = (batch[name].split(len(rows)) for name in ("pixel_values", "labels"))
        images, labels = mix_batch(*images, *labels, self.num_classes, indices, options.mixup, options.cutmix, *key)
        return {"pixel_values": images, "labels": labels}

    def read(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """The transformed rows, int64 (B,), before mixing."""
        if self.device is None:
            images = torch.from_numpy(self.images[self.rows[rows.numpy()]])
        else:
            images = self.images[rows.to(self.images.device)]
        augmented = self.transform.augment(images.permute(0, 3, 1, 2), self.indices[rows])
        return {"pixel_values": self.transform.preprocessing(augmented), "labels": self.labels[rows]}


class TensorBatches(KeyedDataset):
    """Rows of tensors that share their first dimension, such as cached features; the same in every epoch."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        super().__init__(len(next(iter(tensors.values()))))
        self.tensors = tensors

    def fetch(self, rows: torch.Tensor, epoch: int) -> dict[str, Any]:
        """The named tensors' rows: (B, ...)."""
        return {name: values[rows] for name, values in self.tensors.items()}


class KeyedSampler(Sampler[int]):
    """Yields an epoch's keys in an order that depends on (seed, epoch) alone, and draws nothing from global state.

    Trainer and accelerate call `set_epoch` at the start of every epoch, also after a resume and under DDP.
    Where rows are `chosen` (see `KeyedDataset`), the others are left out of the order.
    """

    def __init__(self, size: int, seed: int, chosen: torch.Tensor | None = None) -> None:
        self.size, self.seed, self.chosen, self.epoch = size, seed, chosen, 0

    def __len__(self) -> int:
        return self.size if self.chosen is None else int(self.chosen[0].sum())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration belongs to."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = draw_permutation(self.size, self.seed, self.epoch, SHUFFLE)
        if self.chosen is not None:
            order = order[self.chosen[self.epoch][order]]
        return iter((order + self.epoch * self.size).tolist())
