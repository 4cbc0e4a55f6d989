"""What others found out about CIFAR-10's test images is read, and refused where it is not what it should be."""

import json

import numpy as np
import pytest

from hf_cifar.data.reference import Dispute, read_reference_data
from hf_cifar.errors import UserError

DISPUTE = {"id": 20, "our_guessed_label": 5, "mturk": {"given": 3, "guessed": 0, "neither": 0, "both": 2}}


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "cifar10h-probs.npy", np.full((10_000, 10), 0.1))
    (tmp_path / "cifar10_mturk.json").write_text(json.dumps([DISPUTE]))
    (tmp_path / "duplicates_cifar10.csv").write_text("TestID,TrainID,Distance,Judgment\n6611,49007,0.07,1\n")
    return tmp_path


def test_all_parts_are_read(folder):
    data = read_reference_data(folder)
    assert data.human_labels.shape == (10_000, 10)
    assert data.disputes == [Dispute(20, 5, DISPUTE["mturk"])]
    assert data.duplicates == [(6611, 49007)]


@pytest.mark.parametrize("kept", ["cifar10h-probs.npy", "cifar10_mturk.json", "duplicates_cifar10.csv"])
def test_one_part_is_enough(folder, kept):
    for path in folder.iterdir():
        if path.name != kept:
            path.unlink()
    data = read_reference_data(folder)
    assert sum(part is not None for part in (data.human_labels, data.disputes, data.duplicates)) == 1


def test_a_folder_without_any_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has none of cifar10h-probs\.npy, .*put at least one there"):
        read_reference_data(tmp_path)
    with pytest.raises(UserError, match="is not a folder; give one with any of"):
        read_reference_data(tmp_path / "missing")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((10_000, 9), 1 / 9), r"has shape \(10000, 9\).*allowed: floats of shape \(10000, 10\)"),
        (np.zeros((10_000, 10), dtype=np.int64), "type int64"),
        (np.zeros((10_000, 10)), "rows that are not shares"),
        (np.full((10_000, 10), np.nan), "rows that are not shares"),
        (np.array([{"an": "object"}], dtype=object), "cannot be read as an array"),
    ],
)
def test_other_arrays_are_refused(folder, array, reason):
    np.save(folder / "cifar10h-probs.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=reason):
        read_reference_data(folder)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cifar10h-probs.npy", b"", "cannot be read as an array"),
        ("cifar10h-probs.npy", b"no array at all", "cannot be read as an array"),
        ("cifar10_mturk.json", b"{", "cannot be read as JSON"),
        ("cifar10_mturk.json", b"\xff\xfe\xff", "cannot be read as JSON"),
        ("cifar10_mturk.json", b"[]", "is empty"),
        ("cifar10_mturk.json", b"7", "is not a list"),
        ("cifar10_mturk.json", b'{"a": 1}', "is not a list"),
        ("cifar10_mturk.json", b'[{"id": 1}]', "is not a list with id"),
        ("cifar10_mturk.json", json.dumps([DISPUTE | {"id": 10_000}]).encode(), "10000 is not from 0 to 9999"),
        ("duplicates_cifar10.csv", b"", "is empty"),
        ("duplicates_cifar10.csv", b"a,b\n1,2\n", "lacks the columns TestID and TrainID"),
        ("duplicates_cifar10.csv", b"TestID,TrainID\n1\n", "lacks the columns"),
        ("duplicates_cifar10.csv", b"TestID,TrainID\none,2\n", "table of image numbers"),
        ("duplicates_cifar10.csv", b"TestID,TrainID\n1,50000\n", "50000 is not from 0 to 49999"),
    ],
)
def test_damaged_files_are_refused_in_one_line(folder, name, content, reason):
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=reason) as error:
        read_reference_data(folder)
    message = str(error.value)
    assert str(folder / name) in message and "take it out of the folder" in message and "\n" not in message


def test_a_folder_in_a_files_place_is_refused(folder):
    (folder / "cifar10_mturk.json").unlink()
    (folder / "cifar10_mturk.json").mkdir()
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_reference_data(folder)
