"""Owns the checks of what is fetched and kept: the Hub and its token, caches, and the data in them."""

import hashlib
import os
import shutil
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import datasets
from huggingface_hub import constants

from ..data.constants import BLOCK_SIZE, LABELS_SHA256, TEST_BLOCK_SHA256, TRAIN_BLOCK_SHA256
from ..data.integrity import hash_array
from ..data.sources import SAMPLE_FOLDER
from ..data.store import map_images, read_column
from ..data.table import read_facts
from ..hub import is_hub_reachable
from .findings import Finding, format_bytes

SAMPLE_SHA256 = {
    "test-00000-of-00001.parquet": "098127d1dc42e8197c2115c819ef8af40bd6454c48e0b0678d81759f4e7f1c01",
    "train-00000-of-00001.parquet": "a22e4874774246c7b5a49285ffac5a9596000a9fe5cf6ce3de88efa99b20bef3",
}


def check_hub(has_data: bool, timeout: float = 10.0) -> Finding:
    """Whether the Hub answers; asked with no token, and not waited for longer than `timeout` seconds."""
    why = "datasets and pretrained backbones come from there; offline:, sample and what is cached need none"
    place = urlsplit(constants.ENDPOINT).hostname
    if constants.HF_HUB_OFFLINE:
        return Finding("Hub", "ok", "not asked: HF_HUB_OFFLINE is set", why)
    started, answers = time.perf_counter(), []
    # A thread, because looking up a name may take longer than any timeout.
    thread = threading.Thread(target=lambda: answers.append(is_hub_reachable()), daemon=True)
    thread.start()
    thread.join(timeout)
    seconds = time.perf_counter() - started
    if answers and answers[0]:
        return Finding("Hub", "ok", f"{place} answers in {seconds:.1f} s", why, numbers={"seconds": round(seconds, 2)})
    fallback = "npm is tried" if shutil.which("npm") else "there is no npm either"
    fallback = "the cached one is there" if has_data else fallback
    return Finding(
        "Hub", "warn", f"{place} does not answer ({seconds:.1f} s); for CIFAR-10, {fallback}", why,
        "check network and proxy (HTTPS_PROXY, HF_ENDPOINT); without one: HF_HUB_OFFLINE=1, --dataset sample, a "
        "folder or the archive, model_name_or_path: offline:efficientnet-lite0",
        entry="hub-unreachable", numbers={"seconds": round(seconds, 2)},
    )  # fmt: skip


def check_token() -> Finding:
    """Whether there is a token and where from; it is neither shown nor sent."""
    why = "publishing and private or gated repositories need one; public ones do not"
    variables = [name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)]
    path = Path(constants.HF_TOKEN_PATH)
    has_file = path.is_file() and path.stat().st_size > 0
    if not variables and not has_file:
        return Finding("Hub token", "ok", "none; push.py will need one", why)
    place = f"environment variable {variables[0]}" if variables else f"file {path}"
    token = os.environ[variables[0]] if variables else path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
    if token != token.strip() or not token.startswith("hf_") or not token.isascii() or " " in token:
        fix = "copy it again from huggingface.co/settings/tokens, without quotes and blanks"
        return Finding("Hub token", "warn", f"from {place}; it does not look like one", why, fix, entry="hub-token")
    if variables and has_file:
        fix = f"unset {variables[0]} to use the one that hf auth login stored"
        value = f"from {place}, which wins over the one in {path}"
        return Finding("Hub token", "warn", value, why, fix, entry="hub-token")
    return Finding("Hub token", "ok", f"from {place}", why)


def check_folder(name: str, folder: Path, seconds: float = 5.0) -> Finding:
    """Whether a cache can be written, and its size, counted for `seconds` at most."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    end, size, files, is_whole = time.monotonic() + seconds, 0, 0, True
    for root, _, names in os.walk(folder):
        for each in names:
            path = Path(root, each)
            size, files = size + (0 if path.is_symlink() or not path.exists() else path.stat().st_size), files + 1
        if time.monotonic() > end:
            is_whole = False
            break
    can_write = place.is_dir() and os.access(place, os.W_OK)
    value = f"{folder}: {'' if is_whole else 'more than '}{format_bytes(size)} in {files:,} files"
    return Finding(
        name,
        "ok" if can_write else "fail" if name == "project cache" else "warn",
        value if can_write else f"{value}; it cannot be written",
        "what was fetched, decoded and computed is kept there; deleting it is safe and costs time",
        "give another by HF_CIFAR_CACHE or --cache_dir (ours), HF_HOME (the Hub's), or mend its owner and rights",
        entry="cache-not-writable",
        numbers={"bytes": size, "files": files},
    )


def check_sample(folder: Path = SAMPLE_FOLDER / "plain_text") -> Finding:
    """Whether the bundled sample is as it was published."""
    damaged = []
    for name, expected in SAMPLE_SHA256.items():
        path = folder / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
        damaged += [] if found == expected else [f"{name} has SHA-256 {found[:16]}"]
    return Finding(
        "bundled sample",
        "fail" if damaged else "ok",
        "; ".join(damaged) or "both files have their SHA-256",
        "smoke runs and tests rely on it",
        "git checkout -- hf_cifar/data/sample, or install the package again",
        entry="data-damaged",
    )


def check_cifar10_tables(cache: Path) -> list[Finding]:
    """For each cached table that says it is CIFAR-10: whether its blocks and labels have the official SHA-256."""
    why = "a changed image or another order makes numbers incomparable"
    findings = []
    for path in sorted((cache / "tables").glob("*/table.json")):
        facts = read_facts(path, {"name", "hashes", "converted", "skipped"})
        if facts is None or facts["name"] == "cifar10":
            problem = "table.json is damaged" if facts is None else find_damage(path.parent)
            name = f"cached table {path.parent.name[:8]}"
            value = problem or "CIFAR-10: every block and all labels have the official SHA-256"
            fix = f"rm -r {path.parent}; the next run decodes it again"
            findings.append(
                Finding(name, "fail" if problem else "ok", value, why, fix, entry="data-damaged",
                        numbers={} if problem else {"images": 60_000})
            )  # fmt: skip
    return findings or [Finding("CIFAR-10", "ok", "not cached yet; the first run fetches it (about 140 MB)", why)]


def find_damage(folder: Path) -> str | None:
    """What is wrong with a table of CIFAR-10 at its original size, if anything; nothing is changed."""
    for split, blocks in (("train", TRAIN_BLOCK_SHA256), ("test", TEST_BLOCK_SHA256)):
        try:
            table = datasets.Dataset.from_file(str(folder / f"{split}.arrow"))
            images, labels = map_images(table)[0], read_column(table, "label")
        except (OSError, ValueError, KeyError) as error:
            return f"{split}.arrow cannot be read ({type(error).__name__})"
        if images.shape[1] != 32:
            return None  # stored at another size, so that the official hashes say nothing
        for position, (name, expected) in enumerate(blocks.items()):
            if hash_array(images[position * BLOCK_SIZE : (position + 1) * BLOCK_SIZE]) != expected:
                return f"{name} differs from CIFAR-10's"
        if hash_array(labels.astype("uint8")) != LABELS_SHA256[split]:
            return f"the {split} labels differ from CIFAR-10's"
    return None
