"""Owns training a head on a frozen backbone: features computed once and cached, the head trained in its place."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import datasets
import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..data.store import hash_images, map_images
from ..data.transforms import Preprocessing
from ..errors import UserError
from ..hardware import autocast
from ..models.loading import find_classifier, hash_weights
from ..parser import find_disk_problem
from .features import get_part_paths, read_part, write_part

logger = logging.getLogger(__name__)


class FeatureClassifier(nn.Module):
    """A model's own classifier, fed with features; it is the same module, so training it changes the full model."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.classifier = find_classifier(model)
        self.config = model.config  # with label smoothing, the Trainer looks into it

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features (B, ...) as they enter the classifier, to logits (B, K)."""
        return {"logits": self.classifier(features)}


def get_features(
    model: PreTrainedModel,
    table: datasets.Dataset,
    preprocessing: Preprocessing,
    cache_dir: Path,
    device: torch.device,
    precision: str,
    batch_size: int = 100,
) -> torch.Tensor:
    """The features of a table's images, of which those are computed that the cache has not, or not intact.

    They are kept in parts, each written when it is computed, so that a killed extraction goes on where it stopped.
    Where the cache cannot be written, a warning says so and nothing is kept.

    Args:
        model: its classifier's input is taken, in evaluation mode.
        table: of images.
        preprocessing: what the model expects.
        cache_dir: see `get_cache_dir`.
        device: where to run the model.
        precision: "fp32", "bf16" or "fp16".
        batch_size: images at a time.

    Returns:
        float32, or the precision's dtype, (N, ...), on the CPU, in the table's order.

    Raises:
        UserError: They are not finite.
    """
    key = describe_features(model, table, preprocessing, precision)
    paths = get_part_paths(cache_dir / "features" / hashlib.sha256(key.encode()).hexdigest()[:32], len(table))
    images, rows = map_images(table)
    model = model.to(device, memory_format=torch.channels_last).eval()

    def extract(part: np.ndarray, report: Callable[[int], object]) -> torch.Tensor:
        return extract_features(model, images, part, preprocessing, device, precision, batch_size, report)

    example = extract(rows[:1], lambda count: None)  # what a part must look like to be believed
    features = example.new_empty(len(rows), *example.shape[1:])
    missing = read_parts(paths, key, features)
    if not missing:
        return features
    done, keeps = len(rows) - sum(map(len, missing)), True
    with tqdm(total=len(rows), initial=done, desc="Features", unit="image") as progress:
        for part in missing:
            target = features[part.start : part.stop]
            if not read_parts({part: paths[part]}, key, features, warns=False):  # another process was faster
                progress.update(len(part))
                continue
            target.copy_(extract(rows[part.start : part.stop], progress.update))
            keeps = keeps and try_to_write(paths[part], key, target)
    return features


def describe_features(
    model: PreTrainedModel, table: datasets.Dataset, preprocessing: Preprocessing, precision: str
) -> str:
    """All that features depend on, as JSON: weights, architecture, images, preprocessing, precision, versions.

    The batch size and the device, which change no more than rounding, are left out.
    """
    labels = {"id2label", "label2id", "label_names", "num_labels", "num_classes", "pretrained_cfg", "_name_or_path"}
    key = {
        "model": type(model).__name__,
        "config": {name: value for name, value in model.config.to_diff_dict().items() if name not in labels},
        "weights": hash_weights(model, without=find_classifier(model)),
        "images": hash_images(table),
        "preprocessing": asdict(preprocessing),
        "precision": precision,
        "versions": {name: version(name) for name in ("torch", "torchvision", "transformers", "timm")},
    }
    return json.dumps(key, sort_keys=True, default=str)


def read_parts(paths: dict[range, Path], key: str, features: torch.Tensor, warns: bool = True) -> list[range]:
    """Fill `features` with what the cache holds, in place, and return the parts that are missing or damaged."""
    missing, problems = [], []
    for part, path in paths.items():
        try:
            if not path.is_file():
                missing.append(part)
                continue
            target = features[part.start : part.stop]
            target.copy_(read_part(path, key, target))
        except ValueError as error:
            missing.append(part)
            problems.append(f"{path}: {error}")
    if problems and warns:
        logger.warning(
            "%d of %d parts of the cached features are damaged and computed again, as %s",
            len(problems), len(paths), problems[0],
        )  # fmt: skip
    return missing


def try_to_write(path: Path, key: str, features: torch.Tensor) -> bool:
    """`write_part`; where that fails, warn once, since the features themselves are good. Whether it was written."""
    try:
        write_part(path, key, features)
    except (OSError, SafetensorError) as error:
        reason = find_disk_problem(error) or error
        logger.warning("Features cannot be kept in %s (%s): they will be computed again", path.parent, reason)
        return False
    return True


@torch.inference_mode()
def extract_features(
    model: PreTrainedModel,
    images: np.ndarray,
    rows: np.ndarray,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: str,
    batch_size: int,
    report: Callable[[int], object],
) -> torch.Tensor:
    """Run the backbone over `rows` of `images`, uint8 (M, S, S, 3); other arguments and result as for `get_features`.

    `report` is told the size of each batch that is done.
    """
    batches: list[torch.Tensor] = []
    # Cloned, because a transformer's features are a view that would keep all tokens in memory; and left on the device,
    # because fetching each batch would make a GPU wait.
    hook = find_classifier(model).register_forward_pre_hook(lambda module, inputs: batches.append(inputs[0].clone()))
    try:
        with autocast(device, precision):
            for start in range(0, len(rows), batch_size):
                batch = torch.from_numpy(images[rows[start : start + batch_size]]).permute(0, 3, 1, 2)  # (B, C, H, W)
                model(preprocessing(batch.to(device)))
                report(len(batch))
    finally:
        hook.remove()
    features = torch.cat(batches).cpu()
    if not features.isfinite().all():
        remedy = "use fp32" if precision == "fp16" else "its weights are damaged"
        raise UserError(f"the features of {type(model).__name__} are not finite in {precision}; {remedy}")
    return features
