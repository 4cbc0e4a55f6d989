"""Owns one training run: model, data and arguments in, trained model and what it cost out."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import torch
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from ..arguments import DataArguments, ModelArguments, RecipeArguments
from ..data.batches import ImageBatches, TensorBatches
from ..data.store import get_image_size, read_column, read_images
from ..data.transforms import ImageTransform, Preprocessing, ProgressiveResizing
from ..kernels.layers import restore, use_kernels
from ..models import CifarCnnForImageClassification
from ..models.loading import find_classifier
from .callbacks import Stopwatch
from .finetuning import find_learning_rate_scales, fine_tune
from .frozen import FeatureClassifier, get_features
from .hard_examples import HardExamples, build_proxy, choose_hard_examples, load_hard_examples, save_hard_examples
from .trainer import build_recipe_optimizer, build_trainer, collect_history

WHITENING_IMAGES = 5000


@dataclass
class Outcome:
    """What a training run took, its learning curves, and which of our kernels it used.

    Seconds include validation and checkpoints.
    """

    train_seconds: float
    epochs: float
    train_images_per_second: float
    feature_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    kernels: list[str] = field(default_factory=list)


def get_precision(args: TrainingArguments) -> str:
    """The precision that `args` train in: "bf16", "fp16" or "fp32"."""
    return "bf16" if args.bf16 else "fp16" if args.fp16 and args.device.type != "cpu" else "fp32"


def fit(
    model: PreTrainedModel,
    preprocessing: Preprocessing,
    train_table: datasets.Dataset,
    validation_table: datasets.Dataset | None,
    args: TrainingArguments,
    data_args: DataArguments,
    recipe: RecipeArguments,
    compute_metrics: Callable,
    cache_dir: Path,
    head_only: bool = False,
    checkpoint: str | None = None,
    from_scratch: bool = True,
    model_args: ModelArguments | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Outcome:
    """Train `model` in place; where there is validation, it ends with the weights of the best epoch.

    Args:
        model: a classifier.
        preprocessing: what it expects of its input.
        train_table, validation_table: image tables.
        args, data_args, recipe: the run's options.
        compute_metrics: for the Trainer.
        cache_dir: for features.
        head_only: train the classifier on cached features and nothing else.
        checkpoint: to go on from.
        from_scratch: whether the weights are fresh, so that a whitening stem is to be filled.
        model_args: how a pretrained model is fine-tuned; None trains all of it alike.
        callbacks: of the caller.
    """
    started = time.perf_counter()
    model_args = model_args or ModelArguments()
    chosen = None
    if head_only:
        trained = FeatureClassifier(model)
        with args.main_process_first(desc="computing features"):
            sets = make_feature_sets(model, preprocessing, [train_table, validation_table], args, cache_dir)
    else:
        trained = model.to(memory_format=torch.channels_last)  # from_pretrained drops it
        device = choose_data_device(args, [train_table, validation_table])
        resizing = make_resizing(recipe, args, len(train_table))
        transform = ImageTransform(preprocessing, data_args, args.seed, resizing)
        validation_set = validation_table and ImageBatches(validation_table, ImageTransform(preprocessing), device)
        sets = [ImageBatches(train_table, transform, device), validation_set]
        if from_scratch and not checkpoint and getattr(model.config, "stem", None) == "whitening":
            init_whitening(model, preprocessing, train_table)
        if recipe.hard_examples:
            chosen = get_hard_examples(model, sets[0], args, recipe, preprocessing, checkpoint)
            sets[0].chosen = chosen.rows
    kernels = [] if head_only else attach_kernels(model, args, recipe)
    feature_seconds = time.perf_counter() - started if head_only else 0.0
    head = trained.classifier if head_only else find_classifier(model)
    scales = find_learning_rate_scales(model, model_args.layer_decay)
    tuning = fine_tune(model, model_args, preprocessing.image_size)
    with contextlib.nullcontext([]) if head_only else tuning as own:
        callbacks = [*own, *callbacks]
        trainer = build_trainer(trained, head, args, recipe, *sets, compute_metrics, checkpoint, callbacks, scales)
        trainer.train(resume_from_checkpoint=checkpoint)
    restore(model)
    # A resume replaces the callbacks by those of the checkpoint.
    seconds = next(each.seconds for each in trainer.callback_handler.callbacks if isinstance(each, Stopwatch))
    images_per_epoch = len(train_table) if chosen is None else int(chosen.rows[0].sum())
    seconds += 0.0 if chosen is None else chosen.seconds
    return Outcome(
        train_seconds=seconds,
        epochs=trainer.state.epoch,
        train_images_per_second=trainer.state.epoch * images_per_epoch / seconds,
        feature_seconds=feature_seconds,
        history=collect_history(trainer.state.log_history),
        kernels=kernels,
    )


def attach_kernels(model: PreTrainedModel, args: TrainingArguments, recipe: RecipeArguments) -> list[str]:
    """Let a model train by those of our kernels that it can use, if recipe and precision allow it; their names."""
    applies = args.device.type == "cpu" and get_precision(args) == "bf16" and recipe.fast_kernels
    return use_kernels(model) if applies else []


def get_hard_examples(
    model: CifarCnnForImageClassification,
    dataset: ImageBatches,
    args: TrainingArguments,
    recipe: RecipeArguments,
    preprocessing: Preprocessing,
    checkpoint: str | None,
) -> HardExamples:
    """The images that each epoch trains on: those that a resumed run had chosen, or a new choice."""
    folder = Path(args.output_dir)
    kept = load_hard_examples(folder) if checkpoint else None
    if kept is not None:
        return kept
    proxy = build_proxy(model, recipe).to(args.device, memory_format=torch.channels_last)
    if proxy.config.stem == "whitening":
        init_whitening(proxy, preprocessing, dataset.table)
    attach_kernels(proxy, args, recipe)
    optimizer = build_recipe_optimizer(proxy, find_classifier(proxy), args, recipe)
    chosen = choose_hard_examples(proxy, optimizer, dataset, args, recipe, get_precision(args))
    if args.process_index == 0:
        save_hard_examples(folder, chosen)
    return chosen


def make_resizing(recipe: RecipeArguments, args: TrainingArguments, num_images: int) -> ProgressiveResizing | None:
    """The run's progressive resizing, if it has one."""
    if not recipe.progressive_resizing:
        return None
    sizes = tuple((float(share), size) for share, size in recipe.progressive_resizing.items())
    batch_size = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
    steps_per_epoch = math.ceil(num_images / batch_size)  # the last one may be smaller
    epochs = args.max_steps / steps_per_epoch if args.max_steps > 0 else args.num_train_epochs
    return ProgressiveResizing(sizes, epochs)


def choose_data_device(args: TrainingArguments, tables: list[datasets.Dataset | None]) -> torch.device | None:
    """The GPU that keeps all images, where there is one and they fill at most a quarter of its free memory.

    With workers (`dataloader_num_workers`) the images stay in the memory-mapped table.
    """
    if args.device.type != "cuda" or args.dataloader_num_workers:
        return None
    size = sum(len(table) * get_image_size(table) ** 2 * 3 for table in tables if table is not None)
    return args.device if 4 * size <= torch.cuda.mem_get_info(args.device)[0] else None


def make_feature_sets(
    model: PreTrainedModel,
    preprocessing: Preprocessing,
    tables: list[datasets.Dataset | None],
    args: TrainingArguments,
    cache_dir: Path,
) -> list[TensorBatches | None]:
    """Features and labels of each table as datasets for the Trainer."""
    sets = []
    for table in tables:
        if table is None:
            sets.append(None)
            continue
        features = get_features(model, table, preprocessing, cache_dir, args.device, get_precision(args))
        sets.append(TensorBatches(features=features.float(), labels=torch.from_numpy(read_column(table, "label"))))
    return sets


def init_whitening(
    model: CifarCnnForImageClassification, preprocessing: Preprocessing, table: datasets.Dataset
) -> None:
    """Fill the stem from the first training images."""
    count = min(WHITENING_IMAGES, len(table))
    images = torch.from_numpy(read_images(table.select(range(count))).copy()).permute(0, 3, 1, 2)  # (N, C, H, W)
    model.cifar_cnn.init_whitening(preprocessing(images))
