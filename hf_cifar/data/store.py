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
    """Write images uint8 (n, S, S, 3), labels and indices (n,) as one Arrow file that `datasets` maps into memory.

    All rows are one record batch, so that their pixels can be read in place, as one array. They are collected in a
    file, not in memory, which may be too small.
    """
    labels, indices, width, raw = [], [], 0, path.with_suffix(".pixels")
    with open(raw, "wb") as file:
        for images, *numbers in chunks:
            width = images[0].size
            file.write(np.ascontiguousarray(images).data)
            labels.append(numbers[0])
            indices.append(numbers[1])
    if not labels:
        return  # there was no image to decode, which the caller reports
    features = datasets.Features(
        {
            "row": datasets.Value("int64"),
            "index": datasets.Value("int64"),
            "pixels": datasets.Value(f"fixed_size_binary[{width}]"),
            "label": datasets.ClassLabel(names=class_names),
        }
    )
    with pa.memory_map(str(raw)) as file, pa.OSFile(str(path), "wb") as sink:
        count = file.size() // width
        pixels = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), count, [None, file.read_buffer()])
        rows, *numbers = (np.arange(count), np.concatenate(indices), np.concatenate(labels))
        rows, indices, labels = (pa.array(each.astype(np.int64)) for each in (rows, *numbers))
        with pa.ipc.new_stream(sink, features.arrow_schema) as writer:
            writer.write_batch(pa.record_batch([rows, indices, pixels, labels], schema=features.arrow_schema))
    raw.unlink()


def read_images(table: datasets.Dataset) -> np.ndarray:
    """All images of a table: uint8 (N, S, S, 3); in place, unless the table is a selection."""
    chunks = table.select_columns("pixels").with_format("arrow")[:]["pixels"].chunks
    column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)  # one chunk is read in place
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


def map_images(table: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of the whole table that a selection was taken from, in place, and where the selection's are in it.

    Returns:
        uint8 (M, S, S, 3), memory-mapped, and int64 (N,).
    """
    first = table.data.column("row")[0].as_py()  # a contiguous selection cuts the table itself
    return read_images(datasets.Dataset(table.data, info=table.info)), read_column(table, "row") - first


def iterate_images(table: datasets.Dataset, size: int = 1000) -> Iterator[np.ndarray]:
    """The images in batches uint8 (n, S, S, 3), without having all of them in memory."""
    images, rows = map_images(table)
    for start in range(0, len(rows), size):
        yield images[rows[start : start + size]]


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
