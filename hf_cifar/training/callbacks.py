"""Owns the callbacks that training needs beside the Trainer's own."""

import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from ..errors import UserError


class Stopwatch(TrainerCallback, ExportableState):
    """Counts a run's training seconds, those before a resume included: they travel in the checkpoints."""

    def __init__(self) -> None:
        self.seconds_before, self.started = 0.0, None

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self.seconds_before + (0.0 if self.started is None else time.perf_counter() - self.started)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Start."""
        self.started = time.perf_counter()

    def state(self) -> dict:
        """What the Trainer saves, and sets when it resumes."""
        return {"args": {}, "attributes": {"seconds_before": self.seconds}}


class BroadcastBuffers(TrainerCallback):
    """Gives every process the first one's buffers before evaluating and saving.

    Each rank's batch normalisation has seen its own images, and evaluation runs on all ranks with the bare model.
    """

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        """Before evaluation and saving by steps."""
        if control.should_evaluate or control.should_save:
            broadcast_buffers(model)

    def on_epoch_end(self, args, state, control, model=None, **kwargs) -> None:
        """Before evaluation and saving by epochs."""
        broadcast_buffers(model)


def broadcast_buffers(model: nn.Module) -> None:
    """Overwrite a model's buffers with those of rank 0, where there are several ranks."""
    if dist.is_available() and dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


class FreezeWhiteningBias(TrainerCallback):
    """Freezes the bias of a whitening stem after some epochs, and with it the gradient of the stem's output.

    Source: airbench94_muon, which trains it for 3 of 8 epochs.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs, self.frozen = epochs, []

    def on_epoch_begin(self, args, state, control, model=None, **kwargs) -> None:
        """Freeze when the time has come, also after a resume."""
        if round(state.epoch, 6) >= self.epochs and not self.frozen:
            self.frozen = find_stem_parameters(model)
            block_gradients(self.frozen)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        """What has no gradient is not updated."""
        for parameter in self.frozen:
            parameter.grad = None


def block_gradients(parameters: list[nn.Parameter]) -> list[RemovableHandle]:
    """Let parameters get no gradients from now on, and drop those that they have.

    Under DDP a parameter that was trained at the start must go on getting gradients. They become zero, so that they
    do not count in the norm that is clipped; they are to be dropped before the optimizer's step.

    Returns:
        Under DDP, what is to be removed where the parameters are trained again; else `requires_grad` says it all.
    """
    for parameter in parameters:
        parameter.grad = None
    if dist.is_available() and dist.is_initialized():
        return [parameter.register_hook(torch.zeros_like) for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(False)
    return []


def find_stem_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The trained parameters of a CifarCnn's stem, whether or not the model is wrapped for DDP."""
    stem = getattr(model, "module", model).cifar_cnn.stem
    return [parameter for parameter in stem.parameters() if parameter.requires_grad]


class DivergenceError(UserError):
    """Training diverged."""


class StopOnDivergence(TrainerCallback):
    """Stops a run whose loss or weights are no longer finite, before anything of it is saved.

    On a GPU the loss is looked at every `interval` steps and before each checkpoint, since looking waits for the GPU.
    """

    def __init__(self, interval: int = 20) -> None:
        self.interval, self.is_finite = interval, None

    def watch(self, loss: torch.Tensor) -> torch.Tensor:
        """Take note of a training loss, and pass it on."""
        finite = loss.detach().isfinite()
        self.is_finite = finite if self.is_finite is None else self.is_finite & finite
        return loss

    def check_loss(self, args, state) -> None:
        """Stop if a loss so far was not finite."""
        if self.is_finite is not None and not self.is_finite.item():
            self.stop(args, state, "loss")

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        """Look at the losses so far where that costs nothing, now and then, and before a checkpoint."""
        if args.device.type == "cpu" or state.global_step % self.interval == 0:
            self.check_loss(args, state)
        if control.should_save:
            self.on_epoch_end(args, state, control, model)

    def on_epoch_end(self, args, state, control, model=None, **kwargs) -> None:
        """Look at losses and weights before an epoch's evaluation and checkpoint.

        A last step may break weights without any loss that shows it.
        """
        self.check_loss(args, state)
        if not all(parameter.isfinite().all() for parameter in model.parameters()):
            self.stop(args, state, "network's weights")

    def stop(self, args, state, what: str) -> None:
        """Say where it happened, what to try, and what is kept."""
        checkpoints = Path(args.output_dir).glob("checkpoint-*")
        kept = max(checkpoints, key=lambda path: int(path.name.split("-")[1]), default=None)
        remedies = [
            f"a lower learning_rate (it is {args.learning_rate:g})",
            "" if args.warmup_steps else "a warm-up (warmup_steps: 0.1)",
            "" if 0 < args.max_grad_norm <= 1 else "max_grad_norm: 1",
            "bf16: false" if args.bf16 else "fp16: false" if args.fp16 else "",
        ]
        raise DivergenceError(
            f"the {what} became NaN or infinite by step {state.global_step} (epoch {state.epoch:.2f}): training "
            f"diverged. Try {', or '.join(filter(None, remedies))}; "
            + (f"the last good checkpoint is kept: {kept}" if kept else "there is no checkpoint yet")
        )
