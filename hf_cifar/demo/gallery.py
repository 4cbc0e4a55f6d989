"""Owns the test images that the demo offers: by class, and those that two models disagree on."""

import numpy as np

from ..data.store import map_images, read_column
from ..data.table import ImageData
from ..evaluation.predictions import get_probabilities, match_classes, predict_probabilities, read_predictions
from ..hardware import choose_device, choose_precision
from .classifier import Classifier, find_file
from .examples import Example, Groups

PREDICTIONS = "predictions/test.parquet"


def group_examples(data: ImageData, predictions: list[np.ndarray | None]) -> Groups:
    """All test images by class; and those that two models disagree on, where both have predictions.

    Args:
        data: whose test images.
        predictions: of each model, (N, K) or None.
    """
    images, rows = map_images(data.test)
    labels, indices = read_column(data.test, "label"), read_column(data.test, "index")
    names = data.class_names
    everything = [
        Example(f"Test image {index}", names[label], images[row])
        for row, label, index in zip(rows, labels, indices, strict=True)
    ]
    groups = {name: [each for each in everything if each.label == name] for name in names}
    if len(predictions) == 2 and all(each is not None for each in predictions):
        chosen = find_disagreements(*predictions)
        groups[f"the models disagree ({len(chosen):,} of {len(everything):,})"] = [everything[row] for row in chosen]
    return {name: group for name, group in groups.items() if group}


def find_disagreements(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rows on which two models, (N, K) each, name another class; those first of which both are the most sure."""
    rows = np.flatnonzero(first.argmax(1) != second.argmax(1))
    sure = np.minimum(first.max(1), second.max(1))[rows]
    return rows[np.argsort(-sure, kind="stable")]


def read_test_predictions(name: str, data: ImageData) -> np.ndarray | None:
    """What a run predicted for the test images: (N, K), in their order and that of the classes.

    Args:
        name: its folder or Hub id.
        data: of the test images.

    Returns:
        None where it has not kept that, or was tested on other images.

    Raises:
        UserError: The file is damaged.
    """
    path = find_file(name, PREDICTIONS)
    if path is None:
        return None
    frame = read_predictions(path)
    probabilities = get_probabilities(frame)
    same = all(np.array_equal(frame[column], read_column(data.test, column)) for column in ("index", "label"))
    return probabilities if same and probabilities.shape[1] == len(data.class_names) else None


def compute_test_predictions(classifier: Classifier, data: ImageData) -> np.ndarray:
    """Predict the test images now, as `read_test_predictions` has them.

    Raises:
        UserError: The model has other classes.
    """
    columns = match_classes(classifier.model.config.id2label, data.class_names)
    images, rows = map_images(data.test)
    place = (choose_device(), choose_precision())
    name, model, processor = classifier.name, classifier.model, classifier.processor
    return predict_probabilities(model, processor, images, *place, description=name, rows=rows)[:, columns]
