"""The cached table: right pixels, fast access through `with_transform`, and repaired when damaged."""

import logging

import numpy as np
import pytest

from hf_cifar.arguments import SourceArguments
from hf_cifar.data import table as table_module
from hf_cifar.data.decoding import Findings
from hf_cifar.data.sources import SAMPLE_FOLDER, find_source
from hf_cifar.data.store import read_column, read_images
from hf_cifar.data.table import load_data
from hf_cifar.errors import UserError


def test_the_table_holds_the_decoded_pixels_and_labels(data):
    raw = find_source(SourceArguments("sample"), None).read().splits["train"]
    images = np.concatenate([chunk for _, chunk in raw.read(None, Findings())])
    assert np.array_equal(read_images(data.train), images)
    assert np.array_equal(read_column(data.train, "label"), raw.labels)
    assert np.array_equal(read_column(data.train, "index"), raw.indices)
    assert data.class_names[3] == "cat" and data.is_sample


def test_slices_and_selections_give_their_own_rows(data):
    images = read_images(data.train)
    for rows in (range(10, 20), [5, 3, 999]):
        assert np.array_equal(read_images(data.train.select(rows)), images[list(rows)])


def test_with_transform_gives_the_rows_bytes(data):
    table = data.train.with_transform(lambda batch: {"first": [pixels[:3] for pixels in batch["pixels"]]})
    assert table[[7, 2]]["first"] == [read_images(data.train)[row].tobytes()[:3] for row in (7, 2)]


def test_the_second_load_decodes_nothing(tmp_path, monkeypatch):
    first = load_data(SourceArguments("sample", cache_dir=tmp_path))
    monkeypatch.setattr(table_module, "build_table", lambda *args: pytest.fail("decoded again"))
    assert load_data(SourceArguments("sample", cache_dir=tmp_path)).hashes == first.hashes


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty facts", "other facts"])
def test_a_damaged_table_is_noticed_and_made_again(tmp_path, caplog, damage):
    expected = load_data(SourceArguments("sample", cache_dir=tmp_path)).hashes
    for _ in range(2):  # also when it happens again
        path = next(tmp_path.glob("tables/*/table.json" if "facts" in damage else "tables/*/train.arrow"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink()  # the old mapping stays whole
        path.write_bytes(
            {"flip": content, "truncate": content[: len(content) // 2], "empty facts": b"", "other facts": b"{}"}[
                damage
            ]
        )
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert load_data(SourceArguments("sample", cache_dir=tmp_path)).hashes == expected
        assert "damaged" in caplog.text


def test_auto_remembers_what_it_found(tmp_path, monkeypatch, data):
    calls = []

    def find(args, cache):
        calls.append(args.dataset)
        return find_source(SourceArguments("sample"), cache)

    monkeypatch.setattr(table_module, "find_source", find)
    for _ in range(2):
        assert load_data(SourceArguments("auto", cache_dir=tmp_path)).hashes == data.hashes
    assert calls == ["auto"]
    for number, content in enumerate(("", "[]", '{"folder": 1}'), start=2):
        (tmp_path / "tables/auto.json").write_text(content)
        assert load_data(SourceArguments("auto", cache_dir=tmp_path)).hashes == data.hashes and len(calls) == number


def test_the_samples_files_given_as_a_folder_are_not_taken_for_the_sample(tmp_path):
    load_data(SourceArguments("sample", cache_dir=tmp_path))
    with pytest.raises(UserError, match="the train split has 1000 labels"):
        load_data(SourceArguments(str(SAMPLE_FOLDER), cache_dir=tmp_path))
