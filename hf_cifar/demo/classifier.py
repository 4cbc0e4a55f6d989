"""Owns a model in the demo: what it says of a picture, how sure it is, and where it looked."""

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from transformers import PreTrainedModel

from ..errors import UserError
from ..evaluation.activation_maps import compute_activation_maps
from ..evaluation.calibration import apply_temperature
from ..evaluation.predictions import make_pixel_values, predict_probabilities
from ..evaluation.results import FILE_NAME, read_results_file
from ..hardware import choose_device
from ..hub import is_hub_reachable
from ..models.loading import load_model
from ..reporting.model_figures import overlay

logger = logging.getLogger(__name__)
SHOWN = 5  # classes


@dataclass(frozen=True)
class Answer:
    """What a model says of one picture.

    Attributes:
        best: the most probable classes and their probabilities, in order.
        overlay: what the model was given, in gray below where it looked: uint8 (S, S, 3); None for some models.
        seconds: that it took.
    """

    best: dict[str, float]
    overlay: np.ndarray | None
    seconds: float


@dataclass
class Classifier:
    """A model, its image processor, and the temperature that calibrates it.

    Attributes:
        name: for people.
        source: folder or Hub id that it was loaded from.
        temperature: None where none is known.
        calibration: a sentence about that.
        results: its results.json, if it comes from a run.
    """

    name: str
    source: str
    model: PreTrainedModel
    processor: object
    temperature: float | None
    calibration: str
    results: dict | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)  # visitors come on several threads

    @property
    def class_names(self) -> list[str]:
        """In the order of the model's outputs; of equal names, each with its number."""
        names = [str(self.model.config.id2label[number]) for number in sorted(self.model.config.id2label)]
        return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names)]

    def answer(self, pixels: np.ndarray) -> Answer:
        """Classify one picture.

        Args:
            pixels: uint8 (H, W, 3).

        Raises:
            UserError: The model gives no finite numbers.
        """
        with self.lock:
            started, device = time.perf_counter(), choose_device()
            pixels = np.array(pixels)  # a copy: test images are mapped from a file, and torch warns of such memory
            values = predict_probabilities(self.model, self.processor, pixels[None], device, description=None)
            probabilities = values[0] if self.temperature is None else apply_temperature(values, self.temperature)[0]
            order, names = np.argsort(-probabilities, kind="stable")[:SHOWN], self.class_names
            best = {names[number]: float(probabilities[number]) for number in order}
            return Answer(best, self.draw_map(pixels, device), time.perf_counter() - started)

    def draw_map(self, pixels: np.ndarray, device: torch.device) -> np.ndarray | None:
        """Where the model looked, over what it was given, which its image processor may have cropped."""
        # Its own pixels are put back from what it makes of black and of white, whatever it does to them.
        flat = [np.full((1, 32, 32, 3), value, dtype=np.uint8) for value in (0, 255)]
        low, high = (make_pixel_values(self.processor, each).mean((2, 3), keepdim=True) for each in flat)
        pixel_values = make_pixel_values(self.processor, pixels[None])  # (1, 3, S, S)
        seen = ((pixel_values - low) / (high - low)).clamp(0, 1).mul(255).round().byte()
        try:
            maps, _ = compute_activation_maps(self.model, pixel_values.to(device))
        except UserError as error:
            logger.info("%s: %s", self.name, error)
            return None
        return overlay(seen.permute(0, 2, 3, 1).numpy(), maps)[0]


def load_classifier(name: str, trust_remote_code: bool = False, cache_dir: str | None = None) -> Classifier:
    """Load a model and make it classify once, so that the first visitor does not wait.

    Args:
        name: run folder, folder or Hub id of an image classifier.
        trust_remote_code: whether to run Python files that come with it.
        cache_dir: see `get_cache_dir`.

    Raises:
        UserError: See `load_model`.
    """
    model, processor = load_model(name, cache_dir=cache_dir, trust_remote_code=trust_remote_code)
    results = find_results(name)
    temperature, calibration = read_temperature(results)
    title = results["model"]["name"] if results else Path(name).name
    # Moved here: `predict_probabilities` would do it in inference mode, and no gradients of such weights can be had.
    model = model.to(choose_device(), memory_format=torch.channels_last).eval()
    classifier = Classifier(title, name, model, processor, temperature, calibration, results)
    classifier.answer(np.zeros((32, 32, 3), dtype=np.uint8))
    return classifier


def load_classifiers(
    names: list[str], trust_remote_code: bool = False, cache_dir: str | None = None
) -> list[Classifier]:
    """`load_classifier` for each; where two have one name, numbers tell them apart."""
    classifiers = [load_classifier(name, trust_remote_code, cache_dir) for name in names]
    titles = [each.name for each in classifiers]
    for number, classifier in enumerate(classifiers, 1):
        if titles.count(classifier.name) > 1:
            classifier.name = f"{number}: {classifier.name}"
    return classifiers


def find_results(name: str) -> dict | None:
    """A model's results.json; None where there is none, or one that is not ours."""
    path = find_file(name, FILE_NAME)
    try:
        return None if path is None else read_results_file(path)
    except UserError as error:
        logger.warning("%s is taken for a model without measurements: %s", name, error)
        return None


def read_temperature(results: dict | None) -> tuple[float | None, str]:
    """The temperature that a run was calibrated with, and a sentence about it."""
    calibration = (results or {}).get("calibration") or {}
    temperature = calibration.get("temperature")
    if temperature is not None:
        return temperature, f"Probabilities calibrated on validation images (temperature {temperature:.2f})."
    reason = calibration.get("reason") or f"it has no {FILE_NAME} with a temperature"
    return None, f"Probabilities not calibrated: {reason}."


def find_file(name: str, path: str) -> Path | None:
    """A file of a model's folder or Hub repository; None where it is not there."""
    if Path(name).is_dir():
        return Path(name) / path if (Path(name) / path).is_file() else None
    if name.startswith("offline:"):
        return None
    if not is_hub_reachable():
        found = try_to_load_from_cache(name, path)
        return Path(found) if isinstance(found, str) else None
    try:
        return Path(hf_hub_download(name, path))
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        logger.warning("%s of %s could not be fetched: %s", path, name, error)
        return None
