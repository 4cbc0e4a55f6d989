"""Owns measuring transfer learning: features, head and full fine-tuning, each against the usual way."""

import contextlib
import copy
import dataclasses
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import torch
from accelerate.state import AcceleratorState
from tqdm.auto import tqdm
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

from ..arguments import DataArguments, ModelArguments, RecipeArguments
from ..data.store import read_images
from ..data.table import load_data
from ..data.transforms import Preprocessing
from ..errors import UserError
from ..hardware import autocast, keep_freed_memory
from ..models.loading import find_classifier, make_label_options
from ..training.fit import fit, get_precision
from ..training.frozen import get_features
from .data import encode_images, summarize
from .training import Setting, run_recipe, run_usual

HEAD_EPOCHS = 10


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One network to measure, with fresh weights: their values do not change its speed.

    Attributes:
        build: from the config fields that name the classes.
        image_size: height and width in pixels.
        batch_size: of ours in training; the usual way has the Trainer's default of 8.
        num_images: whose features are computed and whose head is trained, per round: some seconds of them, as weights
            and images are hashed once, whatever their number.
    """

    build: Callable[[dict], PreTrainedModel]
    image_size: int
    batch_size: int
    num_images: int


def _build_timm(name: str) -> Callable[[dict], PreTrainedModel]:
    return lambda labels: TimmWrapperForImageClassification(TimmWrapperConfig(architecture=name, **labels))


ARCHITECTURES = {
    "vit-base": Architecture(lambda labels: ViTForImageClassification(ViTConfig(**labels)), 224, 32, 64),
    "resnet-50": Architecture(lambda labels: ResNetForImageClassification(ResNetConfig(**labels)), 128, 32, 768),
    "convnext-tiny": Architecture(
        lambda labels: ConvNextForImageClassification(ConvNextConfig(**labels)), 128, 32, 512
    ),
    "efficientnet-lite0": Architecture(_build_timm("tf_efficientnet_lite0"), 128, 32, 3072),
    "vit-tiny": Architecture(_build_timm("vit_tiny_patch16_224"), 224, 32, 512),
}


@dataclasses.dataclass
class TransferSetting:
    """What all ways share: a network, images, and the options of a run."""

    model: PreTrainedModel
    architecture: Architecture
    table: datasets.Dataset
    preprocessing: Preprocessing
    args: TrainingArguments

    @property
    def training(self) -> Setting:
        """For the measurements of whole training steps; the usual optimizer and rate, which both ways share."""
        args = copy.copy(self.args)
        args.per_device_train_batch_size = self.architecture.batch_size
        # The Trainer's defaults, as the usual way has them.
        args.label_smoothing_factor, args.max_grad_norm, args.learning_rate = 0.0, 1.0, 5e-5
        recipe = RecipeArguments(optimizer="adamw", early_stopping_patience=0)
        data_args = DataArguments(augmentation="light")
        return Setting(self.model, data_args.dataset, self.table, self.preprocessing, args, data_args, recipe)

    @property
    def images(self) -> datasets.Dataset:
        """Those whose features are computed."""
        return self.table.select(range(self.architecture.num_images))


def run_inference(setting: TransferSetting) -> float:
    """Images per second of a bare loop in the recipe's precision over batches that are already prepared."""
    device, precision = setting.args.device, get_precision(setting.args)
    model = copy.deepcopy(setting.model).to(device, memory_format=torch.channels_last).eval()
    images = torch.from_numpy(read_images(setting.images).copy()).permute(0, 3, 1, 2)  # (N, C, H, W)
    batches = setting.preprocessing(images).to(device).split(32)
    with torch.no_grad(), autocast(device, precision):
        model(batches[0])
        started = time.perf_counter()
        for batch in batches:
            model(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
    return len(images) / (time.perf_counter() - started)


def run_features(setting: TransferSetting) -> float:
    """Images per second of the feature cache when it is empty: reading, resizing, network, writing."""
    model = copy.deepcopy(setting.model)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        get_features(
            model, setting.images, setting.preprocessing, Path(folder), setting.args.device,
            get_precision(setting.args), 32,
        )  # fmt: skip
    return len(setting.images) / (time.perf_counter() - started)


def run_head(setting: TransferSetting) -> float:
    """Seconds to train a head for `HEAD_EPOCHS` epochs, features included."""
    AcceleratorState._reset_state()
    training = setting.training
    with tempfile.TemporaryDirectory() as folder:
        args = training.args
        args.output_dir, args.num_train_epochs, args.save_strategy, args.disable_tqdm = folder, HEAD_EPOCHS, "no", True
        started = time.perf_counter()
        fit(
            copy.deepcopy(setting.model), setting.preprocessing, setting.images, None, args, DataArguments(),
            training.recipe, lambda prediction: {}, Path(folder), head_only=True, from_scratch=False,
        )  # fmt: skip
    return time.perf_counter() - started


def run_usual_head(setting: TransferSetting, steps: int, encoded: datasets.Dataset) -> float:
    """Seconds that the usual Trainer way takes for the same, from its rate over some steps with a frozen backbone."""
    model = copy.deepcopy(setting.model).requires_grad_(False)
    find_classifier(model).requires_grad_(True)
    rate = run_usual(dataclasses.replace(setting.training, model=model), steps, encoded)
    return HEAD_EPOCHS * len(setting.images) / rate


def measure_transfer(
    data_args: DataArguments,
    model_args: ModelArguments,
    args: TrainingArguments,
    names: list[str],
    rounds: int = 3,
    steps: int = 3,
) -> dict[str, object]:
    """All ways for each architecture, in alternation, so that a noisy machine is fair to them all.

    Args:
        data_args: which images.
        model_args: refused where it names a model.
        args: precision and device; the rest is as `Architecture` has it.
        names: of `ARCHITECTURES`.
        rounds: how often each way is measured; one round more, the first, warms up and is dropped.
        steps: of each measurement of training; the first one is not counted.

    Returns:
        `dataset`, and `architectures`: by name `ways` (images/s of inference, features, full and usual full
        fine-tuning; seconds of head and usual head) and the ratios within rounds: `features` (against plain
        inference), `head` and `full` (times as fast as the usual way), all `summarize`d.

    Raises:
        UserError: An unknown name, or too few images.
    """
    if unknown := sorted(set(names) - set(ARCHITECTURES)):
        raise UserError(f"architectures: {unknown[0]!r} is unknown; allowed: {', '.join(ARCHITECTURES)}")
    if model_args.model_name_or_path is not None:
        raise UserError("model_name_or_path: this measures networks with random weights; leave it out")
    if args.gradient_accumulation_steps > 1:
        raise UserError("gradient_accumulation_steps: this does not accumulate; leave it out")
    data, needed = load_data(data_args), max(ARCHITECTURES[name].num_images for name in names)
    keep_freed_memory()
    if len(data.train) < needed:
        raise UserError(f"dataset={data_args.dataset} has {len(data.train)} training images; {needed} are needed")
    encoded, labels = encode_images(data.train, 1000), make_label_options(data.class_names)
    progress = tqdm(total=len(names) * (rounds + 1), desc="Rounds")
    results = {}
    for name in names:
        architecture = ARCHITECTURES[name]
        model, preprocessing = architecture.build(labels), Preprocessing(architecture.image_size)
        setting = TransferSetting(model, architecture, data.train, preprocessing, args)
        measured = [measure_round(setting, steps, encoded, progress) for _ in range(rounds + 1)]
        sizes = {"image_size": architecture.image_size, "batch_size": architecture.batch_size}
        results[name] = sizes | summarize_rounds(measured)
    return {"dataset": data.name, "architectures": results}


def measure_round(setting: TransferSetting, steps: int, encoded: datasets.Dataset, progress: tqdm) -> dict[str, float]:
    """Every way once."""
    with contextlib.redirect_stdout(io.StringIO()):  # the Trainer's logs
        measured = {
            "inference": run_inference(setting),
            "features": run_features(setting),
            "head_seconds": run_head(setting),
            "usual_head_seconds": run_usual_head(setting, 2 * steps, encoded),
            "full": run_recipe(setting.training, steps),
            "usual_full": run_usual(setting.training, 2 * steps, encoded),
        }
    progress.update()
    return measured


def summarize_rounds(rounds: list[dict[str, float]]) -> dict[str, dict]:
    """Ways and ratios over all rounds but the first."""
    kept = rounds[1:]
    return {
        "ways": {name: summarize([each[name] for each in kept]) for name in kept[0]},
        "features": summarize([each["features"] / each["inference"] for each in kept]),
        "head": summarize([each["usual_head_seconds"] / each["head_seconds"] for each in kept]),
        "full": summarize([each["full"] / each["usual_full"] for each in kept]),
    }
