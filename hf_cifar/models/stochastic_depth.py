"""Owns the stochastic depth (drop path) of pretrained models, whose rate is a matter of their config."""

import timm
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import UserError


def set_drop_path(config: PreTrainedConfig, rate: float) -> None:
    """Ask for a rate before the model is built; `check_drop_path` tells whether it has any use for it.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth". The rate is the deepest block's; whether earlier
    ones have less is up to the architecture.

    Raises:
        UserError: timm's architecture takes no rate.
    """
    if config.model_type == "timm_wrapper":
        options = {**(config.model_args or {}), "drop_path_rate": rate}
        try:
            with torch.device("meta"):
                timm.create_model(config.architecture, **options)
        except TypeError as error:  # an unexpected keyword
            raise UserError(_explain_none(config.architecture, rate)) from error
        config.model_args = options
    elif isinstance(getattr(config, "drop_path_rate", None), (int, float)):
        config.drop_path_rate = rate


def check_drop_path(model: PreTrainedModel, rate: float) -> None:
    """Check that a model that was built for a rate drops paths, or that it drops none if that is 0.

    Raises:
        UserError: It does not.
    """
    if (max(find_drop_rates(model), default=0) > 0) != (rate > 0):
        raise UserError(_explain_none(type(model).__name__, rate))


def find_drop_rates(model: PreTrainedModel) -> list[float]:
    """The probability of each drop-path layer, in transformers' and timm's models."""
    layers = [module for module in model.modules() if type(module).__name__.endswith("DropPath")]
    return [float(layer.drop_prob or 0) for layer in layers]


def _explain_none(architecture: str, rate: float) -> str:
    return (
        f"drop_path={rate:g}: {architecture} has no stochastic depth that can be set so; leave drop_path out, or take "
        "a model that has it, as ConvNeXt, Swin, DINOv2, EfficientNet or timm's ViT"
    )
