"""Owns what a comparison shows of the predictions themselves: mistakes, disagreements, labels, maps, curves."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import nn
from transformers import PreTrainedModel

from ..data.reference import ReferenceData, read_reference_data
from ..data.store import read_images
from ..data.table import ImageData
from ..data.transforms import Preprocessing
from ..errors import UserError
from ..evaluation.activation_maps import compute_activation_maps
from ..evaluation.comparison import Run
from ..evaluation.mistakes import compare_with_people, find_suspected_labels, rank_confident_mistakes, split_by_hits
from ..evaluation.model_summary import find_calibration, find_confusions
from ..hardware import autocast, choose_device, choose_precision
from ..models.image_processors import read_preprocessing
from ..models.loading import find_classifier, load_model
from .comparison_text import shorten_names
from .curves import draw_filters, draw_ranking_curves, draw_reliability, draw_robustness
from .explore import draw_feature_map
from .figures import draw_confusion_matrices
from .image_grids import draw_captioned, draw_strips, shorten

logger = logging.getLogger(__name__)
PICTURES = 12  # of each kind
FEATURES = 1000  # images on a map of features
MAPPED = 6  # images whose activation maps are shown
MAX_CLASSES = 40  # a confusion matrix of more cannot be read beside others


@dataclass
class Understanding:
    """Facts for comparison.json, and figures by file stem with their captions, in the order of the report."""

    facts: dict = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, figure: Figure | None, caption: str) -> None:
        """Keep a figure, if there is one."""
        if figure is not None:
            self.figures[name], self.captions[name] = figure, caption


def understand(
    runs: list[Run], data: ImageData, reference_data: str | None = None, load_models: bool = True
) -> Understanding:
    """Look at the predictions of runs on one test set.

    Args:
        runs: one or more, each with a name of its own.
        data: that they were tested on.
        reference_data: folder with what people said of the test images; see `read_reference_data`.
        load_models: also show where models look and their first filters, which takes their weights.

    Raises:
        UserError: The reference data are not of these images.
    """
    reference = read_reference_data(reference_data) if reference_data else ReferenceData()
    if reference_data and data.name not in ("cifar10", "cifar10-sample"):
        raise UserError(f"reference_data is about CIFAR-10's test images, and dataset is {data.name!r}; leave it out")
    found, images, names = Understanding(), read_images(data.test), data.class_names
    matrices = {run.name: run.results["metrics"]["test"]["confusion_matrix"] for run in runs}
    if len(names) <= MAX_CLASSES:
        short = shorten_names(matrices, 34)
        drawn = draw_confusion_matrices({short[name]: matrix for name, matrix in matrices.items()}, names)
        found.add("confusion_matrices", drawn, "Test images by true and predicted class; darker: a larger share.")
    add_confused_pairs(found, runs, images, names)
    add_mistakes(found, runs, images, names)
    add_disagreements(found, runs, images, names)
    add_suspects(found, runs, images, names)
    add_people(found, runs, reference)
    tables = {run.name: find_calibration(run)["reliability"] for run in runs}
    caption = "How often predictions of a confidence are right, in bins of as many images each; the line is perfect."
    found.add("reliability", draw_reliability(tables), caption)
    drawn = draw_ranking_curves({run.name: run.probabilities for run in runs}, runs[0].labels)
    found.add("ranking_curves", drawn, "One class against the rest, the mean of all classes.")
    sections = {run.name: run.results["robustness"] for run in runs if "robustness" in run.results}
    if sections:
        found.add("robustness", draw_robustness(sections), "Accuracy on clean and on corrupted test images.")
    if load_models:
        add_models(found, runs, images, names)
    return found


def add_confused_pairs(found: Understanding, runs: list[Run], images: np.ndarray, names: list[str]) -> None:
    """The most frequent confusions of all runs together, with images that the first run to make them confuses."""
    total = np.sum([run.results["metrics"]["test"]["confusion_matrix"] for run in runs], axis=0)
    rows, facts = [], []
    for truth, guess, count in find_confusions(total.tolist(), names, 5):
        chosen = np.zeros(0, dtype=int)
        for run in runs:
            chosen = np.flatnonzero((run.labels == names.index(truth)) & (run.predicted == names.index(guess)))
            if len(chosen):
                break
        rows.append((f"{shorten(truth)} taken for {shorten(guess)}: {count}", images[chosen[:8]]))
        facts.append({"true": truth, "predicted": guess, "images": count})
    found.facts["most_confused"] = facts
    if rows:
        title = "Most confused classes" + (f", {len(runs)} models together" if len(runs) > 1 else "")
        found.add("confused_pairs", draw_strips(rows, title), "The most frequent confusions, with examples.")


def caption_image(runs: Iterable[Run], row: int, names: list[str]) -> str:
    """The label, and each run's prediction with its probability."""
    lines = [shorten(names[next(iter(runs)).labels[row]], 14)]
    lines += [f"{shorten(names[run.predicted[row]], 12)} {run.probabilities[row].max():.0%}" for run in runs]
    return "\n".join(lines)


def add_mistakes(found: Understanding, runs: list[Run], images: np.ndarray, names: list[str]) -> None:
    """The most confident mistakes of each run."""
    facts = {}
    for place, run in enumerate(runs):
        rows = rank_confident_mistakes(run.probabilities, run.labels)
        facts[run.name] = {
            "mistakes": len(rows),
            "most_confident": run.predictions["index"].to_numpy()[rows[:PICTURES]].tolist(),
        }
        if len(rows):
            shown = rows[:PICTURES]
            captions = [caption_image([run], row, names) for row in shown]
            title = f"Most confident mistakes of {shorten_names([run.name], 50)[run.name]}".replace("$", r"\$")
            caption = f"{run.name}: label above, prediction with its probability below."
            found.add(f"confident_mistakes_{place + 1}", draw_captioned(images[shown], captions, title), caption)
    found.facts["mistakes"] = facts


def add_disagreements(found: Understanding, runs: list[Run], images: np.ndarray, names: list[str]) -> None:
    """Images that all miss, and those that one run alone gets right."""
    groups = split_by_hits(np.stack([run.predicted == run.labels for run in runs]))
    titles = {"all": "all right", "none": "all wrong"} | {
        str(i): f"only {run.name} is right" for i, run in enumerate(runs)
    }
    found.facts["agreement"] = {titles[key]: len(rows) for key, rows in groups.items()}
    if len(runs) < 2:
        return
    for key, rows in groups.items():
        if key == "all" or not len(rows):
            continue
        shown = rows[:PICTURES]
        captions = [caption_image(runs[:3], row, names) for row in shown]
        title = (
            titles[key]
            if key == "none"
            else f"only {shorten_names([run.name for run in runs], 40)[runs[int(key)].name]} is right"
        )
        order = ", ".join(run.name for run in runs[:3])
        caption = f"{len(rows):,} test images: {titles[key]}. Label above, then the predictions of {order}."
        stem = "missed_by_all" if key == "none" else f"right_by_{int(key) + 1}_alone"
        title = f"{title[0].upper()}{title[1:]}: {len(rows):,} images".replace("$", r"\$")
        found.add(stem, draw_captioned(images[shown], captions, title), caption)


def add_suspects(found: Understanding, runs: list[Run], images: np.ndarray, names: list[str]) -> None:
    """Suspected label errors, by all runs together."""
    rows, guesses = find_suspected_labels([run.probabilities for run in runs], runs[0].labels)
    indices = runs[0].predictions["index"].to_numpy()
    found.facts["suspected_labels"] = {
        "count": len(rows),
        "first": [
            {"index": int(indices[row]), "label": names[runs[0].labels[row]], "suspected": names[guess]}
            for row, guess in zip(rows[:50], guesses[:50], strict=True)
        ],
    }
    if len(rows):
        captions = [
            f"{shorten(names[runs[0].labels[row]], 14)}\n{shorten(names[guess], 12)}?"
            for row, guess in zip(rows[:PICTURES], guesses[:PICTURES], strict=True)
        ]
        title = f"Suspected labels: {len(rows):,} of {len(images):,} test images"
        caption = "Images whose label confident learning doubts (above), and what the models say. Many are only hard."
        found.add("suspected_labels", draw_captioned(images[rows[:PICTURES]], captions, title), caption)


def add_people(found: Understanding, runs: list[Run], reference: ReferenceData) -> None:
    """What reference data say, by run."""
    indices = runs[0].predictions["index"].to_numpy()
    facts = {run.name: compare_with_people(run.probabilities, run.labels, indices, reference) for run in runs}
    if any(facts.values()):
        found.facts["people"] = facts


def add_models(found: Understanding, runs: list[Run], images: np.ndarray, names: list[str]) -> None:
    """Where each model looks on the same images, and its first layer's filters; models that do not load are named."""
    right = np.stack([run.predicted == run.labels for run in runs])
    rows = np.flatnonzero(~right.all(0))[:MAPPED]
    rows = rows if len(rows) else np.arange(min(MAPPED, len(images)))
    strips, filters, missing = [("image", images[rows])], {}, []
    for place, run in enumerate(runs):
        try:
            model, processor = load_model(str(run.folder))
        except UserError as error:
            logger.warning("%s is not looked into: %s", run.name, error)
            missing.append(run.name)
            continue
        pixels = read_preprocessing(processor)(torch.from_numpy(images[rows].copy()).permute(0, 3, 1, 2))
        maps = compute_activation_maps(model, pixels)
        if maps is not None:
            strips.append((shorten(run.name, 30), overlay(images[rows], maps)))
        if kernels := find_first_filters(model):
            filters[run.name] = kernels
        chosen = np.linspace(0, len(images) - 1, min(FEATURES, len(images))).astype(int)
        features = collect_features(model, read_preprocessing(processor), images[chosen])
        if features is not None:
            drawn = draw_feature_map(features, run.labels[chosen], names, shorten(run.name, 40))
            caption = f"What the classifier of {run.name} is given for test images, on its two main directions (PCA)."
            found.add(f"features_{place + 1}", drawn, caption)
    found.facts["models_without_weights"] = missing
    if len(strips) > 1:
        columns = [shorten(names[label], 12) for label in runs[0].labels[rows]]
        caption = "Where each model looks for the class that it predicts (Grad-CAM): red speaks for it, blue does not."
        found.add("activation_maps", draw_strips(strips, "Where the models look", columns), caption)
    if filters:
        found.add(
            "first_filters", draw_filters(filters), "Weights of the first layer, each stretched to its own range."
        )


@torch.inference_mode()
def collect_features(model: PreTrainedModel, preprocessing: Preprocessing, images: np.ndarray) -> np.ndarray | None:
    """What a model's classifier is given, (N, D), for uint8 (N, S, S, 3); None where the classifier is not known."""
    classifier, kept = find_classifier(model), []
    if classifier is None or len(images) < 3:
        return None
    handle = classifier.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].float().flatten(1)))
    device, precision = choose_device(), choose_precision()
    model = model.to(device).eval()
    with autocast(device, precision):
        for start in range(0, len(images), 100):
            batch = torch.from_numpy(images[start : start + 100].copy()).permute(0, 3, 1, 2)
            model(pixel_values=preprocessing(batch).to(device))
    handle.remove()
    return torch.cat(kept).cpu().numpy()


def overlay(images: np.ndarray, maps: torch.Tensor) -> np.ndarray:
    """Images uint8 (N, S, S, 3) under activation maps (N, H, W)."""
    small = nn.functional.interpolate(maps[:, None], size=images.shape[1:3], mode="area")[:, 0].cpu().numpy()
    colors = colormaps["turbo"](small)[..., :3]
    return (255 * (0.5 * images / 255 + 0.5 * colors)).astype(np.uint8)


def find_first_filters(model: nn.Module) -> list[np.ndarray]:
    """The weights of the first convolution of RGB images, (h, w, 3) each."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
            return list(module.weight.detach().float().permute(0, 2, 3, 1).cpu().numpy())
    return []
