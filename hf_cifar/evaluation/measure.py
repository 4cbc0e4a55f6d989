"""Owns measuring a finished model: predictions, metrics, cost and provenance into a complete run folder."""

import dataclasses
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, TrainingArguments

from ..arguments import DataArguments, ModelArguments, RecipeArguments
from ..data.split import hash_indices, split_table
from ..data.store import map_images, read_column
from ..data.table import ImageData
from ..errors import UserError
from ..models.image_processors import read_preprocessing
from ..models.loading import hash_weights, load_model
from ..training.fit import Outcome
from .calibration import SMALLEST, describe_calibration
from .cost import count_flops, count_parameters, measure_peak_memory
from .metrics import CALIBRATION_SCORES, RESAMPLES, compute_all_metrics
from .predictions import (
    get_probabilities,
    make_predictions,
    match_classes,
    predict_probabilities,
    read_predictions,
    write_predictions,
)
from .results import FILE_NAME, SCHEMA_VERSION, read_results, write_results


def measure_tables(
    model: PreTrainedModel,
    processor,
    tables: dict[str, datasets.Dataset],
    folder: Path | None,
    device: torch.device,
    precision: str,
    tta: str = "none",
) -> tuple[dict[str, dict], float]:
    """Predict and score each table.

    Args:
        model, processor: as loaded from where the model was saved.
        tables: by split name.
        folder: `predictions/<split>.parquet`, or `<split>_tta.parquet`, are written below it; None writes nothing.
        device, precision: how to run.
        tta: test-time augmentation.

    Returns:
        Metrics by split, and images per second on the last.
    """
    metrics, rate = {}, 0.0
    for split, table in tables.items():
        class_names = table.features["label"].names
        columns = match_classes(model.config.id2label, class_names)
        images, rows = map_images(table)
        started = time.perf_counter()
        probabilities = predict_probabilities(
            model, processor, images, device, precision, description=f"Evaluating {split}", rows=rows, tta=tta
        )
        rate = len(rows) / (time.perf_counter() - started)
        # A model of more classes may give ours no probability at all: then they are equal, instead of 0 / 0.
        probabilities = np.maximum(probabilities[:, columns], SMALLEST)
        probabilities /= probabilities.sum(1, keepdims=True)
        metrics[split] = compute_all_metrics(probabilities, read_column(table, "label"), class_names)
        if folder is not None:
            name = split if tta == "none" else f"{split}_tta"
            write_predictions(folder / "predictions" / f"{name}.parquet", make_predictions(table, probabilities))
    return metrics, rate


def evaluate_split(
    model: PreTrainedModel,
    processor,
    split: str,
    table: datasets.Dataset,
    data: ImageData,
    source: Path,
    folder: Path | None,
    device: torch.device,
    precision: str,
    tta: str = "none",
) -> tuple[dict, float, dict | None]:
    """Metrics of one split of any model, and its calibration where that is asked of a run's test images.

    Args:
        model, processor, folder, device, precision, tta: see `measure_tables`.
        split, table: "test" or "validation", and its images.
        data: that the table is of.
        source: where the model came from. A run's validation images are predicted too, for the temperature.

    Returns:
        Metrics, images per second, and the `calibration` section; None with test-time augmentation, and on validation
        images, on which a temperature would be fitted and judged at once.
    """
    place = (device, precision, tta)
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) if folder is None else folder
        metrics, rate = measure_tables(model, processor, {split: table}, kept, *place)
        if split != "test" or tta != "none":
            return metrics[split], rate, None
        test = read_predictions(kept / "predictions" / "test.parquet")
        try:
            validation = get_validation_table(data, source) if (source / FILE_NAME).is_file() else None
        except UserError:  # a final run kept none, or it was trained on other data
            validation = None
        if validation is not None:
            measure_tables(model, processor, {"validation": validation}, Path(scratch), *place)
            validation = read_predictions(Path(scratch) / "predictions" / "validation.parquet")
    return metrics[split], rate, measure_calibration(test, validation)


def keep_section(folder: Path, data: ImageData, model: PreTrainedModel, name: str, section: dict) -> bool:
    """Put a section into the results.json of a run with these weights and this test set; whether there is one."""
    if not (folder / FILE_NAME).is_file():
        return False
    results = read_results(folder)
    if results["data"]["hashes"]["test"] != data.hashes["test"]:
        return False
    if results["model"]["weights_sha256"] != hash_weights(model):
        return False
    write_results(folder, results | {name: section})
    return True


def measure_calibration(test: pd.DataFrame, validation: pd.DataFrame | None) -> dict[str, object]:
    """The `calibration` section of results.json, from predictions as `read_predictions` gives them."""
    pairs = [frame if frame is None else (get_probabilities(frame), frame["label"].to_numpy())
             for frame in (test, validation)]  # fmt: skip
    return describe_calibration(CALIBRATION_SCORES, *pairs, RESAMPLES)


def get_validation_table(data: ImageData, folder: Path) -> datasets.Dataset:
    """The validation images of the run in `folder`; of the default split where `folder` holds no run.

    Raises:
        UserError: The run had no validation images, or had others than its options now give.
    """
    if not (folder / FILE_NAME).is_file():
        return split_table(data.train)[1]
    results = read_results(folder)
    options, expected = results["recipe"]["options"], results["data"]["validation_sha256"]
    validation = split_table(data.train, options["validation_size"], options["split_seed"])[1]
    if validation is None or hash_indices(read_column(validation, "index")) != expected:
        raise UserError(f"{folder}: the run kept no validation images of {data.name}; allowed: --split test")
    return validation


def describe_model(model: PreTrainedModel, processor, name: str, base_model: dict | None = None) -> dict[str, object]:
    """The `model` section of results.json."""
    image_size = read_preprocessing(processor).image_size
    return {
        "name": name,
        "type": model.config.model_type,
        "architecture": getattr(model.config, "architecture", type(model).__name__),
        "parameters": count_parameters(model),
        "flops_per_image": count_flops(model, image_size),
        "image_size": image_size,
        "weights_sha256": hash_weights(model),
        "base_model": base_model,
    }


def describe_data(
    data: ImageData, train: datasets.Dataset | None = None, validation: datasets.Dataset | None = None
) -> dict[str, object]:
    """The `data` section of results.json."""
    sizes = {"train": len(train or ()), "validation": len(validation or ()), "test": len(data.test)}
    return {
        "name": data.name,
        "source": data.source,
        "class_names": data.class_names,
        "sizes": sizes,
        "hashes": data.hashes,
        "validation_sha256": hash_indices(read_column(validation, "index")) if validation else None,
        "train_sha256": hash_indices(read_column(data.train if train is None else train, "index")),
        "image_size": data.image_size,
        "converted": data.converted,
        "skipped": sum(map(len, data.skipped.values())),
    }


def describe_recipe(
    command: str,
    args: TrainingArguments,
    data_args: DataArguments,
    model_args: ModelArguments,
    recipe: RecipeArguments,
) -> dict[str, object]:
    """The `recipe` section of results.json: all our options, and the `TrainingArguments` that were changed."""
    defaults = {field.name: field.default for field in dataclasses.fields(args)}
    paths = {"output_dir", "logging_dir", "run_name", "resume_from_checkpoint", "deepspeed", "fsdp_config"}
    every = TrainingArguments.to_dict(args)  # without the facts of `TrackedArguments`
    training = {key: value for key, value in every.items() if value != defaults.get(key) and key not in paths}
    resolved = dataclasses.asdict(data_args) | dataclasses.asdict(model_args) | dataclasses.asdict(recipe)
    resolved.pop("cache_dir")
    metric = args.metric_for_best_model
    return {
        "command": command,
        "selection": f"best epoch by validation {metric}" if args.load_best_model_at_end else "last epoch",
        "seed": args.seed,
        "tta": recipe.tta,
        "options": resolved | training,
    }


def describe_inputs(
    data: ImageData,
    train: datasets.Dataset,
    validation: datasets.Dataset | None,
    args: TrainingArguments,
    options: tuple[DataArguments, ModelArguments, RecipeArguments],
    command: str,
    environment: dict,
) -> dict[str, dict]:
    """The sections of results.json that are known before training: `data`, `recipe` and `environment`."""
    recipe = describe_recipe(command, args, *options)
    if validation is None:  # which training will notice
        recipe["selection"] = "last epoch"
    return {"data": describe_data(data, train, validation), "recipe": recipe, "environment": environment}


def measure_run(
    folder: Path,
    data: ImageData,
    train: datasets.Dataset,
    validation: datasets.Dataset | None,
    args: TrainingArguments,
    options: tuple[DataArguments, ModelArguments, RecipeArguments],
    command: str,
    environment: dict[str, object],
    outcome: Outcome,
    base_model: dict | None,
    trust_remote_code: bool = False,
) -> dict[str, object]:
    """Measure the model saved in `folder`, loaded as a stranger would, and write its predictions.

    Args:
        folder: the run folder with the model in it.
        data, train, validation: what it was trained on; its test split is evaluated here, once.
        args, options: the run's `TrainingArguments` and our own options.
        command: that made the run.
        environment: as `describe_environment` had it when the run began; its precision is used for evaluation too.
        outcome: of training.
        base_model: where fine-tuning started.
        trust_remote_code: whether to run Python files that came with the base model.

    Returns:
        The results, for `write_results` when all else of the run is written.
    """
    model, processor = load_model(str(folder), trust_remote_code=trust_remote_code)
    tables = ({"validation": validation} if validation else {}) | {"test": data.test}
    place = (folder, args.device, environment["precision"])
    metrics, rate = measure_tables(model, processor, tables, *place)
    tta = options[-1].tta
    with_tta = {} if tta == "none" else {"metrics_tta": measure_tables(model, processor, tables, *place, tta)[0]}
    splits = {name: read_predictions(folder / "predictions" / f"{name}.parquet") for name in tables}
    cost = {
        "train_seconds": outcome.train_seconds,
        "feature_seconds": outcome.feature_seconds,
        "epochs": outcome.epochs,
        "train_images_per_second": outcome.train_images_per_second,
        "test_images_per_second": rate,
        "peak_memory_bytes": measure_peak_memory(),
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "model": describe_model(model, processor, args.run_name or folder.name, base_model),
        **describe_inputs(data, train, validation, args, options, command, environment),
        "history": outcome.history,
        "metrics": metrics,
        **with_tta,
        "calibration": measure_calibration(splits["test"], splits.get("validation")),
        "cost": cost,
        "environment": environment | {"kernels": outcome.kernels},
    }
