"""Owns reading any dataset that `datasets` loads: which column holds images, which classes, which split is what."""

import hashlib
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import datasets
import numpy as np

from ..arguments import SourceArguments
from ..errors import UserError
from ..hub import is_hub_reachable, stay_offline
from .decoding import EncodedImage, Findings, decode_images
from .keyed import HOLDOUT
from .labels import find_class_names, number_labels
from .raw import ALLOWED, Chunks, RawData, RawSplit, Source
from .split import split_train_validation

CIFAR100_ID = "uoft-cs/cifar100"
TEST_SPLITS = ("test", "validation", "valid", "val", "dev")
HOLDOUT_SIZE = 0.2


def find_dataset(name: str, args: SourceArguments, cache_dir: Path) -> Source:
    """A Hub id, or a folder: parquet files, `class_name/*.png` (perhaps below `train/` and `test/`), `save_to_disk`.

    Raises:
        UserError: It cannot be loaded, or has no such columns; the message says which there are.
    """
    loaded = load_splits(name, cache_dir)
    train = loaded.get("train", next(iter(loaded.values()))) if len(loaded) == 1 else loaded.get("train")
    if train is None:
        raise UserError(f"dataset {name!r} has splits {', '.join(loaded)}; needed: train, and perhaps test")
    image_column = find_image_column(train.features, args.image_column, name)
    label_column = find_label_column(train.features, args.label_column, name)
    test_name = next((split for split in TEST_SPLITS if split in loaded), None)
    splits = {"train": train} | ({"test": loaded[test_name]} if test_name else {})
    files = [file["filename"] for split in splits.values() for file in split.cache_files]
    key = (name, image_column, label_column, [(file, *_describe_file(file)) for file in files])
    test = f"test split {test_name!r}" if test_name else f"{HOLDOUT_SIZE:.0%} of each class held out for testing"
    kind = f"folder {Path(name).resolve().name}" if Path(name).is_dir() else f"Hub dataset {name}"
    return Source(
        description=kind if test_name == "test" else f"{kind} ({test})",
        key=hashlib.sha256(repr(key).encode()).hexdigest(),
        read=partial(read_splits, splits, image_column, label_column, name),
    )


def _describe_file(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def load_splits(name: str, cache_dir: Path) -> datasets.DatasetDict:
    """Load with `datasets`, whatever the layout is.

    Raises:
        UserError: With the library's own reason.
    """
    folder = Path(name)
    is_local = folder.is_dir()
    try:
        if is_local and any((folder / mark).is_file() for mark in ("dataset_dict.json", "state.json")):
            loaded = datasets.load_from_disk(name)
            return loaded if isinstance(loaded, dict) else datasets.DatasetDict(train=loaded)
        if is_local:
            return datasets.load_dataset(name, cache_dir=str(cache_dir / "datasets"))
        if not is_hub_reachable():
            stay_offline()
        return datasets.load_dataset(name)
    # Builders wrap what they meet in many types, from pyarrow's to their own.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        where = "no Hub in reach, nor a cached copy: " if not is_local and not is_hub_reachable() else ""
        raise UserError(f"dataset {name!r} cannot be loaded ({where}{reason}); allowed: {ALLOWED}") from error


def find_image_column(features: datasets.Features, wanted: str | None, name: str) -> str:
    """The wanted column, else the only one with an Image feature.

    Raises:
        UserError: There is none, or more than one.
    """
    if wanted is not None:
        kind = features.get(wanted)
        is_binary = getattr(kind, "dtype", None) in ("binary", "large_binary")
        if isinstance(kind, datasets.Image) or is_binary or (isinstance(kind, dict) and "bytes" in kind):
            return wanted
        raise UserError(f"image_column={wanted!r} of dataset {name!r} is {_describe(features, wanted)}")
    found = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    if len(found) != 1:
        raise UserError(
            f"dataset {name!r} has {len(found)} image columns; its columns are {_list(features)}. Give --image_column"
        )
    return found[0]


def find_label_column(features: datasets.Features, wanted: str | None, name: str) -> str:
    """The wanted column, else the only ClassLabel, else `label`; see `find_image_column`."""
    if wanted is None:
        found = [column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
        found = found if len(found) == 1 else [column for column in ("label",) if column in features]
        if not found:
            hint = "" if features.keys() - {"image"} else "; an image folder needs two classes or more, a folder each"
            raise UserError(
                f"dataset {name!r} has no one column of classes; its columns are {_list(features)}{hint}. "
                "Give --label_column"
            )
        wanted = found[0]
    kind = features.get(wanted)
    types = ("string", "large_string", "bool")
    if isinstance(kind, datasets.ClassLabel) or (
        isinstance(kind, datasets.Value) and (kind.dtype in types or re.fullmatch(r"u?int\d+", kind.dtype))
    ):
        return wanted
    raise UserError(
        f"label_column={wanted!r} of dataset {name!r} is {_describe(features, wanted)}; needed: a ClassLabel, whole "
        "numbers or texts"
    )


def _describe(features: datasets.Features, column: str) -> str:
    kind = features.get(column)
    if kind is None:
        return f"not there; its columns are {_list(features)}"
    return f"of type {getattr(kind, 'dtype', None) or type(kind).__name__}; its columns are {_list(features)}"


def _list(features: datasets.Features) -> str:
    return ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items())


def read_splits(splits: dict[str, datasets.Dataset], image_column: str, label_column: str, name: str) -> RawData:
    """Train and test as `RawSplit`s; without a test split, an exact stratified part of train is held out."""
    values = {
        split: table.select_columns(label_column).with_format("arrow")[:][label_column]
        for split, table in splits.items()
    }
    class_names = find_class_names(
        splits["train"].features[label_column], values["train"], f"dataset {name!r}, {label_column}"
    )
    raws = {}
    for split, table in splits.items():
        labels = number_labels(
            table.features[label_column], values[split], class_names, f"dataset {name!r}, {split}, {label_column}"
        )
        rows = np.arange(len(table))
        images = table.select_columns(image_column).cast_column(image_column, datasets.Image(decode=False))
        parts = {split: rows}
        if len(splits) == 1:
            try:
                kept, held = split_train_validation(labels, rows, HOLDOUT_SIZE, 0, class_names, purpose=HOLDOUT)
            except UserError as error:
                raise UserError(
                    f"dataset {name!r} has no test split, and a fifth of its {len(rows):,} images in "
                    f"{len(class_names)} classes cannot be held out ({error}). Add images, or a test split"
                ) from error
            parts = {"train": kept, "test": held}
        for part, chosen in parts.items():
            read = partial(read_chunks, images.select(chosen), image_column, f"{split} row", chosen, part)
            raws[part] = RawSplit(labels[chosen], read, chosen, [f"dataset {name!r}"])
    folder = Path(name)
    title = "cifar100" if name == CIFAR100_ID else folder.resolve().name if folder.is_dir() else name
    return RawData(title, raws, class_names)


def read_chunks(
    table: datasets.Dataset,
    column: str,
    what: str,
    rows: np.ndarray,
    part: str,
    storage_size: int | None,
    findings: Findings,
) -> Chunks:
    """Decode a table's images in chunks; see `decode_images`."""

    def iterate() -> Iterator[EncodedImage]:
        for row, image in zip(rows.tolist(), table, strict=True):
            cell = image[column] or {"bytes": b"", "path": None}
            content, path = cell["bytes"], cell["path"]
            name = f"{what} {row}" + (f" ({Path(*Path(path).parts[-2:])})" if path else "")
            yield EncodedImage(name, content if content is not None else Path(path or os.devnull))

    return decode_images(iterate(), findings, storage_size, len(table), f"Decoding {part}")
