"""Owns the checks of the machine: processor, precision, allocator, disk, memory, the Hub, caches and data."""

import hashlib
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import torch
from huggingface_hub import constants

from ..data.constants import BLOCK_SIZE, LABELS_SHA256, TEST_BLOCK_SHA256, TRAIN_BLOCK_SHA256
from ..data.integrity import hash_array
from ..data.sources import SAMPLE_FOLDER
from ..data.store import map_images, read_column
from ..data.table import read_facts
from ..files import get_cache_dir
from ..hardware import choose_precision, describe_hardware, keep_freed_memory, read_cpu_flags
from ..hub import is_hub_reachable
from .findings import Finding

GIGABYTE = 1e9
SAMPLE_SHA256 = {
    "test-00000-of-00001.parquet": "098127d1dc42e8197c2115c819ef8af40bd6454c48e0b0678d81759f4e7f1c01",
    "train-00000-of-00001.parquet": "a22e4874774246c7b5a49285ffac5a9596000a9fe5cf6ce3de88efa99b20bef3",
}
# CIFAR-10 fetched (130 MB), decoded (185 MB) and decoding's scratch; checkpoints of a small model.
DISK_NEED, MEMORY_NEED = 1.5 * GIGABYTE, 2 * GIGABYTE


def check_environment(cache_dir: str | None = None) -> list[Finding]:
    """All that can be said without a config; ends in a few seconds, also without a network."""
    cache = get_cache_dir(cache_dir)
    data = check_cifar10_tables(cache)
    return [
        check_processor(),
        check_precision(),
        check_kernels(),
        check_allocator(),
        check_disk(cache, DISK_NEED, "CIFAR-10 and small checkpoints"),
        check_memory(MEMORY_NEED, "a small network's training"),
        check_hub(has_data=any(each.status == "ok" and each.numbers for each in data)),
        check_token(),
        check_folder("project cache", cache),
        check_folder("Hub cache", Path(constants.HF_HUB_CACHE)),
        check_sample(),
        *data,
    ]


def count_cores() -> float:
    """Cores that this process may use: its affinity, and in a container its share."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    limit = read_limit("cpu.max").split()
    return min(cores, int(limit[0]) / int(limit[1])) if len(limit) == 2 and limit[0].isdigit() else cores


def read_limit(name: str) -> str:
    """A control group's limit, as Linux containers have it; empty where there is none."""
    path = Path("/sys/fs/cgroup") / name
    return path.read_text().strip() if path.is_file() else ""


def check_processor(threads: int | None = None, cores: float | None = None, load: float | None = None) -> Finding:
    """Whether PyTorch's threads fit the cores, and whether these are free."""
    threads, cores = threads or torch.get_num_threads(), cores or count_cores()
    load = load if load is not None else os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    numbers = {"threads": threads, "cores": round(cores, 2), "load": round(load, 2)}
    why = "every step waits for its slowest thread; more threads than free cores make a step several times slower"
    value = f"{describe_hardware()}; {cores:g} cores, load {load:.1f}"
    if threads > cores:
        fix = f"OMP_NUM_THREADS={max(1, int(cores))}; in a container, give it the cores"
        return Finding("processor", "warn", value, why, fix, entry="too-many-threads", numbers=numbers)
    if load + threads > 1.5 * cores and not torch.cuda.is_available():
        fix = "wait for the other work to end" + (
            ", or give each training one core: OMP_NUM_THREADS=1" * (threads > 1)
        )
        return Finding("processor", "warn", value, why, fix, entry="busy-machine", numbers=numbers)
    return Finding("processor", "ok", value, why, numbers=numbers)


def check_precision(precision: str | None = None, has_driver: bool | None = None) -> Finding:
    """Which precision training takes, and whether a GPU lies idle."""
    precision = precision or choose_precision()
    has_driver = shutil.which("nvidia-smi") is not None if has_driver is None else has_driver
    why = "where the hardware has bf16, matrix products in it are about twice as fast as in fp32 (docs/speed.md)"
    if has_driver and not torch.cuda.is_available():
        fix = f"install a build of torch for this driver (nvidia-smi shows it); this one is {torch.__version__}"
        return Finding(
            "precision", "warn", f"{precision}; there is a GPU driver, but torch sees no GPU", why, fix,
            entry="gpu-not-seen",
        )  # fmt: skip
    if precision == "fp32":
        fix = "nothing on this machine; a GPU, or a CPU with AMX or AVX512-BF16, is faster. Prefer frozen backbones"
        return Finding("precision", "warn", "fp32: neither GPU nor bf16 in this CPU", why, fix, entry="no-bf16")
    return Finding("precision", "ok", f"{precision} on {'GPU' if torch.cuda.is_available() else 'CPU'}", why)


def check_kernels(flags: set[str] | None = None, compiler: str | None = "gcc") -> Finding:
    """Whether the package's own kernels can be compiled where they pay."""
    flags = read_cpu_flags() if flags is None else flags
    why = "our kernels make a CifarCnn's step 1.2 to 1.6 times, depthwise convolutions 2.7 times as fast"
    if torch.cuda.is_available() or "avx512_bf16" not in flags:
        return Finding("compiled kernels", "ok", "not for this hardware; PyTorch's are used", why)
    if compiler is None or shutil.which(compiler) is None:
        return Finding(
            "compiled kernels", "warn", "there is no gcc to compile them", why, "apt-get install gcc",
            entry="no-gcc",
        )  # fmt: skip
    return Finding("compiled kernels", "ok", "gcc is there", why)


def check_allocator(is_kept: bool | None = None) -> Finding:
    """Whether freed memory is kept, by us or by a preloaded allocator."""
    why = "otherwise each activation is mapped and zeroed anew by the kernel: 452 against 529 images/s of cnn/fast"
    preloaded = next((each for each in ("tcmalloc", "jemalloc") if each in os.environ.get("LD_PRELOAD", "")), None)
    if preloaded or sys.platform != "linux" or torch.cuda.is_available():
        return Finding("allocator", "ok", preloaded or "the system's, which is as good here", why)
    if keep_freed_memory() if is_kept is None else is_kept:
        return Finding("allocator", "ok", "glibc's, told to keep freed memory", why)
    return Finding(
        "allocator", "warn", "no mallopt (musl?), and no tcmalloc preloaded", why,
        "LD_PRELOAD=libtcmalloc.so.4 (package libtcmalloc-minimal4), or a system with glibc", entry="allocator",
    )  # fmt: skip


def format_bytes(size: float) -> str:
    """As in "1.5 GB" or "120 MB"."""
    return f"{size / GIGABYTE:.1f} GB" if size >= GIGABYTE else f"{size / 1e6:.0f} MB"


def check_disk(folder: Path, need: float, what: str) -> Finding:
    """Whether a folder's disk has room for `need` bytes of `what`."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    numbers = {"free_bytes": free, "need_bytes": round(need)}
    return Finding(
        f"disk of {folder}",
        "fail" if free < need else "warn" if free < 2 * need else "ok",
        f"{format_bytes(free)} free, about {format_bytes(need)} needed for {what}",
        "a full disk stops a run at its next checkpoint",
        "free space, or another place: HF_CIFAR_CACHE, HF_HOME, --output_dir; save_total_limit: 1",
        entry="disk-full",
        numbers=numbers,
    )


def measure_free_memory() -> float:
    """Bytes that this process may still take: the machine's, and in a container its limit."""
    free = float(psutil.virtual_memory().available)
    limit, used = read_limit("memory.max"), read_limit("memory.current")
    return min(free, float(limit) - float(used)) if limit.isdigit() and used.isdigit() else free


def check_memory(need: float, what: str, free: float | None = None) -> Finding:
    """Whether there is memory for `need` bytes of `what`."""
    free = measure_free_memory() if free is None else free
    return Finding(
        f"memory for {what}",
        "fail" if free < need else "warn" if free < 1.3 * need else "ok",
        f"{format_bytes(free)} free, about {format_bytes(need)} needed",
        "without memory the system swaps, or kills the training without a word",
        "a smaller per_device_train_batch_size with gradient_accumulation_steps, gradient_checkpointing: true, a "
        "smaller image_size",
        entry="out-of-memory",
        numbers={"free_bytes": free, "need_bytes": round(need)},
    )


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
    import datasets

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
