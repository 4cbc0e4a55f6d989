"""Owns how the project puts files on disk: whole or not at all, and where its cache lives."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError


def get_cache_dir(cache_dir: str | Path | None = None) -> Path:
    """Folder for tables, features and converted weights; else `$HF_CIFAR_CACHE` or `~/.cache/hf_cifar`."""
    return Path(cache_dir or os.environ.get("HF_CIFAR_CACHE") or Path.home() / ".cache" / "hf_cifar").expanduser()


def check_output_folder(folder: Path, allowed: Iterable[str] = ()) -> None:
    """Check that `folder` can be written and holds nothing but what may be replaced, before anything is.

    Args:
        folder: need not exist.
        allowed: names that may be there.

    Raises:
        UserError: It is or lies under a file, cannot be written, or holds something else.
    """
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(
            f"output_dir={str(folder)!r}: {str(parent)!r} is not a folder that can be written; give another"
        )
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    foreign = sorted(name for name in names - set(allowed) if not is_scratch(name))
    if foreign:
        raise UserError(f"output_dir={str(folder)!r} holds other files, as {foreign[0]!r}; give a new folder")


def is_scratch(name: str) -> bool:
    """Whether a file's name is one that a killed `write_then_rename` leaves behind."""
    return re.fullmatch(r"\..+\.[a-z0-9_]{8}", name) is not None


@contextmanager
def write_then_rename(path: str | Path, replace_folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the final name only if the block succeeds.

    Works for a file, which replaces an older one, and for a folder (the block creates either). An older folder is
    kept, as another process may have made the same cache entry first, unless `replace_folder`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield scratch / path.name
        if (scratch / path.name).is_dir() and path.is_dir():
            if replace_folder:
                os.rename(path, scratch / "old")
                os.rename(scratch / path.name, path)
        else:
            os.replace(scratch / path.name, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's content, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text so that a reader never sees half of it."""
    with write_then_rename(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
