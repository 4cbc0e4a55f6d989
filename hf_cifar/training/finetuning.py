"""Owns the ways to fine-tune: which parameters are trained, and which parts stay as they are."""

import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from ..arguments import ModelArguments, RecipeArguments
from ..errors import UserError
from ..models import CifarCnnForImageClassification
from ..models.stages import find_stages
from .callbacks import block_gradients


@contextmanager
def fine_tune(model: PreTrainedModel, args: ModelArguments, image_size: int) -> Iterator[list[TrainerCallback]]:
    """Within this context, a model is set up for the way of fine-tuning that `args` name, other than `head`.

    Parameters that needed no gradient before never get one. When it ends, the model is an ordinary one again, with
    low-rank updates merged into its weights.

    Args:
        model: a classifier; changed in place.
        args: the way and its options.
        image_size: that the model takes, in pixels.

    Yields:
        Callbacks for the Trainer.

    Raises:
        UserError: The model has no stages, layers or batch normalisation where they are needed.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    frozen = find_frozen_names(model, args.trained_stages) if args.finetune == "last_stages" else []
    tuner = None
    try:
        if args.finetune == "lora":
            from .lora import add_lora  # peft takes its time to import

            tuner = add_lora(model, args, image_size)
        # transformers' DINOv2 has one that images without masks never meet; DDP waits for its gradient.
        frozen += [name for name, _ in model.named_parameters() if name.endswith("mask_token")]
        for name in frozen:
            model.get_parameter(name).requires_grad_(False)
        hold_in_evaluation(find_frozen_modules(model, set(frozen)))
        if args.freeze_bn or args.finetune == "lora":
            norms = find_batch_norms(model)
            for norm in norms:
                for parameter in norm.parameters(recurse=False):
                    parameter.requires_grad_(False)
            hold_in_evaluation(norms)
        yield [GradualUnfreezing(model, args.unfreeze_epochs)] if args.finetune == "gradual" else []
    finally:
        release(model.modules())
        if tuner is not None:
            tuner.merge_and_unload()
        for parameter in trained:
            parameter.requires_grad_(True)


def check_fine_tuning(
    model: PreTrainedModel, args: ModelArguments, training: TrainingArguments, recipe: RecipeArguments, image_size: int
) -> None:
    """Refuse a way of fine-tuning that this model cannot go, or that another option contradicts.

    Raises:
        UserError: With the remedy.
    """
    if args.finetune == "last_stages":
        find_frozen_names(model, args.trained_stages)
    elif args.finetune == "gradual" or args.layer_decay < 1:
        find_stages(model)
    if args.freeze_bn and not find_batch_norms(model):
        raise UserError(f"freeze_bn=true: {type(model).__name__} has no batch normalisation here; leave it out")
    epochs = training.num_train_epochs
    if args.finetune == "gradual" and training.max_steps <= 0 and args.unfreeze_epochs >= epochs:
        raise UserError(
            f"unfreeze_epochs={args.unfreeze_epochs:g}: in {epochs:g} epochs nothing but the classifier would be "
            "trained; give a smaller one, or finetune: head"
        )
    if args.finetune == "lora":
        from .lora import find_targets

        find_targets(model, args.lora_targets, image_size)
        optimizers = [recipe.optimizer, *(group.get("optimizer") for group in recipe.parameter_groups.values())]
        if "muon" in optimizers:
            raise UserError("optimizer=muon normalizes filters, and low-rank updates start at zero; use adamw or sgd")
    if recipe.whitening_bias_epochs is not None and args.finetune != "full":
        raise UserError(f"whitening_bias_epochs: finetune={args.finetune} decides on the stem; leave it out")
    if training.gradient_checkpointing:
        check_gradient_checkpointing(model, args, training)


def check_gradient_checkpointing(model: PreTrainedModel, args: ModelArguments, training: TrainingArguments) -> None:
    """Refuse gradient checkpointing where it would train something else.

    Raises:
        UserError: With the remedy.
    """
    if args.finetune == "head":
        raise UserError("gradient_checkpointing=true: finetune=head computes features once; leave it out")
    if (training.gradient_checkpointing_kwargs or {}).get("use_reentrant") and args.finetune != "full":
        raise UserError(
            f"gradient_checkpointing_kwargs use_reentrant=true: with finetune={args.finetune} the first layers' "
            "output needs no gradient, and no layer would get one; leave it out"
        )
    keeps_statistics = args.freeze_bn or args.finetune == "lora" or isinstance(model, CifarCnnForImageClassification)
    if not keeps_statistics and find_batch_norms(model):
        raise UserError(
            "gradient_checkpointing=true runs layers twice, and batch normalisation would count each batch twice; "
            "leave it out, or set freeze_bn: true"
        )


def find_frozen_names(model: PreTrainedModel, trained_stages: int) -> list[str]:
    """The names of the parameters below the last `trained_stages` stages and the classifier.

    Raises:
        UserError: There are not so many.
    """
    stages = find_stages(model)
    if trained_stages > len(stages) - 1:
        raise UserError(
            f"trained_stages={trained_stages}: below its classifier {type(model).__name__} has {len(stages) - 1} "
            f"stages, the stem included; allowed: 1 to {len(stages) - 1}"
        )
    return [name for stage in stages[: -1 - trained_stages] for name in stage]


def find_learning_rate_scales(model: PreTrainedModel, layer_decay: float) -> dict[str, float]:
    """What to multiply each parameter's learning rate by, by name: `layer_decay` to the power of its distance.

    The classifier has distance 0, the stage below it 1. Source: Bao et al. 2021, BEiT. Empty without decay.
    """
    if layer_decay == 1:
        return {}
    stages = find_stages(model)
    return {name: layer_decay**distance for distance, stage in enumerate(reversed(stages)) for name in stage}


def find_batch_norms(model: nn.Module) -> list[nn.Module]:
    """Every batch normalisation of a model, timm's with an activation included."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def find_frozen_modules(model: nn.Module, names: set[str]) -> list[nn.Module]:
    """The modules all of whose parameters are among `names`, and those without any before the first other one.

    The latter are dropouts between a stem and its layers; models register modules in the order of their forward pass.
    """
    frozen, is_before = [], True
    for prefix, module in model.named_modules():
        own = {f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters()}
        if own and own <= names or not own and is_before:
            frozen.append(module)
        elif not own & names:
            is_before = False
    return frozen


def hold_in_evaluation(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Keep modules in evaluation mode, though the Trainer calls the model's `train()` in each step.

    So the statistics of frozen batch normalisation do not move, and frozen layers drop nothing.

    Returns:
        Those that were not held before.
    """
    held = [module for module in modules if "train" not in vars(module)]
    for module in held:
        module.eval()
        module.train = types.MethodType(_stay, module)  # which a deepcopy binds to the copy
    return held


def release(modules: Iterable[nn.Module]) -> None:
    """Undo `hold_in_evaluation`; the modules stay in evaluation mode until the next `train()`."""
    for module in modules:
        if getattr(vars(module).get("train"), "__func__", None) is _stay:
            del module.train


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


class GradualUnfreezing(TrainerCallback):
    """Trains the classifier first, and one more stage after each `epochs` epochs, so at a resume too.

    The optimizer has all parameters from the start; it keeps no state of those that had no gradient yet.

    Source: Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", section 3.3.

    Raises:
        UserError: The model has no stages.
    """

    def __init__(self, model: PreTrainedModel, epochs: float) -> None:
        self.model, self.epochs, self.stages = model, epochs, find_stages(model)
        self.trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.num_trained = 0
        self.frozen: list[nn.Parameter] = []
        self.held: list[nn.Module] = []
        self.handles: list[RemovableHandle] = []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        """Freeze at the start, and unfreeze when the time has come."""
        num_trained = min(1 + int(round((state.epoch or 0) / self.epochs, 6)), len(self.stages))
        if num_trained != self.num_trained:
            self.num_trained = num_trained
            self.freeze({name for stage in self.stages[:-num_trained] for name in stage})

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        """What has no gradient is not updated, not even decayed."""
        for parameter in self.frozen:
            parameter.grad = None

    def freeze(self, names: set[str]) -> None:
        """Freeze these parameters and no others."""
        for handle in self.handles:
            handle.remove()
        for parameter in self.frozen:
            parameter.requires_grad_(True)
        release(self.held)
        self.held = hold_in_evaluation(find_frozen_modules(self.model, names))
        self.frozen = [self.model.get_parameter(name) for name in sorted(names & self.trainable)]
        self.handles = block_gradients(self.frozen)
