"""Owns CIFAR's official python archives: read in memory, by an unpickler that can build nothing but their arrays."""

import hashlib
import io
import pickle
import tarfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100

from ..errors import UserError
from .constants import IMAGE_SIZE
from .decoding import Findings
from .raw import Chunks, RawData, RawSplit, Source

LARGEST_MEMBER = 1 << 28  # bytes; CIFAR-100's train file has 155 MB


class _Dtype:
    """Stands in for numpy.dtype: remembers what it was called with."""

    def __init__(self, code: str | bytes, *options: object) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else code

    def __setstate__(self, state: tuple) -> None:
        pass  # byte order and the like: bytes have none


class _Array:
    """Stands in for numpy.ndarray: remembers the shape and the bytes that it is given."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, content = state
        if dtype.code not in ("u1", "|u1") or is_fortran or not isinstance(content, bytes):
            raise pickle.UnpicklingError("an array that is not of bytes")
        self.array = np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _reconstruct(*arguments: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    """Python 3 writes bytes as text to be encoded, in the pickle protocols that Python 2 reads."""
    return text.encode("latin1")


# All that a CIFAR file refers to. None of it is called as itself, so there is nothing for a hostile file to misuse.
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, strings, numbers and byte arrays; refuses every other class or function."""

    def find_class(self, module: str, name: str) -> object:
        """Called for each class or function that a pickle names."""
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no CIFAR file does")
        return _ADMITTED[module, name]


@dataclass
class ArchivedFile:
    """One pickle of an archive."""

    name: str
    content: bytes

    def unpickle(self) -> dict[str, object]:
        """Its entries by name, byte arrays as uint8 numpy arrays.

        Raises:
            UserError: It is damaged, or refers to anything but byte arrays; nothing of it is executed.
        """
        try:
            entries = ArrayUnpickler(io.BytesIO(self.content), encoding="bytes").load()
            texts = {key.decode() if isinstance(key, bytes) else str(key): value for key, value in entries.items()}
            return {key: value.array if isinstance(value, _Array) else value for key, value in texts.items()}
        # A damaged pickle can raise nearly anything; nothing but the stand-ins above can run.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{self.name}: refused, not a file of CIFAR's archive ({reason}); fetch it again"
            ) from error


def find_archive(path: Path) -> Source:
    """CIFAR-10's or CIFAR-100's archive as a source; read when it is first decoded."""
    with open(path, "rb") as file:
        key = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(f"archive {path.name}", key, partial(read_cifar, path))


def read_cifar(path: Path) -> RawData:
    """CIFAR-10 or CIFAR-100, whose content is checked: CIFAR-10's when decoded, CIFAR-100's files here.

    Raises:
        UserError: It is neither, or damaged.
    """
    files = read_archive(path)
    is_cifar100 = {"train", "test", "meta"} <= set(files)
    official = CIFAR100 if is_cifar100 else CIFAR10
    batches = {split: [name for name, _ in getattr(official, f"{split}_list")] for split in ("train", "test")}
    meta, label_key = official.meta["filename"], "fine_labels" if is_cifar100 else "labels"
    if missing := [name for name in (*batches["train"], *batches["test"], meta) if name not in files]:
        raise UserError(f"{path}: {', '.join(missing)} is missing; allowed: CIFAR's official python archive")
    if is_cifar100:
        for name, md5 in (*official.train_list, *official.test_list, (meta, official.meta["md5"])):
            if hashlib.md5(files[name].content).hexdigest() != md5:
                raise UserError(f"{path}: {name} is not CIFAR-100's (its MD5 is not {md5}); fetch it again")
    splits = {}
    for split, names in batches.items():
        labels = np.concatenate([to_labels(files[name], label_key) for name in names])
        read = partial(read_batches, [files[name] for name in names])
        file_names = [files[name].name for name in names]
        splits[split] = RawSplit(labels, read, file_names=file_names, label_file=", ".join(file_names))
    class_names = files[meta].unpickle().get(official.meta["key"], [])
    return RawData("cifar100" if is_cifar100 else "cifar10", splits, [name.decode() for name in class_names])


def read_archive(path: Path) -> dict[str, ArchivedFile]:
    """Every file of `cifar-10-python.tar.gz` or `cifar-100-python.tar.gz`, by file name. Nothing is extracted.

    Raises:
        UserError: The archive is damaged, has entries that lead outside it, or is far too large.
    """
    files = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.startswith(("/", "\\")):
                    raise tarfile.AbsolutePathError(member)
                tarfile.data_filter(member, "archive")  # refuses "..", devices and links that lead outside
                name = Path(member.name).name
                if not member.isfile() or name.endswith((".html", ".txt")) or name.startswith("."):
                    continue
                if member.size > LARGEST_MEMBER:
                    raise UserError(f"{path}: {member.name} has {member.size:,} bytes, too many for CIFAR")
                files[name] = ArchivedFile(f"{path}: {member.name}", tar.extractfile(member).read())
    except tarfile.FilterError as error:
        raise UserError(f"{path}: refused, an entry leads outside the archive ({error}); fetch it again") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = str(error).split(":")[0]
        raise UserError(f"{path}: not a readable tar.gz archive ({reason}); fetch it again") from error
    return files


def read_batches(batches: list[ArchivedFile], storage_size: int | None, findings: Findings) -> Chunks:
    """A batch at a time, from rows of 3,072 bytes (channel, height, width); always of 32 x 32 pixels."""
    start = 0
    for batch in batches:  # unpickled one at a time, to save memory
        data = batch.unpickle().get("data")
        if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3 * IMAGE_SIZE**2:
            raise UserError(f"{batch.name}: its data is not an array of rows of 3,072 bytes; fetch it again")
        images = np.ascontiguousarray(data.reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE).transpose(0, 2, 3, 1))
        yield list(range(start, start + len(images))), images
        start += len(images)


def to_labels(file: ArchivedFile, key: str) -> np.ndarray:
    """A file's class numbers, int64 (N,).

    Raises:
        UserError: They are something else.
    """
    values = file.unpickle().get(key)
    if not isinstance(values, list) or not all(isinstance(value, int) for value in values):
        raise UserError(f"{file.name}: its {key} are not a list of class ids; fetch it again")
    return np.array(values, dtype=np.int64)
