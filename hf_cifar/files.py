"""Owns how the project puts files on disk: whole or not at all, and where its cache lives."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def get_cache_dir(cache_dir: str | Path | None = None) -> Path:
    """Folder for tables, features and converted weights; else `$HF_CIFAR_CACHE` or `~/.cache/hf_cifar`."""
    return Path(cache_dir or os.environ.get("HF_CIFAR_CACHE") or Path.home() / ".cache" / "hf_cifar").expanduser()


@contextmanager
def write_then_rename(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the final name only if the block succeeds.

    Works for a file and for a folder (the block may create either). A folder that another process finished
    first is kept: both made the same content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield scratch / path.name
        try:
            os.replace(scratch / path.name, path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text so that a reader never sees half of it."""
    with write_then_rename(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
