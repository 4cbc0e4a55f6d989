"""Owns models in other formats: ONNX and torch.export programs, each checked against PyTorch and timed beside it."""

import json
import logging
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import UserError
from ..evaluation.cost import describe_environment
from ..evaluation.predictions import make_pixel_values
from ..evaluation.speed import time_calls
from ..files import hash_file, write_then_rename

FILES = {"onnx": "onnx/model.onnx", "torch_export": "torch_export/model.pt2"}
PACKAGES = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "torch_export": ()}
TOLERANCE = 1e-4  # of a probability: fp32 sums in another order differ by less, a wrong graph by more
BATCH_SIZES = {"latency": 1, "throughput": 64}
ROUNDS, SECONDS = 3, 1.5  # of each timing; seconds are a limit
LARGEST_ONNX = 2 * 10**9  # bytes that one protobuf file holds

Run = Callable[[torch.Tensor], torch.Tensor]


class Logits(nn.Module):
    """A classifier as a function of one tensor to one tensor, whatever else its forward takes and gives."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of preprocessed images (B, 3, H, W)."""
        return self.model(pixel_values=pixel_values).logits


@dataclass(frozen=True)
class Parity:
    """How far an exported model is from PyTorch, over `num_images` images.

    Attributes:
        largest_difference: of a probability.
        other_classes: images with another predicted class.
    """

    num_images: int
    largest_difference: float
    other_classes: int


def check_formats(formats: list[str]) -> None:
    """Refuse formats whose packages are missing, before anything is loaded.

    Raises:
        UserError: With the command that installs them.
    """
    for name in formats:
        missing = [package for package in PACKAGES[name] if find_spec(package) is None]
        if missing:
            raise UserError(f"{name} needs {', '.join(missing)}; install: pip install {' '.join(missing)}")


def export_model(
    model: PreTrainedModel, processor: object, images: np.ndarray, folder: Path, formats: list[str]
) -> dict[str, object]:
    """Write a model in other formats, check each against PyTorch on images, time all in turn.

    All in fp32 on the CPU with PyTorch's number of threads; batches of any size may be given to what is written.

    Args:
        model: an image classifier.
        processor: its image processor, which the images go through; exported models take what it gives.
        images: uint8 (N, H, W, 3).
        folder: where `FILES` are put.
        formats: of `FILES`.

    Returns:
        The `exports` section of results.json.

    Raises:
        UserError: The model cannot be exported, or what came differs from PyTorch; that file is not kept.
    """
    program = Logits(model.float().cpu().eval())
    pixel_values = make_pixel_values(processor, images)
    runs, section = {"pytorch": program}, {}
    environment = describe_environment("fp32")
    for name in formats:
        path = folder / FILES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_then_rename(path) as temporary:
            write(program, pixel_values[:2].clone(), name, temporary, model.config.id2label, processor)
            run = load(name, temporary)
            parity = compare(program, run, pixel_values)
        runs[name] = run
        section[name] = {
            "file": FILES[name], "size_bytes": path.stat().st_size, "sha256": hash_file(path),
            "versions": {package: version(package) for package in ("torch", *PACKAGES[name])}, **vars(parity),
        }  # fmt: skip
    for name, timing in measure_times(runs, pixel_values[:1]).items():
        section[name] = section.get(name, {}) | timing
    return section | {name: environment[name] for name in ("hardware", "date")}


def write(
    program: Logits, example: torch.Tensor, name: str, path: Path, id2label: dict[int, str], processor: object
) -> None:
    """Write one format to `path`; `example` is a batch of two, as one would be a fixed size.

    Raises:
        UserError: The exporter does not take this architecture.
    """
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            exported = torch.export.export(program, (example,), dynamic_shapes=shapes)
            if name == "torch_export":
                with open(path, "wb") as file:
                    torch.export.save(exported, file)
                return
            names = {"input_names": ["pixel_values"], "output_names": ["logits"]}
            onnx_program = torch.onnx.export(exported, (example,), dynamo=True, verbose=False, **names)
    except (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(f"{type(program.model).__name__} cannot be exported to {name}: {reason}") from error
    proto = onnx_program.model_proto
    if proto.ByteSize() >= LARGEST_ONNX:
        raise UserError(f"onnx: {proto.ByteSize():,} bytes do not fit one file; allowed: below {LARGEST_ONNX:,}")
    facts = {"labels": [id2label[number] for number in sorted(id2label)], "preprocessing": processor.to_dict()}
    for key, value in facts.items():  # all that a program in another language needs
        proto.metadata_props.add(key=key, value=json.dumps(value, default=str))
    path.write_bytes(proto.SerializeToString())


def load(name: str, path: Path) -> Run:
    """A written model as a function of a batch."""
    if name == "torch_export":
        with open(path, "rb") as file:
            return torch.export.load(file).module()
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {"pixel_values": batch.numpy()})[0])


@torch.no_grad()
def compare(expected: Run, found: Run, pixel_values: torch.Tensor, batch_size: int = 50) -> Parity:
    """Compare two models on preprocessed images (N, 3, H, W).

    Raises:
        UserError: A probability differs by more than `TOLERANCE`.
    """
    batches = [(expected(batch), found(batch)) for batch in pixel_values.split(batch_size)]
    first, second = (torch.cat(each).double().softmax(-1) for each in zip(*batches, strict=True))
    largest = float((first - second).abs().max())
    if not largest <= TOLERANCE:  # NaN too
        raise UserError(
            f"the exported model differs from PyTorch: a probability by {largest:.2g}, allowed are {TOLERANCE:g}; "
            "nothing of it was kept. Another version of torch or onnxscript may export this architecture rightly"
        )
    return Parity(len(pixel_values), largest, int((first.argmax(1) != second.argmax(1)).sum()))


@torch.no_grad()
def measure_times(runs: dict[str, Run], image: torch.Tensor) -> dict[str, dict[str, float]]:
    """Latency at batch 1 in ms and images per second at batch 64, medians of rounds in turn."""
    times: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in BATCH_SIZES} for name in runs}
    for kind, size in BATCH_SIZES.items():
        batch = image.repeat(size, 1, 1, 1)
        for name in [*runs] * ROUNDS:
            times[name][kind].append(time_calls(partial(runs[name], batch), torch.device("cpu"), SECONDS))
    medians = {name: {kind: statistics.median(each) for kind, each in kinds.items()} for name, kinds in times.items()}
    return {
        name: {"latency_ms": 1000 * each["latency"], "throughput": BATCH_SIZES["throughput"] / each["throughput"]}
        for name, each in medians.items()
    }
