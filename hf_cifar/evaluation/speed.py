"""Owns what a model costs to use and to train here: seconds per image, and the memory that training keeps."""

import statistics
import time
from collections.abc import Callable

import torch
from torch.func import functional_call
from transformers import PreTrainedModel

from ..hardware import autocast
from ..kernels.layers import restore, use_kernels
from .cost import count_flops, count_parameters


def measure_cost(
    model: PreTrainedModel, image_size: int, device: torch.device, precision: str, batch_size: int, limit: float
) -> dict[str, float]:
    """What a model costs, measured on images of zeros within about `limit` seconds.

    Args:
        model: an image classifier; nothing of it is changed, but for where it is and its mode.
        image_size: height and width of its input in pixels.
        device, precision: how to run.
        batch_size: of training.
        limit: seconds. A model for which a batch of 64 would take too long is timed on a smaller one.

    Returns:
        `parameters`, `flops_per_image`, `latency_seconds` (batch 1, median), `images_per_second` in batches of
        `throughput_batch_size`, and `training_memory_bytes`, see `estimate_training_memory`.
    """
    model = model.to(device, memory_format=torch.channels_last).eval()

    def run(size: int) -> Callable[[], object]:
        images = torch.zeros(size, 3, image_size, image_size, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        return lambda: model(images)

    with torch.inference_mode(), autocast(device, precision):
        latency = time_calls(run(1), device, limit / 4)
        size = 64
        while size > 1 and 2 * size * latency > limit:
            size //= 2
        throughput = size / time_calls(run(size), device, limit / 2)
    return {
        "parameters": count_parameters(model),
        "flops_per_image": count_flops(model, image_size),
        "latency_seconds": latency,
        "images_per_second": throughput,
        "throughput_batch_size": size,
        "training_memory_bytes": estimate_training_memory(model, image_size, device, precision, batch_size),
    }


def time_calls(call: Callable[[], object], device: torch.device, limit: float, rounds: int = 10) -> float:
    """Median seconds of a call, after one that warms up; as many as `limit` seconds allow, one at least."""

    def run() -> float:
        started = time.perf_counter()
        call()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - started

    first = run()
    return statistics.median(run() for _ in range(max(1, min(rounds, int(limit / first)))))


def estimate_training_memory(
    model: PreTrainedModel, image_size: int, device: torch.device, precision: str, batch_size: int
) -> int:
    """Bytes that a training step of all weights by AdamW holds: weights, gradients, two moments, activations.

    Activations are what autograd keeps for the backward pass, counted by its hooks for 2 and for 4 images and
    extrapolated to `batch_size`. Left out are the images, the workspaces of convolutions, and what Python and
    the libraries need; so it is the same on every machine of one precision, and less than a process shows.
    """
    kept = [count_saved_bytes(model, image_size, device, precision, images) for images in (2, 4)]
    activations = kept[0] + (kept[1] - kept[0]) / 2 * (batch_size - 2)
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    return round(4 * weights + activations)


def count_saved_bytes(
    model: PreTrainedModel, image_size: int, device: torch.device, precision: str, num_images: int
) -> int:
    """Bytes of the tensors that a forward pass in training mode keeps for the backward pass, without the weights."""
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    kept: dict[int, int] = {}  # by address: a storage that is kept twice is there once

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.random.fork_rng():
        loss = run_in_training_mode(model, num_images, image_size, device, precision)
    del loss  # until here nothing was freed, so no address was used twice
    return sum(kept.values())


def measure_training_step(
    model: PreTrainedModel, image_size: int, device: torch.device, precision: str, batch_size: int, limit: float
) -> float:
    """Seconds per image of forward and backward, which are nearly all of a training step; changes no weight.

    By the kernels that training would use.
    """

    def step() -> None:
        run_in_training_mode(model, batch_size, image_size, device, precision).backward()
        model.zero_grad()

    if device.type == "cpu" and precision == "bf16":
        use_kernels(model)
    try:
        with torch.random.fork_rng():
            return time_calls(step, device, limit, rounds=3) / batch_size
    finally:
        restore(model)


def run_in_training_mode(
    model: PreTrainedModel, num_images: int, image_size: int, device: torch.device, precision: str
) -> torch.Tensor:
    """The sum of the logits of images of zeros; batch normalisation updates copies of its statistics."""
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    images = torch.zeros(num_images, 3, image_size, image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    was_training = model.training
    model.train()
    try:
        with autocast(device, precision):
            return functional_call(model, buffers, kwargs={"pixel_values": images}).logits.float().sum()
    finally:
        model.train(was_training)
