"""CIFAR's python archives: read without executing anything, checked, and every attack is one line."""

import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

from hf_cifar.arguments import SourceArguments
from hf_cifar.data import archive
from hf_cifar.data.archive import ArchivedFile, read_archive, read_cifar
from hf_cifar.data.decoding import Findings
from hf_cifar.data.table import load_data
from hf_cifar.errors import UserError

NAMES = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]
GENERATOR = np.random.default_rng(0)


def pickle_as_python_2(data: np.ndarray, labels: list[int], key: bytes = b"labels") -> bytes:
    """A batch as the official archive has it: protocol 2 with Python 2's byte strings and numpy's old names."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01M" + struct.pack("<H", len(data)) + b"M\x00\x0c\x86"
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    )
    return b"\x80\x02}(" + text(b"data") + array + text(key) + b"](" + numbers + b"eu."


def make_files(count: int = 4) -> dict[str, bytes]:
    files = {}
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        data = GENERATOR.integers(0, 256, (count, 3072), dtype=np.uint8)
        files[name] = pickle_as_python_2(data, list(range(count)))
    return files | {"batches.meta": pickle.dumps({b"label_names": NAMES}, protocol=2)}


def write_archive(path, files: dict[str, bytes], folder: str = "cifar-10-batches-py/"):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(folder + name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_python_2s_and_python_3s_pickles_are_read(protocol):
    data = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    old = ArchivedFile("old", pickle_as_python_2(data, [3, 8])).unpickle()
    assert np.array_equal(old["data"], data) and old["labels"] == [3, 8]
    new = ArchivedFile("new", pickle.dumps({"data": data, "labels": [3, 8]}, protocol=protocol)).unpickle()
    assert np.array_equal(new["data"], data)


def test_an_archive_gives_images_in_height_width_channel_order(tmp_path):
    raw = read_cifar(write_archive(tmp_path / "a.tar.gz", make_files()))
    assert raw.name == "cifar10" and raw.class_names[3] == "cat"
    chunks = list(raw.splits["train"].read(None, Findings()))
    assert len(chunks) == 5 and chunks[4][0] == [16, 17, 18, 19] and chunks[0][1].shape == (4, 32, 32, 3)
    data = read_archive(tmp_path / "a.tar.gz")["data_batch_1"].unpickle()["data"]
    assert chunks[0][1][2, 5, 6, 1] == data[2, 1024 + 5 * 32 + 6]


def test_cifar10s_content_is_checked(tmp_path):
    path = write_archive(tmp_path / "a.tar.gz", make_files())
    with pytest.raises(UserError, match="the train split has 20 labels.*CIFAR-10's has 50000"):
        load_data(SourceArguments(str(path), cache_dir=tmp_path / "cache"))


def test_cifar100_has_its_fine_classes_and_its_files_are_checked(tmp_path, monkeypatch):
    data = GENERATOR.integers(0, 256, (200, 3072), dtype=np.uint8)
    labels = [number % 100 for number in range(200)]
    files = {name: pickle_as_python_2(data, labels, b"fine_labels") for name in ("train", "test")}
    files["meta"] = pickle.dumps({b"fine_label_names": [b"class %d" % number for number in range(100)]}, protocol=2)
    path = write_archive(tmp_path / "cifar-100-python.tar.gz", files, "cifar-100-python/")
    args = SourceArguments(str(path), cache_dir=tmp_path / "cache")
    with pytest.raises(UserError, match="train is not CIFAR-100's"):
        load_data(args)
    for name in ("train_list", "test_list"):
        (file, _), *_ = getattr(archive.CIFAR100, name)
        monkeypatch.setattr(archive.CIFAR100, name, [[file, archive.hashlib.md5(files[file]).hexdigest()]])
    meta = archive.CIFAR100.meta | {"md5": archive.hashlib.md5(files["meta"]).hexdigest()}
    monkeypatch.setattr(archive.CIFAR100, "meta", meta)
    loaded = load_data(args)
    assert loaded.name == "cifar100" and len(loaded.class_names) == 100 and len(loaded.train) == 200


class Hostile:
    def __reduce__(self):
        return os.system, ("touch executed",)


def nest(content: bytes) -> bytes:
    """A pickle whose `data` is a pickle's content, without its header and end."""
    return b"\x80\x02}(U\x04data" + content[2:-1] + b"u."


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": Hostile()}, protocol=2),
        pickle.dumps(Hostile(), protocol=4),
        b'cbuiltins\neval\n(S\'open("executed", "w")\'\ntR.',
        b"cnumpy\nsave\n(S'executed'\nI1\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x1enumpy.core.multiarray._reconstruct\x94\x8c\x0b__globals__\x94\x93.",
        pickle.dumps({"data": np.array([Hostile()], dtype=object)}, protocol=2),
        pickle.dumps([1, 2]),
        b"\x80\x02",
        b"",
        b"\x80\x02}(U\x04data",
    ],
)
def test_hostile_and_damaged_pickles_are_refused_and_nothing_runs(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = write_archive(tmp_path / "a.tar.gz", make_files() | {"data_batch_2": content})
    with pytest.raises(UserError, match=r"data_batch_2: refused, not a file of CIFAR's archive") as caught:
        read_cifar(path)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz"]


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_entries_that_lead_outside_are_refused(tmp_path, name):
    path = write_archive(tmp_path / "a.tar.gz", {name: b"x"}, "")
    with pytest.raises(UserError, match="refused, an entry leads outside the archive"):
        read_cifar(path)


def test_links_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(UserError, match="refused, an entry leads outside"):
        read_cifar(tmp_path / "a.tar.gz")


def test_other_and_damaged_files_are_named(tmp_path):
    (tmp_path / "text.tar.gz").write_text("no archive")
    with pytest.raises(UserError, match="not a readable tar.gz"):
        read_cifar(tmp_path / "text.tar.gz")
    path = write_archive(tmp_path / "a.tar.gz", make_files())
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(UserError, match="not a readable tar.gz"):
        read_cifar(path)
    files = make_files()
    del files["data_batch_3"], files["test_batch"]
    with pytest.raises(UserError, match="data_batch_3, test_batch is missing"):
        read_cifar(write_archive(tmp_path / "b.tar.gz", files))


def test_labels_and_data_of_another_form_are_refused(tmp_path):
    files = make_files() | {"data_batch_1": pickle.dumps({"data": 1, "labels": ["cat"]}, protocol=2)}
    with pytest.raises(UserError, match="data_batch_1: its labels are not a list of class ids"):
        read_cifar(write_archive(tmp_path / "a.tar.gz", files))
    files["data_batch_1"] = pickle.dumps({"data": 1, "labels": [1]}, protocol=2)
    raw = read_cifar(write_archive(tmp_path / "b.tar.gz", files))
    with pytest.raises(UserError, match="data_batch_1: its data is not an array"):
        list(raw.splits["train"].read(None, Findings()))
