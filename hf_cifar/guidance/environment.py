"""Owns the checks without a config: processor, precision, allocator, disk, memory; and their list."""

import os
import shutil
import sys
from pathlib import Path

import psutil
import torch
from huggingface_hub import constants

from ..files import get_cache_dir
from ..hardware import choose_precision, describe_hardware, keep_freed_memory, read_cpu_flags
from .findings import Finding, format_bytes
from .stores import check_cifar10_tables, check_folder, check_hub, check_sample, check_token

# CIFAR-10 fetched (130 MB), decoded (185 MB) and decoding's scratch; checkpoints of a small model.
DISK_NEED, MEMORY_NEED = 1.5e9, 2e9


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
