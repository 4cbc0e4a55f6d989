"""Owns turning a label column, of class ids, texts or numbers, into class numbers."""

import datasets
import numpy as np
import pyarrow as pa

from ..errors import UserError


def find_class_names(feature: object, values: pa.ChunkedArray, where: str) -> list[str]:
    """The classes in the order of their numbers: a ClassLabel's names, else the sorted values.

    Raises:
        UserError: The values are no classes.
    """
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names)
    distinct = sorted(values.drop_null().unique().to_pylist())
    if distinct and isinstance(distinct[0], int) and distinct[0] < 0:
        raise UserError(f"{where}: labels, as {distinct[0]}, are not class ids; allowed: 0 or more")
    if not 2 <= len(distinct) <= len(values) / 2:
        raise UserError(
            f"{where}: {len(distinct):,} different values in {len(values):,} images are no classes; give another "
            "--label_column"
        )
    return [str(value) for value in distinct]


def number_labels(feature: object, values: pa.ChunkedArray, class_names: list[str], where: str) -> np.ndarray:
    """Class numbers int64 (N,).

    Raises:
        UserError: A value is missing or is no class.
    """
    if values.null_count:
        raise UserError(f"{where}: {values.null_count:,} images have no label; allowed: one class each. Remove them")
    if isinstance(feature, datasets.ClassLabel):
        labels = values.to_numpy().astype(np.int64)
        wrong = labels[(labels < 0) | (labels >= len(feature.names))]
        if len(wrong):
            raise UserError(
                f"{where}: {len(wrong):,} labels, as {wrong[0]}, are not class ids; allowed: "
                f"0 to {len(class_names) - 1}"
            )
        if list(feature.names) == class_names:
            return labels
        values = pa.chunked_array([[feature.names[label] for label in labels]])  # this split numbers them otherwise
    texts = [str(value) for value in values.to_pylist()]
    numbers = {name: number for number, name in enumerate(class_names)}
    if unknown := sorted(set(texts) - set(numbers)):
        raise UserError(f"{where}: {unknown[0]!r} is no class of the training images; allowed: {', '.join(numbers)}")
    return np.array([numbers[text] for text in texts], dtype=np.int64)
