"""Owns what a run costs and where it ran: FLOPs, parameters, memory, versions, hardware."""

import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .. import __version__
from ..hardware import describe_hardware

PACKAGES = ("torch", "torchvision", "transformers", "datasets", "accelerate", "evaluate", "timm", "numpy")


def count_flops(model: nn.Module, image_size: int) -> int:
    """FLOPs of one image's forward pass: convolutions and matrix products; a multiply-add counts two."""
    device = next(model.parameters()).device
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    return counter.get_total_flops()


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, trained or not."""
    return sum(parameter.numel() for parameter in model.parameters())


def measure_peak_memory() -> int:
    """Most memory held so far in bytes: the GPU's where there is one, else this process's resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss would include the parent's at the time of the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_environment(precision: str, world_size: int = 1) -> dict[str, object]:
    """Date, commit, versions, hardware, precision and number of processes."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hf_cifar": __version__,
        "commit": read_commit(),
        "python": platform.python_version(),
        "packages": packages,
        "hardware": describe_hardware(),
        "precision": precision,
        "world_size": world_size,
    }


def read_commit() -> str | None:
    """This checkout's commit, with "-dirty" where tracked files differ; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return result.stdout.strip() or None
