"""Owns low-rank updates: where they are added, and how they are merged into the weights again."""

from collections import Counter

import torch
from peft import LoraConfig, LoraModel
from timm.layers import Conv2dSame
from torch import nn
from transformers import PreTrainedModel

from ..arguments import ModelArguments
from ..errors import UserError
from ..models.loading import find_classifier


def add_lora(model: PreTrainedModel, args: ModelArguments, image_size: int) -> LoraModel:
    """Put low-rank updates (Hu et al. 2021) into a model's layers, in place, and freeze all else but the classifier.

    The model keeps its class, so the Trainer saves and loads all of it. The updates start at zero.

    Args:
        model: a classifier.
        args: rank, alpha, dropout and targets.
        image_size: that the model takes, in pixels.

    Returns:
        What `merge_and_unload` is called on when training is over.
    """
    config = LoraConfig(
        r=args.lora_rank,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=find_targets(model, args.lora_targets, image_size),
    )
    trained = [parameter for parameter in find_classifier(model).parameters() if parameter.requires_grad]
    tuner = LoraModel(model, config, "default")
    for parameter in trained:
        parameter.requires_grad_(True)
    return tuner


def find_targets(model: PreTrainedModel, endings: list[str] | None, image_size: int) -> list[str]:
    """The names of the layers that get an update.

    Args:
        model: a classifier.
        endings: of names, whole parts of them, as "q_proj" or "mlp.fc1". By default all linear layers of the
            backbone; where it has none, all its convolutions without groups.
        image_size: that the model takes, in pixels.

    Raises:
        UserError: There is no layer of that name, or it cannot be updated, or the model has no known classifier.
    """
    head = find_classifier(model)
    if head is None:
        raise UserError(f"finetune=lora: {type(model).__name__} has no `classifier` module; use finetune: full")
    inside_head = {id(module) for module in head.modules()}
    modules = {name: module for name, module in model.named_modules() if id(module) not in inside_head}
    fitting = {name: modules[name] for name in find_called(model, image_size) if is_fitting(modules.get(name))}
    if endings is None:
        linear = [name for name, module in fitting.items() if isinstance(module, nn.Linear)]
        if not fitting:
            raise UserError(f"finetune=lora: {type(model).__name__} has no layers for it; use finetune: full")
        return linear or list(fitting)
    targets = []
    for ending in endings:
        named = [name for name in modules if f".{name}".endswith(f".{ending}")]
        if not named or any(name not in fitting for name in named):
            known = ", ".join(part for part, _ in Counter(name.split(".")[-1] for name in fitting).most_common(12))
            what = "cannot be updated" if named else "names no layer of the backbone"
            raise UserError(f"lora_targets: {ending!r} {what}; allowed: linear layers, convolutions, as {known}")
        targets += named
    return sorted(set(targets))


def is_fitting(module: nn.Module | None) -> bool:
    """Whether an update of this layer can be merged: subclasses may change what their weights mean, groups cannot."""
    if type(module) in (nn.Conv2d, Conv2dSame):
        return module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    return type(module) is nn.Linear


def find_called(model: PreTrainedModel, image_size: int) -> list[str]:
    """The names of the layers that a forward pass calls, in the model's order.

    Some models use a layer's weights without calling it, as BEiT's queries in timm; an update of such a layer would
    never be trained.
    """
    called, was_training = set(), model.training
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.add(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    device = next(model.parameters()).device
    try:
        with torch.no_grad():  # inference_mode would leave tensors in caches that training cannot use
            model.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    return [name for name, _ in model.named_modules() if name in called]
