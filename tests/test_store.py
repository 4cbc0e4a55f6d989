"""The Arrow table: chunks in, memory-mapped rows out; hashes do not depend on how it was written."""

import datasets
import numpy as np
import pytest

from hf_cifar.data.integrity import hash_array
from hf_cifar.data.store import (
    get_image_size,
    hash_tables,
    iterate_images,
    map_images,
    read_column,
    read_images,
    write_table,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (25, 12, 12, 3), dtype=np.uint8)
LABELS, INDICES = np.arange(25) % 3, np.arange(25) * 2


def write(path, chunk: int) -> datasets.Dataset:
    parts = range(0, 25, chunk)
    chunks = ((IMAGES[i : i + chunk], LABELS[i : i + chunk], INDICES[i : i + chunk]) for i in parts)
    write_table(path, chunks, ["a", "b", "c"])
    return datasets.Dataset.from_file(str(path))


@pytest.mark.parametrize("chunk", [4, 25])
def test_what_is_written_is_read(tmp_path, chunk):
    table = write(tmp_path / "t.arrow", chunk)
    assert get_image_size(table) == 12 and table.features["label"].names == ["a", "b", "c"]
    assert np.array_equal(read_images(table), IMAGES)
    assert np.array_equal(read_images(table.select([7, 3, 24])), IMAGES[[7, 3, 24]])
    assert read_column(table, "index").tolist() == INDICES.tolist()
    assert np.array_equal(np.concatenate(list(iterate_images(table, 7))), IMAGES)
    for part in (table.select(range(4, 20)), table.select(range(4, 20)).select([9, 2]), table.select([9, 2, 17])):
        images, rows = map_images(part)
        assert np.array_equal(images[rows], IMAGES[read_column(part, "row")])
    hashes = hash_tables(table, table)["test"]
    assert hashes == {"images": hash_array(IMAGES), "labels": hash_array(LABELS.astype(np.uint8))}
