"""Owns the moving average of weights, and how it travels in checkpoints."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

from ..errors import UserError
from ..files import write_then_rename


class WeightAverage(TrainerCallback):
    """Exponential moving average of weights and running statistics, which is what is evaluated, saved and published.

    Between an epoch's last step and the next one's first, the model holds the average, and this object the weights
    that are trained; both are in a checkpoint, the latter as `FILE_NAME`.

    Source: Polyak & Juditsky 1992; Tarvainen & Valpola 2017 for the exponential form. The decay is ramped up as
    (1 + step) / (10 + step), so that the first random weights are forgotten.

    Args:
        decay: weight of the average in each step's update.
        checkpoint: the folder of the checkpoint that training resumes from.
    """

    FILE_NAME = "trained_weights.safetensors"

    def __init__(self, decay: float, checkpoint: str | None = None) -> None:
        self.decay, self.checkpoint = decay, checkpoint
        self.other: dict[str, torch.Tensor] = {}  # the average; while `is_swapped`, the trained weights
        self.is_swapped = False

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        """Start from the initial weights, or from the checkpoint's two sets."""
        self.other = {name: value.clone() for name, value in get_tensors(model).items()}
        if self.checkpoint is not None:
            path = Path(self.checkpoint) / self.FILE_NAME
            if not path.is_file():
                raise UserError(f"{self.checkpoint} has no {self.FILE_NAME}; resume from another, or set ema_decay: 0")
            trained = load_file(path)
            for name, value in get_tensors(model).items():
                value.copy_(trained[name])

    def on_step_begin(self, args, state, control, model=None, **kwargs) -> None:
        """Go on with the trained weights."""
        self.swap(model, average=False)

    @torch.no_grad()
    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        """Update the average, and show it where it is due."""
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        tensors = get_tensors(model)
        torch._foreach_lerp_([self.other[name] for name in tensors], list(tensors.values()), 1 - decay)
        self.swap(model, average=control.should_evaluate or control.should_save)

    def on_epoch_end(self, args, state, control, model=None, **kwargs) -> None:
        """Show the average."""
        self.swap(model, average=True)

    def on_save(self, args, state, control, model=None, **kwargs) -> None:
        """Add the trained weights to a checkpoint, whose model is the average."""
        if state.is_world_process_zero:
            tensors = {name: value.contiguous() for name, value in self.other.items()}  # channels_last cannot be saved
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / self.FILE_NAME
            with write_then_rename(path) as temporary:
                save_file(tensors, temporary)

    @torch.no_grad()
    def swap(self, model: nn.Module, average: bool) -> None:
        """Make the model hold the average, or the trained weights."""
        if self.is_swapped == average:
            return
        for name, value in get_tensors(model).items():
            kept = value.clone()
            value.copy_(self.other[name])
            self.other[name].copy_(kept)
        self.is_swapped = average


def get_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The floating-point parameters and buffers of a model, without gradients, whether or not wrapped for DDP."""
    return {
        name: value.detach()
        for name, value in getattr(model, "module", model).state_dict().items()
        if value.is_floating_point()
    }
