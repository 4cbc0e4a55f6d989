"""Owns measuring training: a recipe through the Trainer, bare loops of its network, and the usual Trainer way."""

import copy
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator

import datasets
import torch
from accelerate.state import AcceleratorState
from torch import nn
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed

from ..arguments import DataArguments, ModelArguments, RecipeArguments
from ..data.batches import ImageBatches, KeyedSampler
from ..data.split import prepare_tables
from ..data.statistics import choose_preprocessing
from ..data.table import load_data
from ..data.transforms import ImageTransform, Preprocessing
from ..errors import UserError
from ..hardware import autocast, keep_freed_memory
from ..models.loading import build_cifar_cnn, find_classifier
from ..training.fit import attach_kernels, choose_data_device, get_precision, init_whitening
from ..training.loss import build_loss
from ..training.trainer import build_recipe_optimizer, build_trainer, check_model
from .data import encode_images, make_usual_loader, summarize

USUAL_BATCH_SIZE = 8  # the Trainer's default
PLAIN, BARE, OURS, USUAL = "plain loop", "bare loop", "Trainer recipe", "usual Trainer"


class StepClock(TrainerCallback):
    """Times what lies between the end of the first step and that of the last one; a GPU is waited for only there."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self.device, self.steps, self.count = device, steps, 0
        self.started = self.ended = 0.0

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Count it."""
        self.note()

    def note(self) -> None:
        """A step has ended."""
        self.count += 1
        if self.count in (1, self.steps):
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            self.started, self.ended = self.ended, time.perf_counter()

    def get_rate(self, batch_size: int) -> float:
        """Images per second."""
        return batch_size * (self.steps - 1) / (self.ended - self.started)


@dataclasses.dataclass
class Setting:
    """What all ways of training share: a network ready to train, data, and the recipe's options."""

    model: PreTrainedModel
    dataset: str
    table: datasets.Dataset
    preprocessing: Preprocessing
    args: TrainingArguments
    data_args: DataArguments
    recipe: RecipeArguments

    def make_model(self, fast_kernels: bool) -> PreTrainedModel:
        """A copy of the network, ready to train, with our kernels where the recipe would use them."""
        model = copy.deepcopy(self.model).to(self.args.device, memory_format=torch.channels_last).train()
        if fast_kernels:
            attach_kernels(model, self.args, self.recipe)
        return model

    def make_dataset(self, size: int | None = None) -> ImageBatches:
        """The training set as a recipe has it, at `size` pixels; default: the full size."""
        preprocessing = dataclasses.replace(self.preprocessing, image_size=size or self.preprocessing.image_size)
        transform = ImageTransform(preprocessing, self.data_args, self.args.seed)
        return ImageBatches(self.table, transform, choose_data_device(self.args, [self.table]))


def run_loop(setting: Setting, steps: int, fast_kernels: bool, size: int | None = None) -> float:
    """Images per second of the shortest loop that trains the same network on the same batches by the same step."""
    model, dataset = setting.make_model(fast_kernels), setting.make_dataset(size)
    clock = StepClock(setting.args.device, steps)
    optimizer = build_recipe_optimizer(model, find_classifier(model), setting.args, setting.recipe)
    compute_loss = build_loss(setting.args.label_smoothing_factor)
    batch_size = setting.args.train_batch_size
    for keys in itertools.islice(cycle_keys(dataset, setting.args.seed, batch_size), steps):
        train_step(model, optimizer, compute_loss, dataset.__getitems__(keys), setting.args)
        clock.note()
    return clock.get_rate(batch_size)


def cycle_keys(dataset: ImageBatches, seed: int, batch_size: int) -> Iterator[list[int]]:
    """Full batches of keys, epoch after epoch."""
    sampler = KeyedSampler(len(dataset), seed)
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        keys = list(sampler)
        yield from (keys[i : i + batch_size] for i in range(0, len(keys) - batch_size + 1, batch_size))


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    compute_loss: Callable,
    batch: dict[str, torch.Tensor],
    args: TrainingArguments,
) -> None:
    """Forward, backward, clipping where the recipe clips, update."""
    with autocast(args.device, get_precision(args)):
        outputs = model(batch["pixel_values"].to(args.device))
    compute_loss(outputs, batch["labels"].to(args.device)).backward()
    if args.max_grad_norm > 0:
        nn.utils.clip_grad_norm_(model.parameters(), args.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()


def run_recipe(setting: Setting, steps: int) -> float:
    """Images per second of the recipe through the Trainer, at the full size, without evaluation and checkpoints."""
    AcceleratorState._reset_state()  # it keeps the precision of the first Trainer in a process
    model, clock = setting.make_model(fast_kernels=True), StepClock(setting.args.device, steps)
    recipe = dataclasses.replace(setting.recipe, progressive_resizing=None)
    with tempfile.TemporaryDirectory() as folder:
        args = copy.copy(setting.args)
        args.output_dir, args.max_steps, args.save_strategy, args.disable_tqdm = folder, steps, "no", True
        trainer = build_trainer(
            model, find_classifier(model), args, recipe, setting.make_dataset(), None, lambda prediction: {}
        )
        trainer.add_callback(clock)
        trainer.train()
    return clock.get_rate(args.train_batch_size)


def run_usual(setting: Setting, steps: int, encoded: datasets.Dataset) -> float:
    """Images per second as the examples train: PNG column, a transform per image, fp32, batches of 8, AdamW."""
    AcceleratorState._reset_state()
    clock = StepClock(setting.args.device, steps)
    loader = make_usual_loader(encoded, setting.preprocessing.image_size, USUAL_BATCH_SIZE)
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder, max_steps=steps, per_device_train_batch_size=USUAL_BATCH_SIZE, save_strategy="no",
            report_to="none", remove_unused_columns=False, disable_tqdm=True, use_cpu=setting.args.use_cpu,
        )  # fmt: skip
        model = copy.deepcopy(setting.model)
        trainer = Trainer(
            model, args, data_collator=loader.collate_fn, train_dataset=loader.dataset, callbacks=[clock]
        )
        trainer.train()
    return clock.get_rate(USUAL_BATCH_SIZE)


def make_setting(
    data_args: DataArguments, model_args: ModelArguments, recipe: RecipeArguments, args: TrainingArguments
) -> Setting:
    """The setting that a recipe of a CifarCnn describes.

    Raises:
        UserError: Its options do not fit one another, the data, or the benchmark.
    """
    if model_args.model_name_or_path is not None:
        raise UserError(
            "model_name_or_path: the benchmark measures a CifarCnn; leave it out, or see benchmark.py transfer"
        )
    data = load_data(data_args)
    keep_freed_memory()
    train, _ = prepare_tables(data.train, data_args)
    set_seed(args.seed)
    model = build_cifar_cnn(model_args.model_config, data.class_names, data.image_size)
    preprocessing = choose_preprocessing(data.name, train, model.config.image_size)
    check_model(model, preprocessing, args, data_args, recipe, data.image_size, head_only=False)
    setting = Setting(model, data.name, train, preprocessing, args, data_args, recipe)
    check_setting(setting)
    if model.config.stem == "whitening":
        init_whitening(model, preprocessing, train)
    return setting


def check_setting(setting: Setting) -> None:
    """Refuse what the bare loop would not do as the Trainer does.

    Raises:
        UserError: Full batches cannot be had, or gradients are accumulated.
    """
    size, count = setting.args.train_batch_size, len(setting.table)
    if size > count:
        raise UserError(
            f"per_device_train_batch_size={size} is more than the {count:,} training images; give {count} or less"
        )
    if setting.args.gradient_accumulation_steps > 1:
        raise UserError("gradient_accumulation_steps: the bare loop does not accumulate; leave it out")


def compare_training(setting: Setting, rounds: int = 5, steps: int = 4, usual_steps: int = 25) -> dict[str, object]:
    """Images/s of all ways, in alternation, so that a noisy machine is fair to them all.

    Args:
        setting: of the recipe.
        rounds: how often each way is measured; one round more, the first, warms up and is dropped.
        steps, usual_steps: of each measurement; the first one is not counted.

    Returns:
        `dataset`, `batch_size`. `ways`: images/s; `overhead`: of the Trainer over the bare loop, a share, from the
        ratios within rounds; `speedup`: of the recipe over the plain loop and over the usual way; all `summarize`d.
        `sizes`: images/s of the bare loop by image size, medians. `flops_per_image`, of forward and backward.
        `matmul_flops`: the machine's, per second, in the recipe's precision.
    """
    encoded = encode_images(setting.table, 1000)
    ways = {
        PLAIN: lambda: run_loop(setting, steps, fast_kernels=False),
        BARE: lambda: run_loop(setting, steps, fast_kernels=True),
        OURS: lambda: run_recipe(setting, steps),
        USUAL: lambda: run_usual(setting, usual_steps, encoded),
    }
    rates = [{name: run() for name, run in ways.items()} for _ in tqdm(range(rounds + 1), desc="Rounds")][1:]
    full_size = setting.preprocessing.image_size
    sizes = sorted({*setting.recipe.progressive_resizing.values(), full_size})
    by_size = [{size: run_loop(setting, steps, True, size) for size in sizes} for _ in range(rounds)]
    return {
        "dataset": setting.dataset,
        "batch_size": setting.args.train_batch_size,
        "ways": {name: summarize([each[name] for each in rates]) for name in ways},
        "overhead": summarize([each[BARE] / each[OURS] - 1 for each in rates]),
        "speedup": {name: summarize([each[OURS] / each[name] for each in rates]) for name in (PLAIN, USUAL)},
        "sizes": {str(size): summarize([each[size] for each in by_size]) for size in sizes},
        "flops_per_image": count_training_flops(setting),
        "matmul_flops": measure_matmul(setting.args),
    }


def count_training_flops(setting: Setting) -> int:
    """FLOPs of forward and backward for one image, by torch's counter; a multiply-add counts two."""
    model, counter = setting.make_model(fast_kernels=False).float(), FlopCounterMode(display=False)
    size = setting.preprocessing.image_size
    images = torch.zeros(2, 3, size, size, device=setting.args.device)
    with counter:
        model(images).logits.sum().backward()
    return counter.get_total_flops() // len(images)


def measure_matmul(args: TrainingArguments, repeats: int = 10) -> dict[str, float]:
    """FLOPs per second of a square matrix product in the recipe's precision, `summarize`d."""
    size = 2048 if args.device.type == "cpu" else 8192  # under a second, and long against a launch
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[get_precision(args)]
    a, rates = torch.randn(size, size, device=args.device).to(dtype), []
    for _ in range(repeats):
        clock = StepClock(args.device, 3)
        for _ in range(3):
            a @ a
            clock.note()
        rates.append(clock.get_rate(2 * size**3))
    return summarize(rates)


def profile_step(setting: Setting, rows: int = 25) -> str:
    """A table of the operators of a training step, by their own time on the device."""
    model, dataset = setting.make_model(fast_kernels=True), setting.make_dataset()
    optimizer = build_recipe_optimizer(model, find_classifier(model), setting.args, setting.recipe)
    compute_loss = build_loss(setting.args.label_smoothing_factor)
    keys = cycle_keys(dataset, setting.args.seed, setting.args.train_batch_size)
    train_step(model, optimizer, compute_loss, dataset.__getitems__(next(keys)), setting.args)
    with profile(record_shapes=True) as profiler:
        train_step(model, optimizer, compute_loss, dataset.__getitems__(next(keys)), setting.args)
    order = "self_cuda_time_total" if setting.args.device.type == "cuda" else "self_cpu_time_total"
    return profiler.key_averages(group_by_input_shape=True).table(
        sort_by=order, row_limit=rows, max_name_column_width=40, max_shapes_column_width=60
    )
