"""Owns the cached Arrow table: decoded once, pixels as one fixed-size binary column, memory-mapped ever after."""

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from ..arguments import SourceArguments
from ..errors import UserError
from ..files import get_cache_dir, write_json, write_then_rename
from .decoding import Findings, resize_images
from .integrity import put_in_canonical_order
from .raw import Chunks, RawData, Source
from .sources import find_source
from .store import get_image_size, hash_tables, write_table

logger = logging.getLogger(__name__)

TABLE_VERSION = 4  # of the files in a cached table's folder


@dataclass
class ImageData:
    """A dataset ready to use.

    Attributes:
        name: "cifar10" (checked to be), "cifar10-sample", "cifar100", a Hub id, or a folder's name.
        source: where it came from, in words.
        hashes: per split, SHA-256 of the decoded images and of the labels.
        converted: how many images were converted to RGB, by what they were.
        skipped: images that could not be decoded and were left out, by split.
        train, test: tables with columns `row` (in the stored table), `index` (canonical), `pixels` (S x S x 3 bytes:
            height, width, channel; 3,072 for 32 x 32 pixels), `label`. Memory-mapped.
    """

    name: str
    source: str
    hashes: dict[str, dict[str, str]]
    converted: dict[str, int]
    skipped: dict[str, list[str]]
    train: datasets.Dataset
    test: datasets.Dataset

    @property
    def class_names(self) -> list[str]:
        """In the labels' order."""
        return self.train.features["label"].names

    @property
    def image_size(self) -> int:
        """Height and width of the stored images in pixels."""
        return get_image_size(self.train)

    @property
    def is_sample(self) -> bool:
        """Whether this is the bundled sample, whose numbers say nothing about a model."""
        return self.name == "cifar10-sample"


def load_data(args: SourceArguments) -> ImageData:
    """Load a dataset, decoding it on first use; CIFAR-10 in canonical order.

    Raises:
        UserError: Unknown name, nothing to be had, damaged images, or content that is not what it says it is.
    """
    cache = get_cache_dir(args.cache_dir)
    remembered = cache / "tables" / "auto.json"  # what `auto` found last, so that it asks no network again
    is_plain_auto = args.dataset == "auto" and args.storage_size is None
    if is_plain_auto and (facts := read_facts(remembered, {"folder", "source"})) is not None:
        data = open_table(cache / "tables" / facts["folder"], facts["source"])
        if data is not None:
            return data
    source = find_source(args, cache)
    # The sample keeps its own indices, so its files mean something else when they are given as a folder.
    options = (source.key, args.dataset == "sample", args.storage_size, args.skip_corrupt, TABLE_VERSION)
    folder = cache / "tables" / hashlib.sha256(repr(options).encode()).hexdigest()[:24]
    data = open_table(folder, source.description) or build_table(source, folder, args)
    if is_plain_auto:
        write_json(remembered, {"folder": folder.name, "source": source.description})
    return data


def read_facts(path: Path, keys: set[str]) -> dict | None:
    """A small cache file's content, or None where there is none or it is damaged or has other keys."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and set(facts) == keys else None


def open_table(folder: Path, description: str) -> ImageData | None:
    """The table in `folder`, or None where there is none or its content no longer has the recorded hashes."""
    if not folder.is_dir():
        return None
    facts = read_facts(folder / "table.json", {"name", "hashes", "converted", "skipped"})
    try:
        tables = {split: datasets.Dataset.from_file(str(folder / f"{split}.arrow")) for split in ("train", "test")}
        intact = facts is not None and hash_tables(**tables) == facts["hashes"]
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        logger.info("%s: %s", folder, error)
        intact = False
    if not intact:
        logger.warning("The cached table %s is damaged: decoding the data again", folder)
        shutil.rmtree(folder)
        return None
    return ImageData(source=description, **facts, **tables)


def build_table(source: Source, folder: Path, args: SourceArguments) -> ImageData:
    """Decode `source`, check it, put CIFAR-10 in canonical order, and write the table, chunk by chunk."""
    raw = source.read()
    findings = {split: Findings() for split in raw.splits}
    with write_then_rename(folder) as temporary:
        temporary.mkdir(parents=True)
        for split, each in raw.splits.items():
            check_labels(each.labels, raw.class_names, f"{source.description}, {split}")
            chunks = make_chunks(raw, split, args.storage_size, findings[split])
            write_table(temporary / f"{split}.arrow", chunks, raw.class_names)
            check_findings(source.description, split, findings[split], len(each.labels), args.skip_corrupt)
        tables = {split: datasets.Dataset.from_file(str(temporary / f"{split}.arrow")) for split in raw.splits}
        if len(sizes := {get_image_size(table) for table in tables.values()}) > 1:
            raise UserError(
                f"{source.description}: images of train and test have sizes {sorted(sizes)}; give --storage_size"
            )
        converted = sum((found.converted for found in findings.values()), Counter())
        facts = {
            "name": raw.name,
            "hashes": hash_tables(**tables),
            "converted": dict(converted),
            "skipped": {split: list(found.corrupt) for split, found in findings.items()},
        }
        write_json(temporary / "table.json", facts)
    for kind, count in converted.items():
        logger.warning("%s: %s images were converted to RGB from %s", source.description, f"{count:,}", kind)
    return open_table(folder, source.description)


def make_chunks(
    raw: RawData, split: str, storage_size: int | None, findings: Findings
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Images uint8 (n, S, S, 3), labels and canonical indices (n,), in order."""
    each = raw.splits[split]
    if raw.name != "cifar10":
        indices = np.arange(len(each.labels)) if each.indices is None else each.indices
        for rows, images in each.read(storage_size, findings):
            yield images, each.labels[rows], indices[rows]
        return
    # Its content is checked before any resizing.
    where = ", ".join(each.file_names)
    chunks = refuse_findings(each.read(None, findings), findings, where, split, len(each.labels))
    for images, labels, indices in put_in_canonical_order(
        chunks, each.labels, split, each.file_names, each.label_file
    ):
        yield images if storage_size is None else resize_images(images, storage_size), labels, indices


def refuse_findings(chunks: Chunks, findings: Findings, where: str, split: str, total: int) -> Chunks:
    """Pass chunks on; at the first that lacks an image, decode the rest to count, and refuse."""
    for chunk in chunks:
        if findings.corrupt:
            for _ in chunks:
                pass
            check_findings(where, split, findings, total, skip_corrupt=False)
        yield chunk
    check_findings(where, split, findings, total, skip_corrupt=False)


def check_labels(labels: np.ndarray, class_names: list[str], where: str) -> None:
    """Refuse a split without images, or labels that are no class's number."""
    if not len(labels):
        raise UserError(f"{where}: there are no images")
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise UserError(
            f"{where}: labels run from {labels.min()} to {labels.max()}; allowed: 0 to {len(class_names) - 1}"
        )


def check_findings(where: str, split: str, findings: Findings, total: int, skip_corrupt: bool) -> None:
    """Refuse images that cannot be used, or with `skip_corrupt` say that they are left out."""
    if not findings.corrupt:
        return
    message = f"{where}, {split}: {findings.describe_corrupt(total)}"
    if not skip_corrupt or len(findings.corrupt) == total:
        raise UserError(f"{message}. Mend or fetch them again; of other datasets --skip_corrupt true leaves them out")
    logger.warning("%s: left out", message)
