"""Owns the process that has a published model but not this package: both its ends, and what they say to each other.

Run as a program it is the far end. It must therefore import nothing of this package.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import torch

# All that the far end gets of the environment: no token, no cache, no path on which this package may lie.
VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "LANG", "TMPDIR", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


class StrangerError(RuntimeError):
    """The far end could not load or run the model; the message is one line that says why."""


class Stranger:
    """A model in another process, called as `predict_probabilities` calls a model that is here.

    Attributes:
        config: with `id2label`.
        weights_sha256: of what was loaded, as `hash_weights` has it.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO, options: dict) -> None:
        self.requests, self.answers = requests, answers
        facts = self.ask(options)[0]
        labels = {int(number): label for number, label in facts["id2label"].items()}
        self.config, self.weights_sha256 = SimpleNamespace(id2label=labels), facts["weights_sha256"]

    def ask(self, header: dict, content: bytes = b"") -> tuple[dict, bytes]:
        """Send one message, and wait for the answer."""
        try:
            send(self.requests, header, content)
            header, content = receive(self.answers)
        except (OSError, ValueError) as error:
            raise StrangerError("the process that loads it ended without a word") from error
        if "error" in header:
            raise StrangerError(header["error"])
        return header, content

    def to(self, *arguments, **options) -> "Stranger":
        """It stays on its own device."""
        return self

    def eval(self) -> "Stranger":
        """It is in evaluation mode already."""
        return self

    def __call__(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        """Logits of images uint8 (B, 3, H, W), which the far end's image processor prepares: float32 (B, K)."""
        images = pixel_values.permute(0, 2, 3, 1).contiguous()
        header, content = self.ask({"shape": list(images.shape)}, images.numpy().tobytes())
        return SimpleNamespace(logits=torch.frombuffer(bytearray(content), dtype=torch.float32).view(header["shape"]))


def pass_on(images: torch.Tensor, return_tensors: str) -> dict[str, torch.Tensor]:
    """In place of an image processor: the far end has the model's own."""
    return {"pixel_values": images}


@contextmanager
def open_stranger(folder: Path, precision: str = "fp32", run_code: bool = False) -> Iterator[Stranger]:
    """Load the model in `folder` in a process of its own, which has neither this package nor any token.

    Args:
        folder: as `save_pretrained` writes it.
        precision: "fp32", "bf16" or "fp16" (autocast).
        run_code: whether the Python files that its config names may be run.

    Raises:
        StrangerError: It cannot be loaded as it is: code or weights are missing or do not fit.
    """
    options = make_options(folder, precision, run_code)
    with tempfile.TemporaryDirectory(prefix="hf_cifar_stranger_") as home:
        variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        variables |= {"HOME": home, "HF_HOME": home, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        pipe, command = subprocess.PIPE, [sys.executable, "-I", str(Path(__file__).resolve())]
        with subprocess.Popen(
            command, cwd=home, env=variables, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield Stranger(process.stdin, process.stdout, options)
            finally:
                process.kill()
                process.stdin.raw.close()  # without flushing: nobody listens any more


def make_options(folder: Path, precision: str, run_code: bool) -> dict:
    """The first message to the far end."""
    threads = torch.get_num_threads()
    return {"folder": str(folder.resolve()), "precision": precision, "run_code": run_code, "threads": threads}


def send(stream: BinaryIO, header: dict, content: bytes = b"") -> None:
    """Write a message: a line of JSON, then bytes."""
    stream.write(json.dumps({**header, "size": len(content)}).encode() + b"\n" + content)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict, bytes]:
    """Read what `send` wrote."""
    header = json.loads(stream.readline())
    return header, stream.read(header["size"])


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """The far end: load, say what was loaded, then classify until the requests end."""
    options = receive(requests)[0]
    try:
        torch.set_num_threads(options["threads"])
        device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        model, processor = load(options["folder"], options["run_code"])
        facts = {"id2label": model.config.id2label, "weights_sha256": hash_weights(model)}
        model = model.to(device, memory_format=torch.channels_last).eval()
        send(answers, facts)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options["precision"])
        while line := requests.readline():
            header = json.loads(line)
            images = torch.frombuffer(bytearray(requests.read(header["size"])), dtype=torch.uint8)
            images = images.view(header["shape"])  # (B, H, W, 3)
            with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                logits = model(pixel_values=prepare(processor, images).to(device)).logits.float().cpu()
            send(answers, {"shape": list(logits.shape)}, logits.contiguous().numpy().tobytes())
    except Exception as error:  # whatever it is, the near end shall say it
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        send(answers, {"error": f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"[:400]})


def load(folder: str, run_code: bool) -> tuple[torch.nn.Module, object]:
    """Model and image processor, from safetensors alone; code runs where `run_code` says so."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model, info = AutoModelForImageClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=run_code, output_loading_info=True,
        local_files_only=True,
    )  # fmt: skip
    for problem in ("missing_keys", "unexpected_keys"):
        if names := sorted(info[problem]):
            raise ValueError(f"model.safetensors has {problem.replace('_', ' ')}, as {names[0]}")
    return model, AutoImageProcessor.from_pretrained(folder, local_files_only=True)


def prepare(processor, images: torch.Tensor) -> torch.Tensor:
    """Pixel values of uint8 (B, H, W, 3), as `predict_probabilities` makes them."""
    if hasattr(processor, "data_config"):  # TimmWrapper's takes Pillow images
        from PIL import Image

        return processor(images=[Image.fromarray(image) for image in images.numpy()], return_tensors="pt")[
            "pixel_values"
        ]
    return processor(images=images.permute(0, 3, 1, 2), return_tensors="pt")["pixel_values"]


def hash_weights(model: torch.nn.Module) -> str:
    """As `hf_cifar.models.loading.hash_weights`, which this process cannot import."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode() + value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.modules["hf_cifar"] = None  # importing it fails, wherever it is installed
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    serve(sys.stdin.buffer, answers)
