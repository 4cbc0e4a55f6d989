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
    lines += align([(TITLES[name], format_score(name, further[name])) for name in TITLES if name in further])
    rows = [("", "precision", "recall", "F1", "ROC-AUC")]
    for name, row in {"macro": metrics["macro"], "weighted": metrics["weighted"], **metrics["per_class"]}.items():
        area = format_score("roc_auc", metrics["roc_auc_per_class"][name]) if name in metrics["per_class"] else ""
        rows.append((name, *(format_estimate(row[score]) for score in ("precision", "recall", "f1")), area))
    lines += ["", *align(rows), "", "confusion matrix (rows: true, columns: predicted, in this order)"]
    counts = zip(metrics["per_class"], metrics["confusion_matrix"], strict=True)
    return "\n".join(lines + align([(name, *map(str, row)) for name, row in counts], right=True))


def format_calibration(calibration: dict) -> str:
    """Scores of the probabilities before and after temperature scaling."""
    if calibration["temperature"] is None:
        return f"temperature scaling: none, {calibration['reason']}"
    note = f"; {calibration['reason']}" if calibration["reason"] else ""
    states = [calibration["test"][state] for state in ("before", "after")]
    rows = [(TITLES[name], *(format_score(name, state[name]) for state in states)) for name in states[0]]
    title = f"temperature scaling: {calibration['temperature']:.3f}, fitted on validation images{note}"
    return "\n".join([title, *align([("", "before", "after"), *rows])])


def align(rows: list[tuple[str, ...]], right: bool = False) -> list[str]:
    """Lines whose cells stand below each other; all but the first to the right if asked."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    side = ">" if right else "<"
    return [
        "  ".join(
            f"{cell:{side if i else '<'}{width}}" for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


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
