"""Owns the callbacks that training needs beside the Trainer's own."""

import torch.distributed as dist
from transformers import TrainerCallback


class BroadcastBuffers(TrainerCallback):
    """Gives every process the first one's buffers before evaluating and saving.

    Each rank's batch normalisation has seen its own images, and evaluation runs on all ranks with the bare model.
    """

    def on_epoch_end(self, args, state, control, model=None, **kwargs) -> None:
        """Epoch ends come before evaluation and saving."""
        if dist.is_available() and dist.is_initialized():
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)
