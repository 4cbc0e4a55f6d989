"""Owns what the hardware decides: precision, CPU or GPU, and the allocator."""

import contextlib
import ctypes
import platform
import sys
from pathlib import Path

import torch

# glibc's mallopt parameters, from <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def choose_device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def choose_precision() -> str:
    """The fastest precision that this machine trains well in: "bf16", "fp16" or "fp32".

    bf16 needs a GPU of 2020 or later, or a CPU with AMX or AVX512-BF16; elsewhere on CPUs it is emulated and slower.
    """
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if {"amx_bf16", "avx512_bf16"} & read_cpu_flags() else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context in which a model runs in "bf16" or "fp16"; in "fp32" it changes nothing."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def read_cpu_flags() -> set[str]:
    """The CPU's features as Linux names them; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return set()
    lines = path.read_text().splitlines()
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith("flags")), set())


def describe_hardware() -> str:
    """The device in words, as in "NVIDIA A100" or "AMD EPYC, 2 cores, AVX512-BF16"."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    path = Path("/proc/cpuinfo")
    if path.exists():
        lines = path.read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    flags = read_cpu_flags()
    feature = "AMX" if "amx_bf16" in flags else "AVX512-BF16" if "avx512_bf16" in flags else "no bf16"
    return f"{name}, {torch.get_num_threads()} threads, {feature}"


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep freed memory instead of giving each large tensor back to the system.

    Without it every activation is mapped and zeroed anew by the kernel. It does what preloading tcmalloc does; see
    docs/speed.md for the measurement.

    Returns:
        Whether it was done (Linux with glibc on the CPU only).
    """
    if sys.platform != "linux" or torch.cuda.is_available():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))


def release_freed_memory() -> None:
    """Give freed memory back to the system, where glibc keeps it; it would hide how much is taken next."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def read_memory_status(name: str) -> int:
    """A figure of this process's memory in bytes: "VmRSS", or "VmHWM" for its peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
