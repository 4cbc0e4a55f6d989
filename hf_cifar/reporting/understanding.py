"""Owns what a comparison shows of how models decide: mistakes, people, confidence, and what is inside them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.figure import Figure

from ..data.constants import CLASS_NAMES
from ..data.reference import ReferenceData, read_reference_data
from ..data.store import map_images, read_column
from ..data.table import ImageData
from ..errors import UserError
from ..evaluation.activation_maps import compute_activation_maps, get_first_filters
from ..evaluation.calibration import build_reliability_table, compute_calibration_error
from ..evaluation.comparison import Run
from ..evaluation.ranking_curves import compute_ranking_curves
from ..evaluation.reference_agreement import (
    find_disputed,
    measure_by_agreement,
    measure_human_agreement,
    measure_subsets,
)
from ..models.image_processors import read_preprocessing
from ..models.loading import find_classifier, load_model
from . import curves, model_figures
from .comparison_text import shorten_names
from .feature_map import compute_features, project_features
from .figures import draw_confusion_matrices
from .image_grids import shorten
from .mistake_figures import PICTURES, add_mistakes, add_shared_mistakes, add_suspects, caption_images

logger = logging.getLogger(__name__)
MODELS = 5  # of more, the first ones are drawn; facts are of all
MAX_CLASSES = 40  # a confusion matrix of more cannot be read beside others
MAPPED = 500  # test images on a feature map


@dataclass
class Understanding:
    """Facts for comparison.json, and figures and their captions by file stem, in the order of showing."""

    facts: dict = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, figure: Figure, caption: str) -> None:
        """One more figure."""
        self.figures[name], self.captions[name] = figure, caption


@dataclass
class Subject:
    """What is looked at: runs, how figures call them, those that are drawn, and the test images they share."""

    runs: Sequence[Run]
    data: ImageData

    def __post_init__(self) -> None:
        images, rows = map_images(self.data.test)
        places = {index: row for row, index in enumerate(read_column(self.data.test, "index").tolist())}
        self.indices = self.runs[0].predictions["index"].to_numpy()
        self.rows = np.array([places[index] for index in self.indices.tolist()])  # of the table, by prediction
        self.read: Callable[[np.ndarray], np.ndarray] = lambda chosen: images[rows[self.rows[chosen]]]
        self.labels = self.runs[0].predictions["label"].to_numpy()
        self.probabilities = {run.name: run.probabilities for run in self.runs}
        self.shown = self.runs[:MODELS]
        short = shorten_names([run.name for run in self.runs], 38)
        self.titles = {name: shorten(text, 99) for name, text in short.items()}
        self.classes = [shorten(name) for name in self.data.class_names]
        left_out = len(self.runs) - len(self.shown)
        self.note = f" Of {len(self.runs)} models, the first {MODELS} are drawn." if left_out else ""


def understand(
    runs: Sequence[Run], data: ImageData, reference_dir: str | None = None, load_models: bool = True
) -> Understanding:
    """Look into finished runs that were tested on the same images.

    Args:
        runs: one or more; of several seeds of one recipe give one.
        data: the dataset that they were tested on.
        reference_dir: folder of what others found out about CIFAR-10's test images, see `read_reference_data`.
        load_models: whether to load the models themselves, for activation maps, features and filters.

    Raises:
        UserError: The reference data are of other images, or cannot be read.
    """
    reference = read_reference_data(reference_dir) if reference_dir else None
    if reference and (list(data.class_names) != list(CLASS_NAMES) or data.name not in ("cifar10", "cifar10-sample")):
        raise UserError(f"reference_data is about CIFAR-10's test images, and dataset is {data.name!r}; leave it out")
    result, subject = Understanding(facts={"models": [run.name for run in runs]}), Subject(runs, data)
    if len(data.class_names) <= MAX_CLASSES:
        matrices = {
            subject.titles[run.name]: run.results["metrics"]["test"]["confusion_matrix"] for run in subject.shown
        }
        text = "Test images by true and predicted class; the darker, the larger the share of the true class."
        result.add("confusion_matrices", draw_confusion_matrices(matrices, subject.classes), text + subject.note)
    add_mistakes(result, subject)
    if len(runs) > 1:
        add_shared_mistakes(result, subject)
    add_suspects(result, subject, reference)
    if reference:
        add_reference(result, subject, reference)
    add_curves(result, subject)
    if load_models:
        add_models(result, subject)
    return result


def add_reference(result: Understanding, subject: Subject, reference: ReferenceData) -> None:
    """Agreement with people's labels, and accuracy without doubtful test images."""
    hits = {name: values.argmax(1) == subject.labels for name, values in subject.probabilities.items()}
    subsets = measure_subsets(hits, subject.indices, reference)
    facts, groups, text = {"subsets": subsets}, [], []
    if reference.human_labels is not None:
        shares = reference.human_labels[subject.indices]
        groups = measure_by_agreement(hits, subject.labels, shares)
        facts["agreement"] = measure_human_agreement(subject.probabilities, subject.labels, shares)
        facts["by_share_of_people"] = groups
        text.append("Left: how about 50 people labelled each test image (CIFAR-10H).")
    if reference.duplicates is not None:
        text.append("Duplicates: test images with a near-duplicate in CIFAR-10's training set (ciFAIR).")
    if reference.disputes is not None:
        facts["disputed"] = int(np.isin(subject.indices, find_disputed(reference)).sum())
        text.append("Disputed: labels that fewer than three of five people uphold (Northcutt et al. 2021).")
    result.facts["reference"] = facts
    if groups or len(subsets) > 1:
        shown = {run.name: subject.titles[run.name] for run in subject.shown}

        def rename(row: dict) -> dict:
            return row | {"accuracy": {title: row["accuracy"][name] for name, title in shown.items()}}

        figure = curves.draw_human_agreement(
            [rename(row) for row in groups], {name: rename(row) for name, row in subsets.items()}
        )
        result.add("human_agreement", figure, " ".join(text) + subject.note)


def add_curves(result: Understanding, subject: Subject) -> None:
    """Reliability, ROC, precision-recall, and accuracy on corrupted images."""
    tables, errors, ranking, corrupted = {}, {}, {}, {}
    for run in subject.shown:
        title, section = subject.titles[run.name], run.results.get("calibration")
        if section:
            tables[title] = section["reliability"]
            values = [section["test"][state]["calibration_error"]["value"] for state in section["reliability"]]
        else:
            tables[title] = {"before": build_reliability_table(run.probabilities, subject.labels)}
            values = [float(compute_calibration_error(run.probabilities, subject.labels))]
        errors[title] = "calibration error " + ", then ".join(f"{value:.1%}" for value in values if value is not None)
        if found := compute_ranking_curves(run.probabilities, subject.labels):
            ranking[title] = found
        if robustness := run.results.get("robustness"):
            corrupted[title] = {"clean": robustness["clean_accuracy"], **robustness["families"]}
    text = "Accuracy against confidence in bins of equally many test images; below the line a model is too sure."
    result.add("reliability", curves.draw_reliability(tables, errors), text + subject.note)
    if ranking:
        text = "one class against the rest; gray: each class. The three lowest classes are named." + subject.note
        result.add("roc_curves", curves.draw_roc(ranking, subject.data.class_names), f"ROC, {text}")
        drawn = curves.draw_precision_recall(ranking, subject.data.class_names)
        result.add("precision_recall_curves", drawn, f"Precision and recall, {text}")
    if corrupted:
        text = "Accuracy on clean test images and on corrupted ones (CIFAR-10-C's corruptions), mean of each family."
        result.add("corruptions", curves.draw_corruptions(corrupted), text + subject.note)


def add_models(result: Understanding, subject: Subject) -> None:
    """What needs the models themselves; one that cannot be loaded, or looked into, is left out, and it is said why."""
    maps, texts, points, filters, layers, skipped = {}, {}, {}, {}, {}, {}
    rows = choose_images(subject)
    images = subject.read(rows)
    mapped = np.linspace(0, len(subject.labels) - 1, min(MAPPED, len(subject.labels))).astype(int)
    for run in subject.shown:
        title = subject.titles[run.name]
        try:
            model, processor = load_model(str(run.folder))
            model.eval()
            if (weights := get_first_filters(model)) is not None:
                filters[title] = weights
            if find_classifier(model) is not None:
                features = compute_features(model, processor, subject.data.test.select(subject.rows[mapped]))
                if (found := project_features(features)) is not None:
                    points[title] = found
            batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)  # (B, 3, S, S)
            device = next(model.parameters()).device
            pixel_values = read_preprocessing(processor)(batch.to(device))
            maps[title], layers[run.name] = compute_activation_maps(model, pixel_values)
            texts[title] = [line.split("\n")[1] for line in caption_images(subject, rows, [run])]
        except UserError as error:
            logger.warning("%s is not looked into: %s", run.name, error)
            skipped[run.name] = str(error)
    result.facts |= {"activation_layers": layers, "not_looked_into": skipped}
    note = subject.note + "".join(
        f" {subject.titles[name]} is left out or in part: {skipped[name]}." for name in skipped
    )
    if maps:
        truths = [subject.classes[label] for label in subject.labels[rows]]
        text = "Grad-CAM: where a late layer's features speak for the predicted class. It shows where, not why."
        result.add("activation_maps", model_figures.draw_activation_maps(images, truths, maps, texts), text + note)
    if points:
        text = (
            f"What enters the classifier, of {len(mapped):,} test images, put into a plane by t-SNE: neighbours stay "
        )
        text += "neighbours, distances between groups mean nothing."
        drawn = model_figures.draw_feature_maps(points, subject.labels[mapped], subject.data.class_names)
        result.add("feature_maps", drawn, text + note)
    if filters:
        text = "Weights of the first convolution, each scaled by its own largest; gray is 0."
        result.add("first_filters", model_figures.draw_first_filters(filters), text + note)


def choose_images(subject: Subject) -> np.ndarray:
    """Rows for activation maps: half of them are missed by a model, the others all get right; of several classes."""
    predicted = np.stack([values.argmax(1) for values in subject.probabilities.values()])
    missed = (predicted != subject.labels).any(0)
    chosen = []
    for rows in (np.flatnonzero(missed), np.flatnonzero(~missed)):
        _, first = np.unique(subject.labels[rows], return_index=True)
        ordered = np.concatenate([np.sort(first), np.setdiff1d(np.arange(len(rows)), first)]).astype(int)
        chosen.append(rows[ordered])
    half = PICTURES // 2
    count = max(half, PICTURES - len(chosen[0]))
    right = chosen[1][:count]
    return np.concatenate([right, chosen[0][: PICTURES - len(right)]])
