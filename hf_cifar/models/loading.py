"""Owns how a model comes into being: a CifarCnn from scratch, or any Hub id, folder or `offline:` backbone."""

import hashlib
from pathlib import Path

import datasets
import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from ..arguments import ModelArguments
from ..data.statistics import choose_preprocessing
from ..data.table import ImageData
from ..data.transforms import Preprocessing
from ..errors import UserError
from ..files import get_cache_dir
from ..hub import is_hub_reachable, refuse_conversion
from . import CifarCnnConfig, CifarCnnForImageClassification
from .image_processors import read_preprocessing, record_in_timm_config
from .image_size import check_image_size, resize_input
from .loading_errors import LOADING_ERRORS, Source, check_is_classifier, check_weights, explain_failures
from .offline import BACKBONES, find_offline_checkpoint
from .stochastic_depth import check_drop_path, set_drop_path


def build_cifar_cnn(options: dict, class_names: list[str], image_size: int = 32) -> CifarCnnForImageClassification:
    """A CifarCnn with fresh weights from the global random state; `image_size` is the data's, where options have none.

    Raises:
        UserError: `options` has an unknown field or a bad value.
    """
    known = list_config_fields()
    if unknown := set(options) - known:
        raise UserError(f"model_config has unknown field {sorted(unknown)[0]!r}; allowed: {', '.join(sorted(known))}")
    try:
        config = CifarCnnConfig(**{"image_size": image_size, **options}, **make_label_options(class_names))
    except Exception as error:  # huggingface_hub's strict dataclasses wrap a validator's error in several types
        reason = str(error.__cause__ or error).strip().splitlines()
        raise UserError(f"model_config is not valid: {' '.join(line.strip() for line in reason)}") from error
    if config.num_channels != 3:
        raise UserError(f"model_config.num_channels={config.num_channels} does not fit RGB images; allowed: 3")
    return CifarCnnForImageClassification(config)


def load_or_build(
    model_args: ModelArguments, data: ImageData, train: datasets.Dataset, cache_dir: str | None = None
) -> tuple[PreTrainedModel, Preprocessing, dict | None]:
    """The model that a recipe trains, what it expects of its input, and where fine-tuning starts (None: from scratch).

    Raises:
        UserError: It cannot be built or loaded.
    """
    if model_args.model_name_or_path is not None:
        return load_for_fine_tuning(model_args, data.class_names, cache_dir)
    model = build_cifar_cnn(model_args.model_config, data.class_names, data.image_size)
    return model, choose_preprocessing(data.name, train, model.config.image_size), None


def list_config_fields() -> set[str]:
    """The fields that a CifarCnn's config has beside those of every model's."""
    return set(CifarCnnConfig.__dataclass_fields__) - set(CifarCnnConfig.__mro__[1].__dataclass_fields__)


def load_model(
    name: str,
    class_names: list[str] | None = None,
    image_size: int | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    trust_remote_code: bool = False,
    drop_path: float | None = None,
) -> tuple[PreTrainedModel, object]:
    """Load an image classifier and its image processor.

    Args:
        name: Hub id, local folder, or `offline:` backbone.
        class_names: for fine-tuning; a head of another size is replaced by a fresh one. None keeps the saved head.
        image_size: for fine-tuning; an input size in pixels that the model is made to take, if it does not yet.
        revision: of a Hub id.
        cache_dir: see `get_cache_dir`; for `offline:` backbones.
        trust_remote_code: whether to run Python files that come with the model.
        drop_path: for fine-tuning; the highest rate of its stochastic depth.

    Raises:
        UserError: There is no such model, or it is no image classifier, or it comes without a part of its weights, or
            it cannot take `image_size` or `drop_path`.
    """
    source = find_source(name, revision, cache_dir)
    options = {
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "local_files_only": source.is_local or source.is_offline,
    }
    head = {} if class_names is None else make_label_options(class_names)
    refuse_conversion()
    with explain_failures(source):
        config = AutoConfig.from_pretrained(source.path, **options, **head)
        check_is_classifier(source, config)
        prepare_config(config, has_new_head=class_names is not None, drop_path=drop_path)
        model, info = AutoModelForImageClassification.from_pretrained(
            source.path, config=config, **options, dtype=torch.float32, use_safetensors=True,
            ignore_mismatched_sizes=True, output_loading_info=True,
        )  # fmt: skip
    check_weights(source, model, info, find_head_prefixes(model), has_new_head=class_names is not None)
    processor = load_image_processor(source, options)
    if drop_path is not None:
        check_drop_path(model, drop_path)
    if image_size is not None:
        model = resize_input(model, image_size)
        check_image_size(model, image_size)
    return model, processor


def find_source(name: str, revision: str | None, cache_dir: str | Path | None) -> Source:
    """Where a model comes from; an `offline:` backbone is converted if it has not been yet.

    Raises:
        UserError: A path that is no folder, an unknown `offline:` name, or a revision of what has none.
    """
    folder = find_offline_checkpoint(name, get_cache_dir(cache_dir)) if name.startswith("offline:") else Path(name)
    is_local = folder.is_dir()
    if not is_local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UserError(f"model {name!r} is not a folder; allowed: a folder, a Hub id, or {', '.join(BACKBONES)}")
    if is_local and revision is not None:
        raise UserError(f"model_revision={revision!r} is of a Hub id, and {name!r} is a folder; leave it out")
    is_offline = not is_local and not is_hub_reachable()
    return Source(name, str(folder) if is_local else name, revision, is_local, is_offline, tuple(BACKBONES))


def prepare_config(config: PreTrainedConfig, has_new_head: bool, drop_path: float | None) -> None:
    """Change a config, before the model is built from it, to what the options ask for."""
    if has_new_head:
        # DeiT's and LeViT's checkpoints name the class with a teacher's second head, which cannot be fine-tuned;
        # without a name, the first class is taken.
        config.architectures = []
    if config.model_type == "timm_wrapper" and config.model_args:
        # timm writes it there too, and would get it twice.
        config.model_args = {key: value for key, value in config.model_args.items() if key != "num_classes"}
    if drop_path is not None:
        set_drop_path(config, drop_path)


def load_image_processor(source: Source, options: dict) -> object:
    """A model's image processor.

    Raises:
        UserError: It has none.
    """
    try:
        return AutoImageProcessor.from_pretrained(source.path, **options)
    except LOADING_ERRORS as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"{source.label} has no image processor that can be loaded ({reason}); put a preprocessor_config.json "
            "beside its config.json, as that of the model that it was trained from"
        ) from error


def load_for_fine_tuning(
    args: ModelArguments, class_names: list[str], cache_dir: str | Path | None = None
) -> tuple[PreTrainedModel, Preprocessing, dict[str, str | None]]:
    """A pretrained model with a head for `class_names`.

    Returns:
        The model, the preprocessing that its training and its users share, and the `base_model` section of
        results.json.
    """
    name, revision = args.model_name_or_path, args.model_revision
    model, processor = load_model(
        name, class_names, args.image_size, revision, cache_dir, args.trust_remote_code, args.drop_path
    )
    preprocessing = read_preprocessing(processor, args.image_size)
    if args.image_size is None:
        check_image_size(model, preprocessing.image_size)  # a processor need not fit its model
    record_in_timm_config(model, preprocessing, class_names)
    return model, preprocessing, describe_base_model(model, name, revision)


def describe_base_model(model: PreTrainedModel, name: str, revision: str | None) -> dict[str, str | None]:
    """The `base_model` section of results.json, to be made before training changes the weights."""
    # A folder is named without its path, which means nothing elsewhere.
    public_name = Path(name).name if Path(name).is_dir() else name
    weights = hash_weights(model, without=find_classifier(model))
    return {"name": public_name, "revision": find_commit(name, revision), "weights_sha256": weights}


def find_commit(name: str, revision: str | None) -> str | None:
    """The commit of a Hub id that was just loaded, which the Hub's cache knows; of anything else, `revision`."""
    is_id = not name.startswith("offline:") and not Path(name).is_dir()
    path = try_to_load_from_cache(name, "config.json", revision=revision or "main") if is_id else None
    return Path(path).parent.name if isinstance(path, str) else revision


def make_label_options(class_names: list[str]) -> dict:
    """The config fields that name the classes; `num_labels` too, since `id2label` alone may be ignored."""
    id2label = dict(enumerate(class_names))
    return {"num_labels": len(class_names), "id2label": id2label, "label2id": {v: k for k, v in id2label.items()}}


def find_classifier(model: PreTrainedModel) -> nn.Module | None:
    """The module that turns pooled features into logits; None where the architecture keeps it elsewhere or has two."""
    classifier = model.timm_model.get_classifier() if hasattr(model, "timm_model") else None
    classifier = getattr(model, "classifier", None) if classifier is None else classifier
    return classifier if isinstance(classifier, nn.Module) else None


def find_head_prefixes(model: PreTrainedModel) -> tuple[str, ...]:
    """What the names of the classifier's parameters start with; of an unknown one, all outside of the base model."""
    classifiers = model.timm_model.get_classifier() if hasattr(model, "timm_model") else find_classifier(model)
    classifiers = classifiers if isinstance(classifiers, (tuple, list)) else [classifiers]
    found = tuple(f"{name}." for name, module in model.named_modules() if any(module is each for each in classifiers))
    outside = (f"{name}." for name, _ in model.named_children() if name != model.base_model_prefix)
    return found or tuple(outside)


def hash_weights(model: nn.Module, without: nn.Module | None = None) -> str:
    """SHA-256 over names and values of a model's parameters and buffers, as hex; `without` a part of it, if given."""
    left_out = {value.data_ptr() for value in without.state_dict().values()} if without is not None else set()
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if value.data_ptr() not in left_out:
            digest.update(key.encode() + value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
