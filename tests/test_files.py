"""Files appear whole or not at all."""

import json
from pathlib import Path

import pytest

from hf_cifar.errors import UserError
from hf_cifar.files import check_output_folder, get_cache_dir, write_json, write_text, write_then_rename


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


def test_a_folder_is_replaced_as_a_whole_when_asked(tmp_path):
    for name in ("old", "new"):
        with write_then_rename(tmp_path / "folder", replace_folder=True) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_does_not_vanish_into_a_folder_of_its_name(tmp_path):
    (tmp_path / "name").mkdir()
    with pytest.raises(OSError):
        write_text(tmp_path / "name", "text")


def test_json_that_no_parser_reads_is_not_written(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_output_folders_are_checked_before_anything_is_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / ".results.json.a1b2c3d4").mkdir()  # what a killed write leaves
    check_output_folder(tmp_path / "new/deep")
    check_output_folder(tmp_path, ["file", "other"])
    for folder, message in (("file", "is not a folder that"), ("file/deep", "is not a folder that"), (".", "'file'")):
        with pytest.raises(UserError, match=message):
            check_output_folder(tmp_path / folder)
    assert not (tmp_path / "new").exists()
