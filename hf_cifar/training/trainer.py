"""Owns how the stock Trainer is put together."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from ..arguments import DataArguments, ModelArguments, RecipeArguments
from ..data.transforms import Preprocessing, check_augmentation, collate_whole_batch
from ..errors import UserError
from ..hardware import choose_precision
from ..models.loading import check_image_size, find_classifier
from .averaging import WeightAverage
from .callbacks import BroadcastBuffers, FreezeWhiteningBias, StopOnDivergence, Stopwatch
from .companion import Companion
from .finetuning import check_fine_tuning
from .hard_examples import build_proxy
from .keyed_trainer import KeyedTrainer
from .loss import build_loss
from .optimizers import build_optimizer, check_overrides
from .tracking import check_trackers

METRICS = ("accuracy", "macro_f1", "loss")  # what `metric_for_best_model` may name


def get_training_defaults() -> dict[str, object]:
    """Our defaults for `TrainingArguments`: every epoch evaluated, the best kept, precision by hardware."""
    precision = choose_precision()
    return {
        "output_dir": None,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_strategy": "epoch",
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "accuracy",
        "restore_callback_states_from_checkpoint": True,  # early stopping's patience survives a resume
        "remove_unused_columns": False,  # the transform needs them all
        "label_names": ["labels"],
        "report_to": "none",
        "logging_nan_inf_filter": False,  # it waits for a GPU in every step; StopOnDivergence looks at the loss
        "seed": 0,
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,
        "use_cpu": not torch.accelerator.is_available(),
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
    }


def check_options(args: TrainingArguments, recipe: RecipeArguments, has_validation: bool) -> None:
    """Refuse what training would stumble over later or silently ignore, before anything is written.

    Raises:
        UserError: With the value, what is allowed and the remedy.
    """
    check_overrides(recipe.parameter_groups, recipe.optimizer)
    check_trackers(args.report_to)
    for name, lowest in (
        ("per_device_train_batch_size", 1),
        ("per_device_eval_batch_size", 1),
        ("learning_rate", 0),
        ("seed", 0),
    ):
        if getattr(args, name) < lowest:
            raise UserError(f"{name}={getattr(args, name)} is out of range; allowed: {lowest} or more")
    if args.num_train_epochs <= 0 and args.max_steps <= 0:
        raise UserError(f"num_train_epochs={args.num_train_epochs} is out of range; allowed: above 0")
    if args.metric_for_best_model.removeprefix("eval_") not in METRICS:
        raise UserError(f"metric_for_best_model={args.metric_for_best_model!r}; allowed: {', '.join(METRICS)}")
    if has_validation and recipe.early_stopping_patience and not args.load_best_model_at_end:
        raise UserError(
            "early stopping needs load_best_model_at_end=true (and eval_strategy as save_strategy); or set "
            "early_stopping_patience: 0"
        )
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    for name, remedy in (("optim", "see optimizer"), ("train_sampling_strategy", "the order is keyed")):
        value = getattr(args, name, None)
        if value != defaults.get(name):
            raise UserError(f"{name}={getattr(value, 'value', value)} would be ignored; leave it out ({remedy})")
    if args.dataloader_drop_last:
        raise UserError("dataloader_drop_last=true would drop validation images too; leave it out")


def check_model(
    model: PreTrainedModel,
    preprocessing: Preprocessing,
    args: TrainingArguments,
    data_args: DataArguments,
    recipe: RecipeArguments,
    stored_size: int,
    head_only: bool,
    model_args: ModelArguments | None = None,
) -> None:
    """Refuse what this model cannot do, or what does not fit images stored at `stored_size` pixels.

    `model_args` say how a pretrained model is fine-tuned.

    Raises:
        UserError: With the remedy.
    """
    check_augmentation(data_args, stored_size, head_only)
    if args.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise UserError(f"gradient_checkpointing=true: {type(model).__name__} does not support it; leave it out")
    if recipe.whitening_bias_epochs is not None and (head_only or getattr(model.config, "stem", None) != "whitening"):
        raise UserError("whitening_bias_epochs: no whitening stem is trained here; leave it out")
    if sizes := list(recipe.progressive_resizing.values()):
        if head_only:
            raise UserError("progressive_resizing: frozen features have one size; leave it out")
        if sizes[-1] != preprocessing.image_size:
            raise UserError(
                f"progressive_resizing ends at {sizes[-1]} pixels; the last must be the model's input size, "
                f"{preprocessing.image_size}"
            )
        try:
            check_image_size(model, min(sizes))
        except UserError as error:
            raise UserError(f"progressive_resizing: {error}; or start with larger images") from error
    if recipe.hard_examples and getattr(model.config, "model_type", None) != "cifar_cnn":
        raise UserError("hard_examples: the small network is a CifarCnn's sibling, and none is trained; leave it out")
    if recipe.hard_examples and args.max_steps <= 0 and args.num_train_epochs % 1:
        raise UserError(f"num_train_epochs={args.num_train_epochs:g} is not whole, which hard_examples needs")
    if recipe.hard_examples:
        build_proxy(model, recipe)  # refuses what makes no network
    if head_only and find_classifier(model) is None:
        raise UserError(f"finetune=head: {type(model).__name__} has no `classifier` module; use finetune: full")
    if model_args is not None and model_args.model_name_or_path is not None:
        check_fine_tuning(model, model_args, args, recipe, preprocessing.image_size)


def build_recipe_optimizer(
    model: nn.Module,
    head: nn.Module | None,
    args: TrainingArguments,
    recipe: RecipeArguments,
    lr_scales: dict[str, float] | None = None,
) -> torch.optim.Optimizer:
    """The optimizer that a run's options describe; arguments as for `build_trainer`."""
    return build_optimizer(
        model,
        head,
        recipe.optimizer,
        lr=args.learning_rate,
        weight_decay=args.weight_decay,
        momentum=recipe.momentum,
        betas=(args.adam_beta1, args.adam_beta2),
        eps=args.adam_epsilon,
        parameter_groups=recipe.parameter_groups,
        lr_scales=lr_scales,
    )


def build_trainer(
    model: nn.Module,
    head: nn.Module | None,
    args: TrainingArguments,
    recipe: RecipeArguments,
    train_set: Dataset,
    validation_set: Dataset | None,
    compute_metrics: Callable,
    checkpoint: str | None = None,
    callbacks: Iterable[TrainerCallback] = (),
    lr_scales: dict[str, float] | None = None,
) -> Trainer:
    """The Trainer for one run.

    Args:
        model: what is trained; its forward returns a mapping with `logits`.
        head: the classifier inside it, a parameter group of its own; None where it is not known.
        args: as parsed. Without a validation set, evaluation, best-epoch selection and early stopping are turned off.
        recipe: optimizer and early stopping.
        train_set, validation_set: `KeyedDataset`s.
        compute_metrics: from `EvalPrediction` to named numbers; `metric_for_best_model` among them.
        checkpoint: that training will resume from.
        callbacks: called before the others.
        lr_scales: what to multiply learning rates by, for every parameter by name; see `build_optimizer`.
    """
    if validation_set is None:
        args.eval_strategy, args.load_best_model_at_end = IntervalStrategy.NO, False
    divergence, loss = StopOnDivergence(), build_loss(args.label_smoothing_factor)
    companion = Companion(loss) if recipe.companion else None

    def compute_loss(*inputs, **options) -> torch.Tensor:
        value = loss(*inputs, **options)
        if companion is not None and torch.is_grad_enabled():
            companion.watch(value, *inputs)
        return divergence.watch(value) if torch.is_grad_enabled() else value

    callbacks = [*callbacks, Stopwatch()]
    if companion is not None:
        callbacks.append(companion)  # before what stops a run, which it may have seen coming
        compute_metrics = companion.watch_predictions(compute_metrics)
    callbacks.append(divergence)
    if recipe.whitening_bias_epochs is not None:
        callbacks.append(FreezeWhiteningBias(recipe.whitening_bias_epochs))
    if recipe.ema_decay:
        callbacks.append(WeightAverage(recipe.ema_decay, checkpoint))
    if recipe.early_stopping_patience and validation_set is not None:
        callbacks.append(EarlyStoppingCallback(recipe.early_stopping_patience))
    callbacks.append(BroadcastBuffers())  # last: what it broadcasts is what is evaluated, the average if there is one
    # The loss below takes num_items_in_batch itself; many models accept it and ignore it, which inflates gradients.
    model.accepts_loss_kwargs = False
    return KeyedTrainer(
        model=model,
        args=args,
        train_dataset=train_set,
        eval_dataset=validation_set,
        data_collator=collate_whole_batch,
        compute_metrics=compute_metrics,
        compute_loss_func=compute_loss,
        optimizers=(build_recipe_optimizer(model, head, args, recipe, lr_scales), None),
        callbacks=callbacks,
    )


def collect_history(log_history: list[dict]) -> list[dict[str, float]]:
    """The Trainer's log, one entry per epoch: epoch, loss, learning_rate, validation_loss, validation_accuracy ..."""
    epochs: dict[float, dict[str, float]] = {}
    for entry in log_history:
        if "loss" in entry or "eval_loss" in entry:
            row = epochs.setdefault(entry["epoch"], {"epoch": entry["epoch"]})
            row |= {key: entry[key] for key in ("loss", "learning_rate") if key in entry}
            row |= {
                key.replace("eval_", "validation_"): value
                for key, value in entry.items()
                if key.startswith("eval_") and not key.endswith(("_runtime", "_per_second"))
            }
    # JSON has no NaN; what a diverged epoch leaves out shows as a gap in the curve.
    return [{key: value for key, value in row.items() if math.isfinite(value)} for row in epochs.values()]
