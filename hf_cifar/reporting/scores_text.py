"""Owns how an evaluation looks on the terminal."""

from .formatting import format_estimate

PERCENT = ("top_5_accuracy", "balanced_accuracy", "calibration_error")
TITLES = {
    "top_5_accuracy": "top-5 accuracy",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "Cohen's kappa",
    "matthews": "Matthews correlation",
    "roc_auc": "ROC-AUC, mean of one class against the rest",
    "negative_log_likelihood": "negative log-likelihood",
    "brier": "Brier score",
    "calibration_error": "expected calibration error",
}


def format_score(name: str, score: dict) -> str:
    """A score with its interval, in percent where it is a share; or why it is undefined."""
    if score["value"] is None or score["low"] is None:
        known = "undefined" if score["value"] is None else f"{score['value']:.4f}, no interval"
        return f"{known} ({score['reason']})"
    if name in PERCENT:
        return format_estimate(score)
    return "{value:.4f} [{low:.4f}, {high:.4f}]".format(**score)


def format_metrics(metrics: dict, tta: str) -> str:
    """One split's metrics: accuracy, further scores, precision, recall and F1, ROC-AUC, confusion matrix."""
    lines = [f"accuracy {format_estimate(metrics['accuracy'])}; test-time augmentation: {tta}"]
    further = metrics["scores"] | {"negative_log_likelihood": metrics["negative_log_likelihood"]}
    lines += [f"{TITLES[name]} {format_score(name, further[name])}" for name in TITLES if name in further]
    width = max(map(len, [*metrics["per_class"], "weighted"])) + 2
    for name, row in {"macro": metrics["macro"], "weighted": metrics["weighted"], **metrics["per_class"]}.items():
        cells = [f"{score} {format_estimate(row[score])}" for score in ("precision", "recall", "f1")]
        if name in metrics["per_class"]:
            cells.append(f"ROC-AUC {format_score('roc_auc', metrics['roc_auc_per_class'][name])}")
        lines.append(f"{name:<{width}}{'  '.join(cells)}")
    lines.append("confusion matrix (rows: true)")
    for name, row in zip(metrics["per_class"], metrics["confusion_matrix"], strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{count:6d}" for count in row))
    return "\n".join(lines)


def format_calibration(calibration: dict) -> str:
    """Scores of the probabilities before and after temperature scaling."""
    if calibration["temperature"] is None:
        return f"temperature scaling: none, {calibration['reason']}"
    note = f"; {calibration['reason']}" if calibration["reason"] else ""
    lines = [f"temperature scaling: {calibration['temperature']:.3f}, fitted on validation images{note}"]
    for name, score in calibration["test"]["after"].items():
        before = calibration["test"]["before"][name]
        lines.append(f"{TITLES[name]} {format_score(name, before)}, then {format_score(name, score)}")
    return "\n".join(lines)


def format_robustness(robustness: dict) -> str:
    """Accuracy under corruptions, by family."""
    families = "  ".join(f"{name} {accuracy:.1%}" for name, accuracy in robustness["families"].items())
    lines = [
        f"corrupted ({robustness['level']}, {robustness['num_images']:,} images): accuracy "
        f"{format_estimate(robustness['mean_accuracy'])} on average; clean {robustness['clean_accuracy']:.2%}",
        families,
    ]
    lines += [f"left out: {name}, {reason}" for name, reason in robustness["left_out"].items()]
    return "\n".join(lines)
