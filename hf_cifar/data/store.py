"""Owns the Arrow table of images: pixels as one fixed-size binary column, written in chunks, read memory-mapped."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from .integrity import hash_array


def write_table(
    path: Path, chunks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], class_names: list[str]
) -> None:
    """Write images uint8 (n, S, S, 3), labels and indices (n,) as one Arrow file that `datasets` maps into memory."""
    writer = None
    with pa.OSFile(str(path), "wb") as sink:
        try:
            for images, labels, indices in chunks:
                width = images[0].size
                features = datasets.Features(
                    {
                        "index": datasets.Value("int64"),
                        "pixels": datasets.Value(f"fixed_size_binary[{width}]"),
                        "label": datasets.ClassLabel(names=class_names),
                    }
                )
                writer = writer or pa.ipc.new_stream(sink, features.arrow_schema)
                buffer = pa.py_buffer(np.ascontiguousarray(images))
                pixels = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(images), [None, buffer])
                columns = [pa.array(indices.astype(np.int64)), pixels, pa.array(labels.astype(np.int64))]
                writer.write_batch(pa.record_batch(columns, schema=features.arrow_schema))
        finally:
            if writer is not None:
                writer.close()


def read_images(table: datasets.Dataset) -> np.ndarray:
    """All images of a table: uint8 (N, S, S, 3)."""
    column = table.select_columns("pixels").with_format("arrow")[:]["pixels"].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    pixels = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    size = get_image_size(table)
    start, stop = (row * 3 * size**2 for row in (column.offset, column.offset + len(column)))
    return pixels[start:stop].reshape(-1, size, size, 3)  # a slice shares its parent's buffer


def get_image_size(table: datasets.Dataset) -> int:
    """Height and width of a table's images in pixels."""
    return math.isqrt(table.data.schema.field("pixels").type.byte_width // 3)


def read_column(table: datasets.Dataset, name: str) -> np.ndarray:
    """A column of integers, without touching the pixels: int64 (N,)."""
    return table.select_columns(name).with_format("arrow")[:][name].to_numpy().astype(np.int64)


def iterate_images(table: datasets.Dataset, size: int = 1000) -> Iterator[np.ndarray]:
    """The images in batches uint8 (n, S, S, 3), without having all of them in memory."""
    for start in range(0, len(table), size):
        yield read_images(table.select(range(start, min(start + size, len(table)))))


def hash_images(table: datasets.Dataset) -> str:
    """SHA-256 of a table's pixels, as hex."""
    digest = hashlib.sha256()
    for images in iterate_images(table):
        digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def hash_tables(train: datasets.Dataset, test: datasets.Dataset) -> dict[str, dict[str, str]]:
    """SHA-256 of images (uint8) and labels (uint8, or int64 for more than 256 classes) per split."""
    hashes = {}
    for split, table in (("train", train), ("test", test)):
        kind = np.uint8 if table.features["label"].num_classes <= 256 else np.int64
        hashes[split] = {
            "images": hash_images(table),
            "labels": hash_array(read_column(table, "label").astype(kind)),
        }
    return hashes
