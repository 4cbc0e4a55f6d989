"""Each recipe's network, trained by the recipe's own optimizer, learns a few images by heart."""

import pytest
import torch
import yaml
from transformers import TrainingArguments, set_seed

from hf_cifar.arguments import RecipeArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.store import read_images
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.models.loading import build_cifar_cnn
from hf_cifar.training.loss import build_loss
from hf_cifar.training.trainer import build_recipe_optimizer, get_training_defaults

from .conftest import ROOT

IMAGES = 40
RECIPES = sorted((ROOT / "recipes/cnn").glob("*.yaml"))


def load(path, folder) -> tuple[dict, TrainingArguments, RecipeArguments]:
    """A recipe's network at a quarter of its widths, which takes a second and not a minute, and its optimizer."""
    options = yaml.safe_load(path.read_text())
    config = options["model_config"]
    for name in ("hidden_sizes", "classifier_hidden_sizes"):
        config[name] = [width // 4 for width in config.get(name, [])]
    names = ("learning_rate", "label_smoothing_factor", "weight_decay")
    training = {name: float(options[name]) for name in names if name in options}
    args = TrainingArguments(
        **get_training_defaults() | {"output_dir": str(folder), "use_cpu": True, "bf16": False, **training}
    )
    names = ("optimizer", "momentum", "parameter_groups")
    return config, args, RecipeArguments(**{name: options[name] for name in names if name in options})


def test_there_are_recipes():
    assert {path.stem for path in RECIPES} >= {"baseline", "fast", "best"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_one_batch_is_learnt_by_heart(data, path, tmp_path):
    config, args, recipe = load(path, tmp_path)
    set_seed(0)
    model = build_cifar_cnn(config, list(CLASS_NAMES)).to(memory_format=torch.channels_last)
    images = Preprocessing()(torch.from_numpy(read_images(data.train)[:IMAGES].copy()).permute(0, 3, 1, 2))
    labels = torch.tensor(data.train["label"][:IMAGES])
    if model.config.stem == "whitening":
        model.cifar_cnn.init_whitening(images)
    optimizer = build_recipe_optimizer(model, model.classifier, args, recipe)
    compute_loss = build_loss(args.label_smoothing_factor)
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = 30 if recipe.optimizer == "muon" else 80  # Adam takes small steps, against dropout
    for step in range(steps):  # down to a hundredth, as every recipe's schedule ends near 0
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * max(0.01, 1 - step / steps)
        optimizer.zero_grad()
        compute_loss(model.train()(images), labels).backward()
        optimizer.step()
    with torch.no_grad():
        logits = model.eval()(images).logits  # running statistics are those of this batch, too
    assert (logits.argmax(1) == labels).all()
