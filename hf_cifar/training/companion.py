"""Owns the training companion: it watches a run, says nothing while all is well, and one line where it is not."""

import logging
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import EvalPrediction, TrainerCallback

logger = logging.getLogger(__name__)

WINDOW = 20  # steps whose median time is compared
MIN_IMAGES = 10  # of a class, before it is odd that none is predicted to be of it


class Companion(TrainerCallback):
    """Warns once of each problem, with what to try and the entry of docs/troubleshooting.md.

    It only reads: weights, random numbers and the order of work are the same without it. On a GPU it looks at losses
    every `interval` steps, since looking waits for the GPU. NaN is for `StopOnDivergence`, which stops the run.

    Args:
        mean_loss: a batch's mean loss, from outputs and labels.
        interval: see above.
    """

    def __init__(self, mean_loss: Callable[..., torch.Tensor], interval: int = 20) -> None:
        self.mean_loss, self.interval = mean_loss, interval
        self.said: set[str] = set()
        self.is_main = True  # of several processes, one speaks
        self.num_classes = 0
        self.parts: list[torch.Tensor] = []  # the losses of a step's micro-batches
        self.means: list[torch.Tensor] | None = []  # the mean losses of the first logged steps' micro-batches
        self.steps: list[torch.Tensor] = []  # losses that were not looked at yet
        self.first_loss: float | None = None
        self.train_loss: float | None = None
        self.evaluations: list[tuple[float, float, float]] = []  # training loss, validation loss, accuracy
        self.spread, self.unpredicted, self.seldom = math.inf, frozenset(), frozenset()
        self.last_end: float | None = None
        self.durations: list[float] = []
        self.fastest, self.num_trained = math.inf, 0

    def warn(self, entry: str, message: str) -> None:
        """Say it, unless it was said before; `entry` names a heading of docs/troubleshooting.md."""
        if self.is_main and entry not in self.said:
            self.said.add(entry)
            logger.warning("%s; see docs/troubleshooting.md#%s", message, entry)

    @torch.no_grad()
    def watch(self, value: torch.Tensor, outputs: dict, labels: torch.Tensor) -> None:
        """Take note of a micro-batch's loss, as it is trained on, and of what it was made from."""
        self.parts.append(value.detach())
        self.num_classes = outputs["logits"].shape[-1]
        if self.means is not None:
            self.means.append(self.mean_loss(outputs, labels))

    def watch_predictions(self, compute_metrics: Callable) -> Callable:
        """`compute_metrics` that also takes note of what is predicted."""

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
            scale = max(float(np.abs(logits).max()), 1e-6)
            self.spread = float(np.ptp(logits, axis=0).max()) / scale
            counts = np.bincount(prediction.label_ids, minlength=logits.shape[-1])
            missing = set(np.flatnonzero(counts >= MIN_IMAGES).tolist()) - set(logits.argmax(-1).tolist())
            self.seldom, self.unpredicted = self.unpredicted, frozenset(missing)
            return compute_metrics(prediction)

        return compute

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Only the main process speaks; and without accumulation there is nothing to be inflated."""
        self.is_main = state.is_world_process_zero
        if args.gradient_accumulation_steps == 1:
            self.means = None

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        """What came between is no step's time."""
        self.last_end = None

    def on_save(self, args, state, control, **kwargs) -> None:
        """As for an epoch."""
        self.last_end = None

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs) -> None:
        """Look at the loss, the learning rate and the clock."""
        if self.parts:
            self.steps.append(sum(self.parts[1:], self.parts[0]))
            self.parts = []
        if self.steps and (args.device.type == "cpu" or state.global_step % self.interval == 0):
            losses = [args.world_size * loss for loss in torch.stack(self.steps).tolist()]
            self.steps = []
            self.check_explosion(args, state, losses)
        rates = [group["lr"] for group in optimizer.param_groups] if optimizer is not None else [1]
        if max(rates) == 0 and state.global_step < state.max_steps:
            self.warn(
                "learning-rate-zero",
                f"the learning rate is 0 from step {state.global_step} of {state.max_steps} on: nothing is learnt any "
                "more. Set learning_rate above 0, or a schedule that lasts as long as the run (lr_scheduler_type, "
                "lr_scheduler_kwargs)",
            )
        self.check_speed(model)

    def check_explosion(self, args, state, losses: list[float]) -> None:
        """Whether a loss is far above that of guessing, which comes before NaN."""
        guessing = math.log(max(self.num_classes, 2))
        if self.first_loss is None:
            self.first_loss = losses[0]
        highest = max(losses)
        if math.isfinite(highest) and highest > 4 * max(guessing, self.first_loss):
            self.warn(
                "exploding-loss",
                f"the loss reached {highest:.3g} by step {state.global_step}, {highest / guessing:.0f} times that of "
                f"guessing: it explodes. Try a lower learning_rate (it is {args.learning_rate:g}), a warm-up "
                "(warmup_steps: 0.1) or max_grad_norm: 1",
            )

    def check_speed(self, model) -> None:
        """Whether the last steps were far slower than the fastest ones that trained the same parameters."""
        now = time.perf_counter()
        if self.last_end is not None:
            self.durations.append(now - self.last_end)
        self.last_end = now
        if len(self.durations) < WINDOW:
            return
        duration, self.durations = statistics.median(self.durations), []
        num_trained = sum(parameter.requires_grad for parameter in model.parameters())
        if num_trained != self.num_trained:  # unfreezing makes steps longer
            self.num_trained, self.fastest = num_trained, math.inf
        if duration > 5 * self.fastest:
            self.warn(
                "throughput-collapse",
                f"the last {WINDOW} steps took {duration:.3g} s each, the fastest before {self.fastest:.3g} s: "
                "something else takes the machine. Look for other work (uptime), swapping (free) and hot hardware",
            )
        self.fastest = min(self.fastest, duration)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Look at the logged training loss."""
        if "loss" not in (logs or {}):
            return
        self.train_loss = logs["loss"]
        if self.means:
            mean = torch.stack(self.means).mean().item()
            if self.train_loss > 1.5 * mean:
                self.warn(
                    "loss-inflated",
                    f"the loss that is trained on, {self.train_loss:.3g}, is {self.train_loss / mean:.1f} times the "
                    f"mean over images (gradient_accumulation_steps={args.gradient_accumulation_steps}): gradients "
                    "are too large. Set gradient_accumulation_steps: 1, or a model and a loss that divide by "
                    "num_items_in_batch",
                )
        self.means = None
        if args.eval_strategy == "no":
            self.check_underfitting(args, state, accuracy=None)

    def on_evaluate(self, args, state, control, model=None, metrics=None, **kwargs) -> None:
        """Look at validation metrics and predictions."""
        self.last_end = None
        metrics = metrics or {}
        name = f"eval_{(args.metric_for_best_model or 'loss').removeprefix('eval_')}"
        if name not in metrics:
            found = ", ".join(sorted(metric for metric in metrics if metric.startswith("eval_"))) or "none"
            self.warn(
                "metric-missing",
                f"evaluation gave no {name} (it gave {found}): early stopping and the choice of the best epoch cannot "
                "work. Set metric_for_best_model to one that is there, and label_names: [labels]",
            )
        if "eval_loss" in metrics and "eval_accuracy" in metrics and self.train_loss is not None:
            self.evaluations.append((self.train_loss, metrics["eval_loss"], metrics["eval_accuracy"]))
            self.check_overfitting()
            self.check_underfitting(args, state, metrics["eval_accuracy"])
        self.check_predictions(state, model)

    def check_overfitting(self) -> None:
        """Whether the validation loss has risen twice in a row while the training loss fell and nothing else did."""
        if len(self.evaluations) < 3:
            return
        best = min(self.evaluations, key=lambda each: each[1])
        best_accuracy = max(accuracy for *_, accuracy in self.evaluations[:-2])
        if all(
            training < min(best[0], 0.8 * validation) and validation > 1.1 * best[1] and accuracy <= best_accuracy
            for training, validation, accuracy in self.evaluations[-2:]
        ):
            training, validation, _ = self.evaluations[-1]
            self.warn(
                "overfitting",
                f"the validation loss rose from {best[1]:.3g} to {validation:.3g} while the training loss fell to "
                f"{training:.3g}: the model learns the training images by heart. Try augmentation: standard, "
                "weight_decay, label_smoothing_factor: 0.1, a smaller model or fewer epochs",
            )

    def check_underfitting(self, args, state, accuracy: float | None) -> None:
        """Whether half of the run has brought hardly more than guessing."""
        guessing = math.log(max(self.num_classes, 2))
        is_late = state.global_step >= max(50, state.max_steps / 2)
        is_guessing = accuracy is None or accuracy < 2 / max(self.num_classes, 2)
        if is_late and is_guessing and self.train_loss is not None and self.train_loss > 0.9 * guessing:
            self.warn(
                "underfitting",
                f"the training loss is {self.train_loss:.3g} after {state.global_step} of {state.max_steps} steps, "
                f"and guessing gives {guessing:.3g}: hardly anything is learnt. Try another learning_rate (it is "
                f"{args.learning_rate:g}); python recipes/doctor.py --config YOUR.yaml suggests one",
            )

    def check_predictions(self, state, model) -> None:
        """Whether all images get the same outputs, or a class is never predicted."""
        if self.spread < 1e-3:
            self.warn(
                "constant-outputs",
                "the model's outputs are the same for all validation images: it does not look at them. Try a lower "
                "learning_rate, and python recipes/doctor.py --config YOUR.yaml",
            )
            return
        never = sorted(self.unpredicted & self.seldom)
        if never and state.global_step >= max(100, 0.75 * state.max_steps):
            names = getattr(getattr(model, "config", None), "id2label", None) or {}
            listed = ", ".join(str(names.get(label, label)) for label in never[:3])
            listed += f" and {len(never) - 3} more" if len(never) > 3 else ""
            self.warn(
                "class-never-predicted",
                f"no validation image was predicted to be of {listed} in the last two evaluations. Check the "
                "labels (python recipes/explore.py), train longer, or balance the classes",
            )
