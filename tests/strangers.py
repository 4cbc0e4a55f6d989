"""What somebody does with saved folders who does not have this package; run by the `stranger` fixture."""

import contextlib
import io
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageClassification, PreTrainedModel, pipeline


def forget_this_package() -> None:
    """Importing it fails from now on, wherever it is installed; so does what the tests' process has of remote code."""
    assert "hf_cifar" not in sys.modules
    sys.modules["hf_cifar"] = None
    sys.path = [path for path in sys.path if not (Path(path) / "transformers_modules").is_dir()]
    torch.set_num_threads(1)


def load(folder: str) -> PreTrainedModel:
    return AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)


def compute_logits(folder: str, pixel_values: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return load(folder)(torch.from_numpy(pixel_values)).logits.numpy()


def classify(folder: str, image: Image.Image) -> tuple[int, dict[str, float]]:
    """The size that a pipeline gives the model, and its scores of the five best classes."""
    pipe = pipeline("image-classification", model=folder, trust_remote_code=True)
    scores = {row["label"]: row["score"] for row in pipe(image, top_k=5)}
    return pipe.preprocess(image)["pixel_values"].shape[-1], scores


def save_again(first: str, second: str) -> list[tuple[str, set[str], np.ndarray]]:
    """Save a loaded model elsewhere and delete where it came from; gives what each is.

    Returns:
        Of each: the module of its class, the names of its frozen parameters, its logits of an image of ones.
    """
    answers = []
    for folder in (first, second):
        model = load(folder)
        with torch.no_grad():
            logits = model(torch.ones(2, 3, 32, 32)).logits.numpy()
        frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
        answers.append((type(model).__module__, frozen, logits))
        if folder == first:
            model.save_pretrained(second)
            shutil.rmtree(first)
    return answers


def run_blocks(card: str, folder: str, image: str) -> list[str]:
    """Run the Python of a model card, for a folder and an image; gives what each block prints."""
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    printed = []
    for block in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(block.replace('"FOLDER"', repr(folder)).replace('"image.png"', repr(image)), {})
        printed.append(output.getvalue())
    return printed
