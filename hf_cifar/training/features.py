"""Owns the cache of frozen features: parts of a few thousand images, each of which proves whose it is."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..files import write_then_rename

PART_SIZE = 5000  # images: what a killed extraction loses at most


def get_part_paths(folder: Path, num_images: int, part_size: int = PART_SIZE) -> dict[range, Path]:
    """The file of each part of `num_images` features, by the rows that it holds."""
    parts = (range(start, min(start + part_size, num_images)) for start in range(0, num_images, part_size))
    return {rows: folder / f"{rows.start:07d}-{rows.stop:07d}.safetensors" for rows in parts}


def read_part(path: Path, key: str, like: torch.Tensor) -> torch.Tensor:
    """A part's features, if they are what they should be.

    Args:
        path: of the part.
        key: of the features, see `describe_features`.
        like: a tensor of the shape and dtype that they must have.

    Raises:
        ValueError: The file is damaged, or of other features.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if (metadata.get("key"), metadata.get("rows")) != (key, path.stem):
                raise ValueError("it is of other features")
            features = file.get_tensor("features")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"it cannot be read ({error})") from error
    if features.shape != like.shape or features.dtype != like.dtype:
        found, expected = (f"{tuple(each.shape)} {each.dtype}" for each in (features, like))
        raise ValueError(f"it holds {found} and not {expected}")
    if metadata.get("sha256") != hash_features(features):
        raise ValueError("its SHA-256 differs")
    return features


def write_part(path: Path, key: str, features: torch.Tensor) -> None:
    """Write a part with its key and hash, whole or not at all; processes that write the same part do no harm.

    Raises:
        OSError, SafetensorError: The disk is full, or the folder cannot be written.
    """
    metadata = {"key": key, "rows": path.stem, "sha256": hash_features(features)}
    with write_then_rename(path) as temporary:
        save_file({"features": features}, temporary, metadata=metadata)


def hash_features(features: torch.Tensor) -> str:
    """SHA-256 of shape, dtype and bytes, as hex."""
    digest = hashlib.sha256(json.dumps([str(features.dtype), list(features.shape)]).encode())
    digest.update(features.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
