"""Owns the checks of what a config describes: Karpathy's recipe for training networks, made into measurements.

Source: Karpathy 2019, "A Recipe for Training Neural Networks": initial loss, overfit one batch, look at the input.
"""

import hashlib
import math
import time
from collections.abc import Callable

import datasets
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from ..data.batches import ImageBatches, KeyedDataset
from ..data.duplicates import count_exact_duplicates
from ..data.statistics import choose_preprocessing
from ..data.store import iterate_images
from ..data.transforms import ImageTransform
from ..reporting.explore_augmentation import draw_augmentations
from .findings import Finding
from .learning_rate import RangeTest, judge_learning_rate, try_learning_rates
from .needs import check_disk_need, check_loader, check_memory_need, check_run_target
from .subject import Batch, Subject, Trial, start_trial

HEART = 32  # images that are to be learnt by heart
LEAK_IMAGES = 500
MIN_STEPS = 30  # before a network that has not learnt is said to be unable to


def examine_subject(subject: Subject, report: Callable[[Finding], object]) -> RangeTest:
    """Check everything about a subject; each finding is reported at once, since all take a minute or two.

    Returns:
        The range test, of which there is a figure.
    """
    for check in (check_run_target, check_loader, check_memory_need, check_disk_need, check_initial_loss,
                  check_gradients):  # fmt: skip
        report(check(subject))
    test = try_learning_rates(subject)
    has_own_rates = any("lr" in group for group in subject.recipe.parameter_groups.values())
    report(judge_learning_rate(test, subject.args.learning_rate, has_own_rates))
    report(check_one_batch(subject, test.suggestion))
    report(check_duplicates(subject))
    report(check_shuffled_labels(subject))
    return test


def check_initial_loss(subject: Subject) -> Finding:
    """The first loss against that of guessing, ln(K)."""
    with start_trial(subject) as trial, torch.no_grad():
        loss = trial.forward(subject.fetch(subject.batch_size))[0].item()
    guessing = math.log(subject.num_classes)
    numbers = {"loss": loss, "guessing": guessing}
    value = f"{loss:.3f}; guessing among {subject.num_classes} classes gives {guessing:.3f}"
    why = "a fresh classifier knows nothing, so its loss is near ln(K); far above, the first steps only undo it"
    if not math.isfinite(loss):
        fix = "check the weights and the images (python recipes/explore.py --check); bf16: false"
        return Finding("initial loss", "fail", value, why, fix, "initial-loss", numbers)
    if loss > 1.5 * guessing:
        fix = "smaller first weights of the classifier (initializer_range), normalised inputs, a warm-up"
        return Finding("initial loss", "warn", value, why, fix, "initial-loss", numbers)
    if loss < 0.5 * guessing:
        fix = "nothing if you go on training a model of these classes; else look for labels among the inputs"
        return Finding("initial loss", "warn", value, why, fix, "initial-loss", numbers)
    return Finding("initial loss", "ok", value, why, numbers=numbers)


def check_gradients(subject: Subject) -> Finding:
    """Whether gradients reach every trained parameter and no frozen one, in three steps.

    Three, since some begin with a factor of zero: LoRA's first matrix gets its first gradient in the second step.
    """
    why = "a parameter without a gradient is not trained, and DDP waits for it for ever; a frozen one must not move"
    fix = "freeze what is not used, detach nothing on the way to the loss; for frozen ones, see finetune"
    batch = subject.fetch(min(subject.batch_size, 32))
    with start_trial(subject) as trial:
        named = dict(trial.network.named_parameters())
        frozen = {name: each.detach().clone() for name, each in named.items() if not each.requires_grad}
        reached: set[str] = set()
        for _ in range(3):
            trial.step(batch)
            gradients = {name: each.grad for name, each in named.items() if each.grad is not None}
            reached |= {name for name, gradient in gradients.items() if gradient.isfinite().all() and gradient.any()}
        moved = [name for name, value in frozen.items() if name in gradients or not torch.equal(named[name], value)]
    missed = [name for name in named if name not in frozen and name not in reached]
    others = sum(1 for _ in subject.model.parameters()) - len(named)  # of a backbone that is not even run
    numbers = {"trained": len(named) - len(frozen), "frozen": len(frozen) + max(0, others), "missed": len(missed)}
    if missed or moved:
        problems = [f"{len(missed)} trained ones get none, as {missed[0]}"] if missed else []
        problems += [f"{len(moved)} frozen ones are changed, as {moved[0]}"] if moved else []
        return Finding("gradients", "fail", "; ".join(problems), why, fix, "missing-gradients", numbers)
    value = f"reach all {numbers['trained']} trained parameters and none of {numbers['frozen']} frozen ones"
    return Finding("gradients", "ok", value, why, numbers=numbers)


def check_one_batch(subject: Subject, suggestion: float | None = None) -> Finding:
    """Whether a few images are learnt by heart, at the config's rate or else at the one that was suggested."""
    why = "a network that cannot learn a few images by heart will learn nothing; data, loss or gradients are wrong"
    batch = subject.fetch(min(HEART, subject.batch_size))
    accuracy, steps = learn_by_heart(subject, batch, None)
    numbers = {"accuracy": accuracy, "steps": steps}
    value = f"{accuracy:.0%} of {len(batch['labels'])} images after {steps} steps"
    if accuracy >= 0.95:
        return Finding("one batch by heart", "ok", value, why, numbers=numbers)
    if steps < MIN_STEPS:
        fix = "a machine with a GPU, or a smaller image_size, to find out"
        return Finding("one batch by heart", "warn", f"{value}: too slow to tell", why, fix, "one-batch", numbers)
    if suggestion is not None:
        second, steps = learn_by_heart(subject, batch, suggestion)
        if second >= 0.95:
            value += f"; {second:.0%} after {steps} at learning_rate {suggestion:.2g}"
            fix = f"learning_rate nearer to {suggestion:.2g}, or more epochs"
            return Finding("one batch by heart", "warn", value, why, fix, "one-batch", numbers)
    fix = "check labels and normalisation, less dropout and weight_decay, then gradients and learning rate here"
    return Finding("one batch by heart", "fail", value, why, fix, "one-batch", numbers)


def learn_by_heart(
    subject: Subject, batch: Batch, learning_rate: float | None, steps: int = 100, seconds: float = 20.0
) -> tuple[float, int]:
    """Accuracy on a batch after training on nothing else, and the steps that it took; rates fall to a twentieth."""
    end, best = time.perf_counter() + seconds, 0.0
    with start_trial(subject, learning_rate) as trial:
        for step in range(1, steps + 1):
            _, logits = trial.step(batch, max(0.05, 1 - (step - 1) / steps))
            best = max(best, (logits.argmax(1).cpu() == batch["labels"]).float().mean().item())
            # Running statistics follow the batch's own only after a while.
            is_last = step == steps or time.perf_counter() > end
            if best == 1 or is_last or step % 20 == 0:
                best = max(best, trial.measure_accuracy(batch))
            if best == 1 or is_last:
                return best, step
    return best, steps


def check_duplicates(subject: Subject) -> Finding:
    """Validation images that are trained on, byte for byte."""
    count = count_exact_duplicates(subject.validation, subject.train)
    return Finding(
        "validation images among the training images",
        "fail" if count > 0.01 * len(subject.validation) else "warn" if count else "ok",
        f"{count:,} of {len(subject.validation):,}",
        "an image that was trained on says nothing about new ones: accuracy is too high, early stopping too late",
        "remove the copies; python recipes/explore.py shows near-duplicates too",
        entry="leak",
        numbers={"count": count},
    )


def make_labels(table: datasets.Dataset, num_classes: int) -> torch.Tensor:
    """Random labels that depend on an image's content alone, so that copies share theirs: int64 (N,)."""
    digests = (hashlib.sha256(image.tobytes()).digest() for images in iterate_images(table) for image in images)
    return torch.tensor([int.from_bytes(digest[:8], "little") % num_classes for digest in digests])


def check_shuffled_labels(subject: Subject, seconds: float = 20.0) -> Finding:
    """Whether random labels can be predicted on validation images, which only a leak makes possible.

    An image's label is drawn from its content, for both sides alike: what is learnt carries over only to copies, or
    by a way from labels to predictions that goes round the image. By chance accuracy is binomial with p = 1 / K.
    """
    rows, labels, batches = {}, {}, {}
    for split in ("train", "validation"):
        rows[split], batches[split] = subject.draw_rows(split, LEAK_IMAGES), subject.make_batches(split)
        labels[split] = make_labels(subject.tables[split].select(rows[split]), subject.num_classes)
    with start_trial(subject) as trial:
        epochs = train_on_labels(trial, batches["train"], rows["train"], labels["train"], subject.batch_size, seconds)
        truth, hits = labels["validation"], 0.0
        for start in range(0, len(truth), subject.batch_size):
            part = slice(start, start + subject.batch_size)
            batch = batches["validation"].__getitems__(rows["validation"][part]) | {"labels": truth[part]}
            hits += len(batch["labels"]) * trial.measure_accuracy(batch)
    count = len(truth)
    low, high = (stats.binom.ppf(p, count, 1 / subject.num_classes) / count for p in (0.001, 0.999))
    accuracy = round(hits) / count
    return Finding(
        "random labels",
        "fail" if accuracy > high else "ok",
        f"{accuracy:.1%} of {count} validation images after {epochs:.1f} epochs; by chance {low:.1%} to {high:.1%}",
        "what has no pattern cannot be predicted for new images; if it is, labels leak or images are on both sides",
        "look for copies across the splits and for labels among the model's inputs",
        entry="leak",
        numbers={"accuracy": accuracy, "chance_low": low, "chance_high": high, "epochs": epochs},
    )


def train_on_labels(
    trial: Trial, batches: KeyedDataset, rows: list[int], labels: torch.Tensor, batch_size: int, seconds: float
) -> float:
    """Train rows on these labels in place of their own for 10 epochs or `seconds`; the epochs that were done."""
    end, size, done = time.perf_counter() + seconds, min(batch_size, len(rows)), 0
    generator = np.random.default_rng(0)
    while done < 10 * len(rows) and time.perf_counter() < end:
        chosen = generator.choice(len(rows), size, replace=False).tolist()
        trial.step(batches.__getitems__([rows[i] for i in chosen]) | {"labels": labels[chosen]})
        done += size
    return done / len(rows)


def draw_samples(subject: Subject) -> Figure:
    """Training images as the network gets them, epoch by epoch, one of each class."""
    preprocessing = choose_preprocessing(subject.data.name, subject.train, subject.data.image_size)
    batches = ImageBatches(subject.train, ImageTransform(preprocessing, subject.data_args, subject.args.seed))
    return draw_augmentations(batches, subject.data_args)
