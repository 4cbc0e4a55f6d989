"""Owns predictions: from a model and its own image processor to one row per image, in memory and in parquet."""

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..data.store import read_column
from ..errors import UserError
from ..files import write_then_rename
from ..hardware import autocast
from .views import make_views

PREFIX = "probability_"


@torch.inference_mode()
def predict_probabilities(
    model: PreTrainedModel,
    processor,
    images: np.ndarray,
    device: torch.device,
    precision: str = "fp32",
    batch_size: int = 250,
    description: str | None = "Evaluating",
    rows: np.ndarray | None = None,
    tta: str = "none",
) -> np.ndarray:
    """Class probabilities, through the image processor that a stranger's pipeline would use.

    Args:
        model: an image classifier.
        processor: its transformers image processor.
        images: uint8 (N, H, W, 3).
        device: where to run.
        precision: "fp32", "bf16" or "fp16" (autocast).
        batch_size: images at a time.
        description: of the progress bar; None for no bar.
        rows: which of `images`, integers; None for all. With it, memory-mapped images are read as they are needed.
        tta: test-time augmentation, see `make_views`.

    Returns:
        float32 (N, K).

    Raises:
        UserError: The model gives NaN or infinity.
    """
    model = model.to(device, memory_format=torch.channels_last).eval()
    bar = {"disable": True} if description is None else {}  # else TQDM_DISABLE decides
    probabilities, rows = [], np.arange(len(images)) if rows is None else rows
    with (
        autocast(device, precision),
        tqdm(total=len(rows), desc=description, unit="image", **bar) as progress,
    ):
        for start in range(0, len(rows), batch_size):
            batch, logits = images[rows[start : start + batch_size]], 0.0
            for weight, view in make_views(batch, tta):
                pixel_values = make_pixel_values(processor, view).to(device)
                logits = logits + weight * model(pixel_values=pixel_values).logits.float()
            probabilities.append(logits.softmax(-1).cpu())
            progress.update(len(batch))
    result = torch.cat(probabilities).numpy()
    if not np.isfinite(result).all():
        raise UserError(
            "the model's outputs are not finite: its training diverged. Lower learning_rate, or train in fp32"
        )
    return result


def make_pixel_values(processor, images: np.ndarray) -> torch.Tensor:
    """Images (N, H, W, 3), uint8, through an image processor: float32 (N, 3, h, w)."""
    images = np.require(images, requirements=("C", "W"))
    # TimmWrapper's processor takes Pillow images; the others take a whole batch, which is faster.
    is_timms = hasattr(processor, "data_config")
    given = [Image.fromarray(image) for image in images] if is_timms else torch.from_numpy(images).permute(0, 3, 1, 2)
    return processor(images=given, return_tensors="pt")["pixel_values"]


def match_classes(id2label: dict[int, str], class_names: list[str]) -> list[int]:
    """For each of our classes, the model's output number of that name (case, spaces and underscores aside).

    Raises:
        UserError: A class has no output of its name.
    """
    numbers = {simplify(name): int(number) for number, name in id2label.items()}
    missing = [name for name in class_names if simplify(name) not in numbers]
    if missing:
        raise UserError(
            f"the model's labels ({', '.join(list(id2label.values())[:10])}) have no {missing[0]!r}; needed: "
            f"{', '.join(class_names)}. Fine-tune it first, or name its labels in config.json's id2label"
        )
    return [numbers[simplify(name)] for name in class_names]


def simplify(name: str) -> str:
    """A label's name for comparing."""
    return "".join(character for character in name.lower() if character.isalnum())


def make_predictions(table: datasets.Dataset, probabilities: np.ndarray) -> pd.DataFrame:
    """One row per image: `index`, `label`, and `probability_<class>` for each class."""
    frame = pd.DataFrame({"index": read_column(table, "index"), "label": read_column(table, "label")})
    names = [PREFIX + name for name in table.features["label"].names]
    return pd.concat([frame, pd.DataFrame(probabilities, columns=names)], axis=1)


def write_predictions(path: Path, frame: pd.DataFrame) -> None:
    """Write predictions as parquet, whole or not at all."""
    with write_then_rename(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read what `write_predictions` wrote.

    Raises:
        UserError: The file is missing or not such a table.
    """
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); make the run again") from error
    if not {"index", "label"} <= set(frame) or not any(name.startswith(PREFIX) for name in frame):
        raise UserError(f"{path}: columns are {list(frame)}; needed: index, label and {PREFIX}<class>")
    return frame


def get_probabilities(frame: pd.DataFrame) -> np.ndarray:
    """The probability columns: float (N, K)."""
    return frame[[name for name in frame if name.startswith(PREFIX)]].to_numpy()
