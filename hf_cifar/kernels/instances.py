"""Owns taking a `forward` that was set on a model's instances off again."""

from collections.abc import Callable
from functools import partial

from torch import nn


def restore_forward(model: nn.Module, function: Callable) -> None:
    """Give modules whose `forward` is a `functools.partial` of `function` their class's own again."""
    for module in model.modules():
        forward = module.__dict__.get("forward")
        if isinstance(forward, partial) and forward.func is function:
            del module.forward
