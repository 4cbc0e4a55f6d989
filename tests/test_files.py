"""Files appear whole or not at all."""

import json
from pathlib import Path

import pytest

from hf_cifar.files import get_cache_dir, write_json, write_text, write_then_rename


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk full"), write_then_rename(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError("disk full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_folders_are_made_and_a_rivals_folder_is_kept(tmp_path):
    for content in ("first", "second"):
        with write_then_rename(tmp_path / "deep/folder") as temporary:
            temporary.mkdir()
            (temporary / "file").write_text(content)
    assert (tmp_path / "deep/folder/file").read_text() == "first"


def test_json_keeps_its_characters(tmp_path):
    write_json(tmp_path / "a.json", {"é": [1, 2.5]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"é": [1, 2.5]}


def test_the_cache_folder_comes_from_argument_then_environment_then_home(monkeypatch):
    monkeypatch.setenv("HF_CIFAR_CACHE", "there")
    assert get_cache_dir("here") == Path("here") and get_cache_dir() == Path("there")
    monkeypatch.delenv("HF_CIFAR_CACHE")
    assert get_cache_dir() == Path.home() / ".cache/hf_cifar"
