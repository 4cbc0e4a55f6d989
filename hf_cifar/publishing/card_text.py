"""Owns what a model card says in words and rows: made from results.json, and no more than its numbers say."""

from ..data.constants import NEAR_DUPLICATES
from ..evaluation.mistakes import find_confusions
from ..evaluation.tradeoffs import join
from ..reporting.comparison_text import Rows, escape
from ..reporting.formatting import format_estimate
from ..reporting.scores_text import TITLES, format_score

MANY_CLASSES = 20  # beyond, tables of classes are folded, and there is none of confusions


def make_score_rows(results: dict) -> Rows:
    """Accuracy and macro scores, without and with test-time augmentation."""
    rows = [["TTA", "accuracy", "macro precision", "macro recall", "macro F1"]]
    for section, tta in (("metrics", "none"), ("metrics_tta", results["recipe"]["tta"])):
        if section in results:
            test = results[section]["test"]
            scores = (test["accuracy"], *(test["macro"][name] for name in ("precision", "recall", "f1")))
            rows.append([tta, *map(format_estimate, scores)])
    return rows


def make_class_rows(results: dict) -> Rows:
    """Precision, recall and F1 of each class; F1 with test-time augmentation too, where it was measured."""
    classes = results["metrics"]["test"]["per_class"]
    augmented = results.get("metrics_tta", {}).get("test", {}).get("per_class")
    rows = [["class", "precision", "recall", "F1", *(["F1 with TTA"] if augmented else [])]]
    for name, scores in classes.items():
        cells = [format_estimate(scores[key]) for key in ("precision", "recall", "f1")]
        rows.append([name, *cells, *([format_estimate(augmented[name]["f1"])] if augmented else [])])
    return rows


def make_confusion_rows(results: dict) -> Rows:
    """Test images by true class (rows) and predicted class (columns); a heading alone for many classes."""
    names = results["data"]["class_names"]
    rows = [["true ↓ predicted →", *names]]
    if len(names) <= MANY_CLASSES:
        matrix = results["metrics"]["test"]["confusion_matrix"]
        rows += [[name, *map(str, counts)] for name, counts in zip(names, matrix, strict=True)]
    return rows


def make_calibration_rows(calibration: dict) -> Rows:
    """Calibration error, likelihood and Brier score, before and after temperature scaling where it was done."""
    states = list(calibration["test"])
    headings = {"before": "as loaded", "after": f"logits divided by {calibration['temperature'] or 1:.3f}"}
    rows = [["", *(headings[state] for state in states)]]
    for name in calibration["test"]["before"]:
        rows.append([TITLES[name], *(format_score(name, calibration["test"][state][name]) for state in states)])
    return rows


def make_robustness_rows(robustness: dict) -> Rows:
    """Accuracy by family of corruptions."""
    families = {"clean": robustness["clean_accuracy"], **robustness["families"]}
    return [list(families), [f"{100 * accuracy:.1f} %" for accuracy in families.values()]]


def describe_worst_corruption(robustness: dict) -> str:
    """The corruption and severity with the lowest accuracy."""
    accuracy, name, severity = min(
        (accuracy, name, severity)
        for name, corruption in robustness["corruptions"].items()
        for severity, accuracy in corruption["severities"].items()
    )
    return f"Lowest: {100 * accuracy:.1f} %, {escape(name.replace('_', ' '))} at severity {severity}."


def list_limitations(results: dict, has_seeds: bool) -> list[str]:
    """Sentences on what the model gets wrong and on what was not measured."""
    data, test = results["data"], results["metrics"]["test"]
    lines = [describe_classes(test), describe_confusions(test, data["class_names"]), describe_bias(test)]
    if "calibration" in results:
        lines.append(describe_confidence(results["calibration"], test["accuracy"]))
    title = {"cifar10": "CIFAR-10", "cifar10-sample": "CIFAR-10", "cifar100": "CIFAR-100"}.get(data["name"])
    pixels = f"{title} consists of photographs of 32 × 32 pixels with one object each. " if title else ""
    lines.append(f"{pixels}The model was tested on images of this data set only; its accuracy on others is not known.")
    if data["name"] == "cifar10":
        lines.append(
            f"{NEAR_DUPLICATES} of the 10,000 test images have a near-duplicate among the 50,000 training images. How "
            "much of the accuracy is owed to them was not measured."
        )
    if results["model"]["base_model"]:
        lines.append("What its base model learned from other images, biases included, was not examined.")
    if not has_seeds:
        lines.append("Intervals are over test images. One seed was trained; another may do better or worse.")
    return [line for line in lines if line]


def describe_classes(test: dict) -> str:
    """The classes of lowest and of highest recall."""
    scores = {name: row["recall"] for name, row in test["per_class"].items() if row.get("support", 1)}
    names = sorted(scores, key=lambda name: scores[name]["value"])
    if len(names) < 2:
        return ""
    texts = {name: f"{escape(name)} ({format_estimate(scores[name])})" for name in names}
    lowest = join([texts[name] for name in names[: 2 if len(names) > 3 else 1]])
    overlap = scores[names[0]]["high"] >= scores[names[-1]]["low"]
    note = "; these intervals overlap, so the order may be chance" if overlap else ""
    return f"Recall is lowest for {lowest}, and highest for {texts[names[-1]]}{note}."


def describe_confusions(test: dict, class_names: list[str]) -> str:
    """How many mistakes there are, and the most frequent ones."""
    matrix = test["confusion_matrix"]
    mistakes = test["num_images"] - sum(row[place] for place, row in enumerate(matrix))
    found = find_confusions(matrix, class_names)
    if not found:
        return f"It made no mistake on these {test['num_images']:,} test images."
    texts = [f"{count:,} × {escape(true)} taken for {escape(predicted)}" for true, predicted, count in found]
    share = sum(count for *_, count in found) / mistakes
    return f"Of {mistakes:,} mistakes, the most frequent are {join(texts)}: {100 * share:.0f} % of all."


def describe_bias(test: dict) -> str:
    """The classes that are predicted too often and too seldom; nothing where all are as frequent as they should be."""
    matrix, names = test["confusion_matrix"], list(test["per_class"])
    actual, predicted = [sum(row) for row in matrix], [sum(column) for column in zip(*matrix, strict=True)]
    excess = [given - wanted for given, wanted in zip(predicted, actual, strict=True)]
    if not any(excess):
        return ""
    most, least = excess.index(max(excess)), excess.index(min(excess))
    texts = [f"{escape(names[each])} {predicted[each]:,} times for {actual[each]:,} images" for each in (most, least)]
    return f"Of all classes it predicts {texts[0]} (most above its share), and {texts[1]} (most below)."


def describe_confidence(calibration: dict, accuracy: dict) -> str:
    """Whether confidences are higher or lower than the accuracy, before temperature scaling."""
    bins = calibration["reliability"]["before"]
    confidence = sum(each["confidence"] * each["count"] for each in bins) / sum(each["count"] for each in bins)
    if accuracy["low"] <= confidence <= accuracy["high"]:
        verdict = "which is within the accuracy's interval"
    else:
        side = "over" if confidence > accuracy["value"] else "under"
        verdict = f"so it is {side}confident by {100 * abs(confidence - accuracy['value']):.1f} points on average"
    sure, right = 100 * confidence, 100 * accuracy["value"]
    return f"Its mean confidence is {sure:.2f} % at an accuracy of {right:.2f} %, {verdict}."
