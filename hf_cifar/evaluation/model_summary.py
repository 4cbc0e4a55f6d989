"""Owns what a comparison says of one model: scores, cost and mistakes, from its results or else from predictions."""

from typing import TYPE_CHECKING

from .measure import measure_calibration
from .metrics import compute_all_metrics
from .mistakes import find_confusions
from .predictions import read_predictions
from .statistics import summarize_group

if TYPE_CHECKING:
    from .comparison import Run

SCORES = ("top_5_accuracy", "balanced_accuracy", "kappa", "matthews", "roc_auc", "brier", "calibration_error")


def describe_model(name: str, seeds: list["Run"], inference: dict | None) -> dict:
    """One entry of `models`; its numbers are those of the first seed, but for `seed_summary`."""
    run = seeds[0]
    results, model, cost = run.results, run.results["model"], run.results["cost"]
    metrics = results["metrics"]["test"]
    if "scores" not in metrics:  # written by an earlier version
        metrics = compute_all_metrics(run.probabilities, run.labels, results["data"]["class_names"])
    scores = {f"macro_{key}": metrics["macro"][key] for key in ("f1", "precision", "recall")}
    scores |= {key: metrics["scores"].get(key) for key in SCORES}
    scores["negative_log_likelihood"] = metrics["negative_log_likelihood"]
    scores["calibration_error_scaled"] = find_calibration(run)["test"].get("after", {}).get("calibration_error")
    tta = results.get("metrics_tta", {}).get("test")
    accuracies = [each.results["metrics"]["test"]["accuracy"]["value"] for each in seeds]
    return {
        "name": name,
        "kind": "cnn" if model["base_model"] is None else "transfer",
        "run": str(run.folder),
        "seeds": len(seeds),
        "accuracy": metrics["accuracy"],
        "accuracy_tta": tta and tta["accuracy"],
        "seed_summary": describe_seeds(accuracies),
        "scores": {key: keep_defined(score) for key, score in scores.items()},
        "most_confused": find_confusions(metrics["confusion_matrix"], results["data"]["class_names"], 5),
        "cost": {
            **{key: cost[key] for key in ("train_seconds", "feature_seconds", "train_images_per_second", "epochs")},
            "peak_memory_bytes": cost["peak_memory_bytes"],
            "hardware": results["environment"]["hardware"],
            "date": results["environment"]["date"],
            "train_images": results["data"]["sizes"]["train"],
        },
        "model": {
            **{key: model[key] for key in ("parameters", "flops_per_image", "image_size", "type")},
            "base_model": (model["base_model"] or {}).get("name"),
        },
        "inference": inference,
        "robustness": results.get("robustness"),
    }


def keep_defined(score: dict | None) -> dict | None:
    """A score with its interval; None where either is undefined."""
    if score is None or score["value"] is None or score["low"] is None:
        return None
    return {key: score[key] for key in ("value", "low", "high")}


def describe_seeds(accuracies: list[float]) -> dict | None:
    """`seed_summary`: None for one seed."""
    if len(accuracies) < 2:
        return None
    summary = summarize_group(accuracies)
    return {"standard_deviation": summary.pop("deviation"), **summary}


def find_calibration(run: "Run") -> dict:
    """A run's `calibration`, from its results or, of an earlier version, from its predictions."""
    if "calibration" in run.results:
        return run.results["calibration"]
    path = run.folder / "predictions" / "validation.parquet"
    return measure_calibration(run.predictions, read_predictions(path) if path.is_file() else None)
