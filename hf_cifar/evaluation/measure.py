"""Owns measuring a finished model: predictions, metrics, cost and provenance into a complete run folder."""

import dataclasses
import time
from pathlib import Path

import datasets
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
from .cost import count_flops, count_parameters, measure_peak_memory
from .metrics import compute_all_metrics
from .predictions import make_predictions, match_classes, predict_probabilities, write_predictions
from .results import FILE_NAME, SCHEMA_VERSION, read_results


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
        probabilities = probabilities[:, columns]
        probabilities /= probabilities.sum(1, keepdims=True)
        metrics[split] = compute_all_metrics(probabilities, read_column(table, "label"), class_names)
        if folder is not None:
            name = split if tta == "none" else f"{split}_tta"
            write_predictions(folder / "predictions" / f"{name}.parquet", make_predictions(table, probabilities))
    return metrics, rate


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
    training = {key: value for key, value in args.to_dict().items() if value != defaults.get(key) and key not in paths}
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
        "data": describe_data(data, train, validation),
        "recipe": describe_recipe(command, args, *options),
        "history": outcome.history,
        "metrics": metrics,
        **with_tta,
        "cost": cost,
        "environment": environment | {"kernels": outcome.kernels},
    }
