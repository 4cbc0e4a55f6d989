"""Owns how a model is split into stages, from its input to its classifier."""

from timm.models import group_parameters
from torch import nn
from transformers import PreTrainedModel

from ..errors import UserError
from .loading import find_classifier


def find_stages(model: PreTrainedModel) -> list[list[str]]:
    """The names of a model's parameters by stage, from the input on; each is in one stage.

    The first stage is the stem (embeddings). One for each layer of a ViT or resolution of a CNN or Swin follows; what
    comes after the last of these (final norm, 1x1 convolution) belongs to it. The classifier is the last stage.
    timm's own grouping is taken where there is one.

    Raises:
        UserError: The model has no list of layers.
    """
    timm_model = getattr(model, "timm_model", None)
    numbers = _number_by_list(model) if timm_model is None else _number_by_timm(timm_model)
    if not numbers:
        raise UserError(
            f"{type(model).__name__} cannot be split into stages; allowed: finetune: full, head or lora, without "
            "layer_decay"
        )
    classifier = find_classifier(model)
    head_ids = {id(parameter) for parameter in classifier.parameters()} if classifier is not None else set()
    head = [name for name, parameter in model.named_parameters() if id(parameter) in head_ids]
    last = max(numbers[name] for name in head) - 1 if head else max(numbers.values())
    stages: dict[int, list[str]] = {}
    for name, _ in model.named_parameters():
        if name not in head:
            stages.setdefault(min(numbers[name], last), []).append(name)
    return [stages[number] for number in sorted(stages)] + ([head] if head else [])


def _number_by_timm(model: nn.Module) -> dict[str, int]:
    """Stages' numbers by parameters' names in the wrapper, as timm groups them; none where timm has no grouping."""
    if not hasattr(model, "group_matcher"):
        return {}
    numbers = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    return {f"timm_model.{name}": number for name, number in numbers.items()}


def _number_by_list(model: nn.Module) -> dict[str, int]:
    """Stages' numbers by parameters' names: the entries of the outermost `ModuleList` with the most parameters.

    Parameters are counted on before and after it in the order in which the model registers them, which is that of its
    forward pass in transformers' image classifiers.
    """
    sizes: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in sizes):
            sizes[name] = sum(parameter.numel() for parameter in module.parameters())
    if not any(sizes.values()):
        return {}
    chosen, number, numbers = max(sizes, key=sizes.get), 0, {}
    # PVT and PoolFormer keep what comes before each stage's layers in a list of its own.
    parent, length = chosen.rpartition(".")[0], len(model.get_submodule(chosen))
    prefixes = [
        f"{name}." for name in sizes if name.rpartition(".")[0] == parent and len(model.get_submodule(name)) == length
    ]
    is_after = False
    for name, _ in model.named_parameters():
        prefix = next((each for each in prefixes if name.startswith(each)), None)
        if prefix is not None:
            number = 1 + int(name.removeprefix(prefix).split(".")[0])
        elif number and not is_after:
            number, is_after = number + 1, True
        numbers[name] = number
    return numbers
