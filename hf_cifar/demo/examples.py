"""Owns the example images that the demo offers in groups, and the folder that they are kept in."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.decoding import EncodedImage, decode_image
from ..errors import UserError
from ..files import write_json

INDEX = "examples.json"


@dataclass(frozen=True)
class Example:
    """A test image.

    Attributes:
        title: what it is called.
        label: its class.
        pixels: uint8 (S, S, 3).
    """

    title: str
    label: str
    pixels: np.ndarray


Groups = dict[str, list[Example]]


def save_examples(folder: Path, groups: Groups, count: int) -> None:
    """Write the first `count` of each group as PNG files, and their list."""
    listed = {}
    for number, (name, group) in enumerate(groups.items()):
        listed[name] = []
        for position, example in enumerate(group[:count]):
            file = f"{number:02}_{position:02}.png"
            Image.fromarray(example.pixels).save(folder / file)
            listed[name].append({"file": file, "title": example.title, "label": example.label})
    write_json(folder / INDEX, listed)


def load_examples(folder: Path) -> Groups:
    """Read what `save_examples` wrote.

    Raises:
        UserError: A file is missing or damaged.
    """
    try:
        listed = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return {name: [load_example(folder, **each) for each in group] for name, group in listed.items()}
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} does not hold the example images: {error}; write the Space again") from error


def load_example(folder: Path, file: str, title: str, label: str) -> Example:
    """One entry of the list."""
    return Example(title, label, decode_image(EncodedImage(file, folder / file))[0])
