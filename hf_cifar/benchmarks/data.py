"""Owns measuring the input pipeline: against the usual one, its share of a training step, and its memory."""

import io
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from transformers import TrainingArguments, default_data_collator

from ..arguments import AugmentationArguments, DataArguments, ModelArguments, RecipeArguments
from ..data.batches import ImageBatches, KeyedSampler
from ..data.constants import MEAN, STD
from ..data.statistics import choose_preprocessing
from ..data.store import get_image_size, read_column, read_images
from ..data.table import load_data
from ..data.transforms import ImageTransform, Preprocessing, collate_whole_batch
from ..hardware import autocast, keep_freed_memory, read_memory_status, release_freed_memory
from ..models.loading import build_cifar_cnn
from ..training.fit import choose_data_device, get_precision
from ..training.loss import build_loss
from ..training.trainer import build_recipe_optimizer

# Size in pixels, batch size, and images per round of the usual way and of ours: about a second each on a CPU.
CASES = (
    ("32 px: flip, translate, normalise", 32, 500, 2_000, 50_000),
    ("224 px: resize, flip, normalise", 224, 100, 500, 3_000),
)


def encode_images(table: datasets.Dataset, count: int) -> datasets.Dataset:
    """The first images as a PNG `Image` column: how image datasets usually lie on the Hub."""
    table = table.select(range(min(count, len(table))))
    encoded = []
    for image in read_images(table):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    features = datasets.Features({"img": datasets.Image(), "label": table.features["label"]})
    return datasets.Dataset.from_dict({"img": encoded, "label": read_column(table, "label")}, features=features)


def make_usual_loader(table: datasets.Dataset, size: int, batch_size: int) -> DataLoader:
    """As the image-classification examples do it: Pillow images, one torchvision transform each, default collator."""
    stored = table[0]["img"].size[0]
    if size == stored:
        geometry = transforms.RandomCrop(size, padding=size // 8, padding_mode="reflect")
    else:
        geometry = transforms.Resize((size, size), transforms.InterpolationMode.BICUBIC)
    transform = transforms.Compose(
        [geometry, transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )

    def apply(batch: dict[str, list]) -> dict[str, list]:
        pixel_values = [transform(image.convert("RGB")) for image in batch["img"]]
        return {"pixel_values": pixel_values, "labels": batch["label"]}

    return DataLoader(table.with_transform(apply), batch_size, shuffle=True, collate_fn=default_data_collator)


def make_our_loader(table: datasets.Dataset, size: int, batch_size: int) -> DataLoader:
    """The same work through `ImageBatches`, as training does it."""
    translate = 0.125 if size == get_image_size(table) else 0
    augmentation = AugmentationArguments(flip="random", translate=translate)
    dataset = ImageBatches(table, ImageTransform(Preprocessing(size), augmentation))
    return DataLoader(dataset, batch_size, sampler=KeyedSampler(len(table), 0), collate_fn=collate_whole_batch)


def cycle(loader: DataLoader) -> Iterator[dict[str, torch.Tensor]]:
    """Batches for ever."""
    return itertools.chain.from_iterable(itertools.repeat(loader))


def measure_rate(batches: Iterator[dict[str, torch.Tensor]], count: int) -> float:
    """Images per second over about `count` images."""
    done, started = 0, time.perf_counter()
    while done < count:
        done += len(next(batches)["labels"])
    return done / (time.perf_counter() - started)


def summarize(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": float(np.median(values)), "min": min(values), "max": max(values)}


def compare_pipelines(table: datasets.Dataset, rounds: int = 7, scale: float = 1.0) -> dict[str, dict]:
    """Images per second of both pipelines, on one thread, in alternation, so that a noisy machine is fair to both.

    Args:
        table: of stored images, 32 x 32 for CIFAR-10.
        rounds: how often each is measured; both are warmed up first.
        scale: of the number of images per round.

    Returns:
        By case: images/s of `usual` and `ours`, and `speedup` (ratio within a round), each as `summarize`d.
    """
    encoded = encode_images(table, int(5000 * scale))
    results, threads = {}, torch.get_num_threads()
    torch.set_num_threads(1)  # the usual way uses one; threads that wait for a busy core would distort ours
    for name, size, batch_size, usual_count, our_count in CASES:
        usual = cycle(make_usual_loader(encoded, size, batch_size))
        ours = cycle(make_our_loader(table, size, batch_size))
        next(usual), next(ours)
        rates = [
            (measure_rate(usual, int(usual_count * scale)), measure_rate(ours, int(our_count * scale)))
            for _ in range(rounds)
        ]
        results[name] = {
            "usual": summarize([rate for rate, _ in rates]),
            "ours": summarize([rate for _, rate in rates]),
            "speedup": summarize([ours / usual for usual, ours in rates]),
        }
    torch.set_num_threads(threads)
    return results


def measure_share(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    dataset: ImageBatches,
    batch_size: int,
    device: torch.device,
    precision: str,
    steps: int = 5,
) -> dict[str, dict[str, float]]:
    """How much of a training step is the input pipeline, when it runs in the training process.

    Args:
        model, optimizer: are trained by the steps.
        dataset: `ImageBatches`; on a GPU with its images on the device.
        batch_size: of a step.
        device, precision: of the model.
        steps: measured, after two that are not.

    Returns:
        `pipeline_seconds`, `step_seconds` (with the pipeline) and `share`, each as `summarize`d.
    """
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    compute_loss = build_loss()
    model = model.to(device, memory_format=torch.channels_last).train()
    keys = iter(cycle([list(range(i, i + batch_size)) for i in range(0, len(dataset) - batch_size + 1, batch_size)]))
    pipeline, whole = [], []
    for _ in range(steps + 2):
        synchronize()
        started = time.perf_counter()
        batch = dataset.__getitems__(next(keys))
        synchronize()
        fetched = time.perf_counter()
        with autocast(device, precision):
            outputs = model(batch["pixel_values"].to(device))
        compute_loss(outputs, batch["labels"].to(device)).backward()
        optimizer.step()
        optimizer.zero_grad()
        synchronize()
        pipeline.append(fetched - started)
        whole.append(time.perf_counter() - started)
    pipeline, whole = pipeline[2:], whole[2:]
    shares = [part / total for part, total in zip(pipeline, whole, strict=True)]
    named = {"pipeline_seconds": pipeline, "step_seconds": whole, "share": shares}
    return {name: summarize(values) for name, values in named.items()}


def measure_data(
    data_args: DataArguments,
    model_args: ModelArguments,
    recipe: RecipeArguments,
    args: TrainingArguments,
    rounds: int,
    scale: float,
) -> dict[str, object]:
    """All that `benchmark.py data` measures: `pipelines`, `training_step`, `memory`; arguments as for a recipe."""
    with track_memory() as get_memory:
        data = load_data(data_args)
        keep_freed_memory()
        model = build_cifar_cnn(model_args.model_config, data.class_names, data.image_size)
        preprocessing = choose_preprocessing(data.name, data.train, model.config.image_size)
        device = choose_data_device(args, [data.train])
        dataset = ImageBatches(data.train, ImageTransform(preprocessing, data_args, args.seed), device)
        size = min(args.per_device_train_batch_size, len(dataset))
        for start in range(0, len(dataset), size):
            dataset.__getitems__(list(range(start, min(start + size, len(dataset)))))
        memory = get_memory()
    pipelines = compare_pipelines(data.train, rounds, scale)
    optimizer = build_recipe_optimizer(model, model.classifier, args, recipe)
    step = measure_share(model, optimizer, dataset, size, args.device, get_precision(args))
    return {
        "dataset": data.name,
        "pipelines": pipelines,
        "training_step": {"batch_size": size, **step},
        "memory": {"added_bytes": memory},
    }


@contextmanager
def track_memory() -> Iterator[Callable[[], int]]:
    """Yields a function for the most bytes that this process has held, beyond what it holds now (Linux).

    Memory-mapped files count as far as they have been read.
    """
    release_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
    before = read_memory_status("VmRSS")
    yield lambda: read_memory_status("VmHWM") - before
