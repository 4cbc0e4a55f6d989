"""Owns training a head on a frozen backbone: features computed once and cached, the head trained in its place."""

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path

import datasets
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..data.integrity import hash_array
from ..data.store import hash_images, iterate_images
from ..data.transforms import Preprocessing
from ..files import write_then_rename
from ..hardware import autocast
from ..models.loading import find_classifier, hash_weights

logger = logging.getLogger(__name__)


class FeatureClassifier(nn.Module):
    """A model's own classifier, fed with features; it is the same module, so training it changes the full model."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.classifier = find_classifier(model)

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
    """The features of a table's images, from the cache where they are there and intact.

    They are filed under (architecture, backbone weights, preprocessing, images, precision): nothing stale can be met.

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
    """
    labels = {"id2label", "label2id", "label_names", "num_labels", "num_classes", "pretrained_cfg"}
    key = {
        "model": type(model).__name__,
        "config": {name: value for name, value in model.config.to_diff_dict().items() if name not in labels},
        "weights": hash_weights(model, without=find_classifier(model)),
        "images": hash_images(table),
        "preprocessing": asdict(preprocessing),
        "precision": precision,
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:32]
    path = cache_dir / "features" / f"{name}.safetensors"
    features = read_features(path)
    if features is None:
        features = extract_features(model, table, preprocessing, device, precision, batch_size)
        with write_then_rename(path) as temporary:
            save_file({"features": features}, temporary, metadata={"sha256": hash_tensor(features)})
    return features


def read_features(path: Path) -> torch.Tensor | None:
    """Cached features, or None where there are none or they are damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            features = file.get_tensor("features")
            intact = (file.metadata() or {}).get("sha256") == hash_tensor(features)
    except SafetensorError:
        intact = False
    if not intact:
        logger.warning("The cached features %s are damaged: computing them again", path)
    return features if intact else None


def hash_tensor(tensor: torch.Tensor) -> str:
    """SHA-256 of a tensor's bytes, as hex."""
    return hash_array(tensor.contiguous().view(-1).view(torch.uint8).numpy())


@torch.inference_mode()
def extract_features(
    model: PreTrainedModel,
    table: datasets.Dataset,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: str,
    batch_size: int,
) -> torch.Tensor:
    """Run the backbone over all images once; arguments and result as for `get_features`."""
    model = model.to(device, memory_format=torch.channels_last).eval()
    batches = []
    hook = find_classifier(model).register_forward_pre_hook(lambda module, inputs: batches.append(inputs[0].cpu()))
    try:
        with (
            autocast(device, precision),
            tqdm(total=len(table), desc="Features", unit="image") as progress,
        ):
            for images in iterate_images(table, batch_size):
                batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # (B, C, H, W)
                model(preprocessing(batch.to(device)))
                progress.update(len(batch))
    finally:
        hook.remove()
    return torch.cat(batches)
