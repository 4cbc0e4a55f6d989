"""Owns the callbacks that training needs beside the Trainer's own."""

import time

import torch.distributed as dist
from torch import nn
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


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
