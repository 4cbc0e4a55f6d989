"""Owns what models cost to use on this machine: latency, throughput, memory and size, measured in alternation."""

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..errors import UserError
from ..hardware import (
    autocast,
    choose_device,
    choose_precision,
    read_memory_status,
    release_freed_memory,
)
from ..models.loading import load_model
from .cost import describe_environment
from .speed import time_calls

if TYPE_CHECKING:
    from .comparison import Run

logger = logging.getLogger(__name__)
BATCH_SIZE = 64
ROUNDS = 3
SECONDS = 1.5  # of each timing, at most
ENERGY_SECONDS = 5.0
JOULES_PER_KWH = 3.6e6


def measure_inference(runs: Sequence["Run"]) -> dict[str, dict | None]:
    """Latency at batch 1, throughput at batch 64, memory and size of models, each timed in turn, three times over.

    Args:
        runs: with their weights.

    Returns:
        By folder: `latency_ms`, `throughput` (images/s), `peak_memory_bytes` (weights and what a batch adds at its
        peak; None where the system does not tell), `size_bytes` of the weights' file, `hardware`, `precision`,
        `energy_joules_per_image` in batches of 64 (None where `codecarbon` is not installed). None for a model that
        does not load.
    """
    device, precision = choose_device(), choose_precision()
    hardware, calls, results = describe_environment(precision)["hardware"], {}, {}
    for run in runs:
        folder, image_size = str(run.folder), run.results["model"]["image_size"]
        try:
            model = load_model(folder)[0]
        except UserError as error:
            logger.warning("%s is not timed: %s", folder, error)
            results[folder] = None
            continue
        calls[folder] = tuple(make_call(model, size, image_size, device) for size in (1, BATCH_SIZE))
        with torch.inference_mode(), autocast(device, precision):
            memory = measure_added_memory(calls[folder][1], device)
            energy = measure_energy(calls[folder][1], device)
        weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
        results[folder] = {
            "latency_ms": 0.0, "throughput": 0.0,
            "peak_memory_bytes": None if memory is None else memory + weights,
            "size_bytes": sum(path.stat().st_size for path in Path(folder).glob("*.safetensors")),
            "hardware": hardware, "precision": precision, "energy_joules_per_image": energy,
        }  # fmt: skip
    times = {folder: ([], []) for folder in calls}
    with torch.inference_mode(), autocast(device, precision):
        for folder in tqdm([*calls] * ROUNDS, desc="Timing models", unit="model"):
            for call, seconds in zip(calls[folder], times[folder], strict=True):
                seconds.append(time_calls(call, device, SECONDS))
    for folder, (single, batch) in times.items():
        results[folder] |= {
            "latency_ms": 1000 * statistics.median(single), "throughput": BATCH_SIZE / statistics.median(batch)
        }  # fmt: skip
    return results


def make_call(model: PreTrainedModel, size: int, image_size: int, device: torch.device) -> Callable[[], object]:
    """A forward pass on a batch of zeros."""
    model = model.to(device, memory_format=torch.channels_last).eval()
    images = torch.zeros(size, 3, image_size, image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    return lambda: model(pixel_values=images)


def measure_added_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call adds at its peak; None where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        release_freed_memory()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = read_memory_status("VmRSS")
        call()
        return max(0, read_memory_status("VmHWM") - before)
    except (OSError, AttributeError, StopIteration):
        return None


def measure_energy(call: Callable[[], object], device: torch.device) -> float | None:
    """Joules per image of a batch, over `ENERGY_SECONDS`, as codecarbon counts them; None where it is not installed.

    It asks the processor's own meters where it may, else it multiplies a nominal power by the load.
    """
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError:
        return None
    # The country decides emissions only, which are not used; offline, it asks no network.
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", measure_power_secs=1, save_to_file=False, log_level="error"
    )
    call()
    tracker.start()
    batches, started = 0, time.perf_counter()
    while time.perf_counter() - started < ENERGY_SECONDS:
        call()
        batches += 1
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
    tracker.stop()
    return JOULES_PER_KWH * tracker.final_emissions_data.energy_consumed / (batches * BATCH_SIZE)
