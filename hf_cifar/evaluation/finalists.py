"""Owns a selection's last step: the best by probe are fine-tuned within the budget and scored."""

import tempfile

import datasets
from transformers import TrainingArguments

from ..arguments import ModelArguments, RecipeArguments
from ..data.store import map_images, read_column
from ..models.image_processors import build_image_processor
from ..training.finetuning import find_batch_norms
from ..training.fit import fit
from ..training.trainer import get_training_defaults
from .metrics import build_compute_metrics
from .predictions import predict_probabilities
from .selection import plan
from .speed import measure_training_step
from .trial import CANDIDATE_ERRORS, Setting, load_candidate, pack_hits, take_subset

HEAD_EPOCHS, HEAD_BATCH_SIZE, HEAD_LEARNING_RATE = 20, 100, 1e-3
HEAD_STEP_SECONDS = 0.003  # nearly all of it the Trainer's own


def fine_tune_finalists(setting: Setting) -> None:
    """Fine-tune the best by probe on the same images for the same epochs, and score them on validation images."""
    known, plans, hits = (setting.record[key] for key in ("candidates", "plans", "hits"))
    if "fine_tuning" not in plans:
        ranked = sorted(hits["probe"], key=lambda name: -known[name]["probe"]["accuracy"])[: setting.options.finalists]
        plans["fine_tuning"] = plan_fine_tuning(setting, ranked)
        setting.save()
    names, images, seconds = (plans["fine_tuning"][key] for key in ("names", "images", "seconds"))
    train, validation = (take_subset(setting, table, images) for table in (setting.train, setting.validation))
    for name in names:
        if name in hits["fine_tuning"]:
            continue
        if hits["fine_tuning"] and seconds[name] > setting.left:
            setting.leave_out(
                name, f"its fine-tuning would take {seconds[name]:.0f} s of the {setting.left:.0f} s left"
            )
            continue
        try:
            fine_tune(setting, name, train, validation)
        except CANDIDATE_ERRORS as error:
            setting.leave_out(name, str(error))


def plan_fine_tuning(setting: Setting, ranked: list[str]) -> dict[str, object]:
    """Who of `ranked` is fine-tuned on how many images, from the time of a few steps, with the estimated `seconds`."""
    per_image, fixed = {}, {}
    for name in ranked:
        cost, size = setting.record["candidates"][name]["cost"], min(16, setting.options.batch_size)
        if 6 * size / cost["images_per_second"] > setting.left / 4:  # two steps, each about three times inference
            setting.leave_out(name, "a few training steps, to see how long they take, do not fit in the budget")
            continue
        model, preprocessing, _ = load_candidate(setting, name)
        place = (preprocessing.image_size, setting.device, setting.precision)
        step = measure_training_step(model, *place, size, limit=min(5.0, setting.left / 20))
        cost["training_images_per_second"] = 1 / step
        head = HEAD_EPOCHS * HEAD_STEP_SECONDS / HEAD_BATCH_SIZE
        per_image[name] = setting.options.epochs * step + 2 / cost["images_per_second"] + head  # features, scores
        fixed[name] = cost["load_seconds"] + 1
    wanted = setting.record["plans"]["probe"]["images"]
    names, images = plan(list(per_image), per_image, fixed, wanted, setting.least, setting.left)
    if not names:
        setting.note("no fine-tuning fits in the budget: the linear probe decides")
    elif images < wanted:
        setting.note(f"the budget allows fine-tuning on {images:,} images, not on {wanted:,}")
    for name in per_image:
        if name not in names:
            setting.leave_out(name, "its fine-tuning does not fit in the budget")
    seconds = {name: per_image[name] * images + fixed[name] for name in names}
    return {"names": names, "images": images, "seconds": seconds}


def fine_tune(setting: Setting, name: str, train: datasets.Dataset, validation: datasets.Dataset) -> None:
    """The stock path with one setting for all; no epoch is chosen, the last one counts.

    The head comes first, on cached features, and all weights then: a head that knows nothing would spoil the
    features in the few steps that there are (Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features). Batch
    normalisation stays as it was pretrained, since its running statistics would not follow in so few steps.
    """
    options, seconds = setting.options, 0.0
    model, preprocessing, _ = load_candidate(setting, name)
    stages = (
        (True, HEAD_EPOCHS, HEAD_BATCH_SIZE, HEAD_LEARNING_RATE),
        (False, options.epochs, options.batch_size, options.learning_rate),
    )
    model_args = ModelArguments(name, freeze_bn=bool(find_batch_norms(model)))
    for head_only, *numbers in stages:
        with tempfile.TemporaryDirectory() as folder:
            args = make_training_arguments(folder, options.seed, *numbers)
            outcome = fit(
                model=model, preprocessing=preprocessing, train_table=train, validation_table=None, args=args,
                data_args=setting.data_args, recipe=RecipeArguments(early_stopping_patience=0),
                compute_metrics=build_compute_metrics(len(setting.class_names)), cache_dir=setting.cache_dir,
                head_only=head_only, from_scratch=False, model_args=model_args,
            )  # fmt: skip
        seconds += outcome.train_seconds
    images, rows = map_images(validation)
    probabilities = predict_probabilities(
        model, build_image_processor(preprocessing), images, setting.device, setting.precision, rows=rows
    )
    hits = probabilities.argmax(1) == read_column(validation, "label")
    each = setting.record["candidates"][name]
    each["fine_tuning"] = {
        "accuracy": float(hits.mean()),
        "standard_error": float(hits.std() / len(hits) ** 0.5),
        "epochs": options.epochs,
        "train_images": len(train),
        "validation_images": len(validation),
    }
    each["cost"]["fine_tuning_seconds"] = seconds
    setting.record["hits"]["fine_tuning"][name] = pack_hits(hits)
    setting.record["left_out"].pop(name, None)  # of a first try
    setting.save()


def make_training_arguments(
    folder: str, seed: int, epochs: float, batch_size: int, learning_rate: float
) -> TrainingArguments:
    """How finalists are trained: without evaluation, checkpoints or logs."""
    settings = {
        "output_dir": folder, "seed": seed, "num_train_epochs": epochs, "per_device_train_batch_size": batch_size,
        "learning_rate": learning_rate, "lr_scheduler_type": "cosine", "warmup_steps": 0.1, "weight_decay": 0.05,
        "eval_strategy": "no", "save_strategy": "no", "logging_strategy": "no", "load_best_model_at_end": False,
    }  # fmt: skip
    return TrainingArguments(**get_training_defaults() | settings)
