"""Owns what a training needs: a folder to write to, memory for a step, disk for checkpoints, images in time."""

import math
import statistics
import time
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

from ..errors import UserError
from ..training.run_folder import check_run_folder
from .environment import check_disk, check_memory, measure_free_memory
from .findings import Finding
from .subject import Batch, Subject, Trial, start_trial


def check_run_target(subject: Subject) -> Finding:
    """Whether train.py would write to `output_dir`."""
    why = "train.py refuses to write over a run or other files"
    folder = subject.args.output_dir
    if folder is None:
        return Finding("run folder", "ok", "none given yet; train.py needs --output_dir", why)
    try:
        check_run_folder(Path(folder), subject.recipe.overwrite_run, subject.args.resume_from_checkpoint)
    except UserError as error:
        return Finding("run folder", "warn", str(error), why, "as it says", entry="finished-run")
    return Finding("run folder", "ok", f"{folder} can be written", why)


def check_loader(subject: Subject) -> Finding:
    """The share of a step that fetching and augmenting its images takes; also sets the checks' batch size."""
    batches, size = subject.make_batches("train", augment=True), min(32, subject.batch_size)
    fetching, stepping = [], []
    with start_trial(subject) as trial:
        for number in range(4):
            rows = subject.draw_rows("train", size, start=number * size)
            started = time.perf_counter()
            batch = batches.__getitems__(rows)
            fetched = time.perf_counter()
            trial.step(batch)
            fetching.append(fetched - started)
            stepping.append(time.perf_counter() - fetched)
    fetch, step = (statistics.median(times[1:]) for times in (fetching, stepping))
    share = fetch / (fetch + step) / max(1, subject.args.dataloader_num_workers)
    # Steps of half a second at most, so that the checks stay a matter of a minute or two.
    subject.batch_size = int(min(subject.batch_size, max(8, 0.5 / step * size)))
    return Finding(
        "data loading",
        "warn" if share > 0.25 else "ok",
        f"{share:.1%} of a step; images/s: {size / (fetch + step):,.0f} in training, {size / fetch:,.0f} fetched",
        "while images are fetched and augmented in the training's own process, nothing is trained",
        "dataloader_num_workers: 2, a lighter augmentation, or storage_size nearer to the model's input",
        entry="slow-data",
        numbers={"share": share, "images_per_second": size / (fetch + step)},
    )


def check_memory_need(subject: Subject) -> Finding:
    """Memory for a step of the config's batch: weights, gradients, optimizer, and what the backward pass needs.

    Within a third of the growth that was measured in steps of cnn/fast, cnn/baseline and efficientnet/lite0.
    """
    with start_trial(subject) as trial:
        few, many = (measure_kept(trial, subject.fetch(count)) for count in (4, 8))
        trained = sum(parameter.numel() for parameter in trial.parameters)
    per_image = (many - few) / 4  # the rest, as copies of weights in bf16, does not grow with the batch
    weights = sum(parameter.numel() for parameter in subject.model.parameters())
    batch_size = subject.args.train_batch_size
    # Gradients and up to two states of the optimizer; a third for gradients of activations and for scratch.
    need = 4 * weights + 4 * 3 * trained + few - 4 * per_image + 1.33 * per_image * batch_size
    is_gpu = subject.args.device.type == "cuda"
    free = torch.cuda.mem_get_info(subject.args.device)[0] if is_gpu else measure_free_memory()
    return check_memory(need, f"a step of {batch_size:,} images", free)


def measure_kept(trial: Trial, batch: Batch) -> int:
    """Bytes of all tensors, but for the weights, that a forward pass keeps for the backward pass."""
    sizes: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in trial.network.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        loss, _ = trial.forward(batch)  # held, lest memory be used again and its place be counted once
    del loss
    return sum(size for place, size in sizes.items() if place not in weights)


def check_disk_need(subject: Subject) -> Finding:
    """Disk for the checkpoints of a run and what it leaves: weights, and two states of the optimizer for each."""
    parameters = 4 * sum(parameter.numel() for parameter in subject.model.parameters())
    keeps = (subject.args.save_total_limit or math.ceil(subject.args.num_train_epochs)) + 1
    need = 1.1 * parameters * (1 + 3 * keeps) + 50e6
    folder = Path(subject.args.output_dir or "runs")
    return check_disk(folder, need, f"{keeps} checkpoints and the run folder")
