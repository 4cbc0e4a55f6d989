"""Owns the checks of what a config describes: Karpathy's recipe for training networks, made into measurements.

Source: Karpathy 2019, "A Recipe for Training Neural Networks": initial loss, overfit one batch, look at the input.
"""

import hashlib
import math
import statistics
import time
from pathlib import Path

import datasets
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch.autograd.graph import saved_tensors_hooks

from ..data.batches import ImageBatches, KeyedDataset
from ..data.duplicates import count_exact_duplicates
from ..data.statistics import choose_preprocessing
from ..data.store import iterate_images
from ..data.transforms import ImageTransform
from ..errors import UserError
from ..reporting.explore_augmentation import draw_augmentations
from ..training.run_folder import check_run_folder
from .environment import check_disk, check_memory, measure_free_memory
from .findings import Finding
from .learning_rate import RangeTest, judge_learning_rate, try_learning_rates
from .subject import Batch, Subject, Trial, start_trial

HEART = 32  # images that are to be learnt by heart
LEAK_IMAGES = 500
MIN_STEPS = 30  # before a network that has not learnt is said to be unable to


def examine_subject(subject: Subject) -> tuple[list[Finding], RangeTest]:
    """All findings about a subject, and the range test that one of them is about."""
    findings = [check_run_target(subject), check_loader(subject), *check_needs(subject)]
    findings += [check_initial_loss(subject), check_gradients(subject)]
    test = try_learning_rates(subject)
    findings += [check_one_batch(subject, test.suggestion), check_duplicates(subject), check_shuffled_labels(subject)]
    has_own_rates = any("lr" in group for group in subject.recipe.parameter_groups.values())
    return [*findings, judge_learning_rate(test, subject.args.learning_rate, has_own_rates)], test


def fetch(subject: Subject, count: int) -> Batch:
    """Some training images as a batch, without augmentation."""
    return subject.make_batches("train").__getitems__(subject.draw_rows("train", count))


def check_run_target(subject: Subject) -> Finding:
    """Whether train.py would write to `output_dir`."""
    why = "train.py refuses to write over a run or other files"
    folder = subject.args.output_dir
    if folder is None:
        return Finding("run folder", "ok", "none given yet; train.py needs --output_dir", why)
    try:
        check_run_folder(Path(folder), subject.recipe.overwrite_run, subject.args.resume_from_checkpoint)
    except UserError as error:
        return Finding("run folder", "warn", str(error), why, "as it says", entry="finished-run")
    return Finding("run folder", "ok", f"{folder} can be written", why)


def check_loader(subject: Subject) -> Finding:
    """The share of a step that fetching and augmenting its images takes; also sets the checks' batch size."""
    batches, size = subject.make_batches("train", augment=True), min(32, subject.batch_size)
    fetching, stepping = [], []
    with start_trial(subject) as trial:
        for number in range(4):
            rows = subject.draw_rows("train", size, start=number * size)
            started = time.perf_counter()
            batch = batches.__getitems__(rows)
            fetched = time.perf_counter()
            trial.step(batch)
            fetching.append(fetched - started)
            stepping.append(time.perf_counter() - fetched)
    fetch, step = (statistics.median(times[1:]) for times in (fetching, stepping))
    share = fetch / (fetch + step) / max(1, subject.args.dataloader_num_workers)
    # Steps of half a second at most, so that the checks stay a matter of a minute or two.
    subject.batch_size = int(min(subject.batch_size, max(8, 0.5 / step * size)))
    return Finding(
        "data loading",
        "warn" if share > 0.25 else "ok",
        f"{share:.1%} of a step; images/s: {size / (fetch + step):,.0f} in training, {size / fetch:,.0f} fetched",
        "while images are fetched and augmented in the training's own process, nothing is trained",
        "dataloader_num_workers: 2, a lighter augmentation, or storage_size nearer to the model's input",
        entry="slow-data",
        numbers={"share": share, "images_per_second": size / (fetch + step)},
    )


def check_needs(subject: Subject) -> list[Finding]:
    """Memory for a step of the config's batch, and disk for its checkpoints."""
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    count = 8
    with start_trial(subject) as trial, saved_tensors_hooks(note, lambda tensor: tensor):
        held = {parameter.untyped_storage().data_ptr() for parameter in trial.network.parameters()}
        trial.forward(fetch(subject, count))
    activations = sum(size for place, size in saved.items() if place not in held) / count
    parameters = sum(parameter.numel() for parameter in subject.model.parameters())
    trained = sum(parameter.numel() for parameter in trial.parameters)
    weights, training = 4 * parameters, 4 * 3 * trained  # gradients and up to two states of the optimizer
    batch_size = subject.args.train_batch_size
    need = weights + training + 1.2 * activations * batch_size  # gradients of activations come and go
    keeps = (subject.args.save_total_limit or math.ceil(subject.args.num_train_epochs)) + 1
    disk = 1.1 * (weights + keeps * (weights + 2 * 4 * trained)) + 50e6
    is_gpu = subject.args.device.type == "cuda"
    free = torch.cuda.mem_get_info(subject.args.device)[0] if is_gpu else measure_free_memory()
    folder = Path(subject.args.output_dir or "runs")
    return [
        check_memory(need, f"a step of {batch_size:,} images", free),
        check_disk(folder, disk, f"{keeps} checkpoints and the run folder"),
    ]


def check_initial_loss(subject: Subject) -> Finding:
    """The first loss against that of guessing, ln(K)."""
    with start_trial(subject) as trial, torch.no_grad():
        loss = trial.forward(fetch(subject, subject.batch_size))[0].item()
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
    batch = fetch(subject, min(subject.batch_size, 32))
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
    batch = fetch(subject, min(HEART, subject.batch_size))
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
