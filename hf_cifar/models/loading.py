"""Owns how a model comes into being: a CifarCnn from scratch, or any Hub id, folder or `offline:` backbone."""

import hashlib
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification, PreTrainedModel

from ..arguments import ModelArguments
from ..data.transforms import Preprocessing
from ..errors import UserError
from ..files import get_cache_dir
from ..hub import is_hub_reachable
from . import CifarCnnConfig, CifarCnnForImageClassification
from .image_processors import read_preprocessing, record_in_timm_config
from .offline import BACKBONES, find_offline_checkpoint

# What transformers raises for a model that is not there, is damaged, or is no image classifier.
LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)


def build_cifar_cnn(options: dict, class_names: list[str], image_size: int = 32) -> CifarCnnForImageClassification:
    """A CifarCnn with fresh weights from the global random state; `image_size` is the data's, where options have none.

    Raises:
        UserError: `options` has an unknown field or a bad value.
    """
    known = set(CifarCnnConfig.__dataclass_fields__) - set(CifarCnnConfig.__mro__[1].__dataclass_fields__)
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


def load_model(
    name: str,
    class_names: list[str] | None = None,
    image_size: int | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, object]:
    """Load an image classifier and its image processor.

    Args:
        name: Hub id, local folder, or `offline:` backbone.
        class_names: for fine-tuning; a head of another size is replaced by a fresh one. None keeps the saved head.
        image_size: for fine-tuning; an input size in pixels that the model must be able to take.
        revision: of a Hub id.
        cache_dir: see `get_cache_dir`; for `offline:` backbones.
        trust_remote_code: whether to run Python files that come with the model.

    Raises:
        UserError: There is no such model, or it is no image classifier, or it cannot take `image_size`.
    """
    folder = find_offline_checkpoint(name, get_cache_dir(cache_dir)) if name.startswith("offline:") else Path(name)
    is_local = folder.is_dir()
    if not is_local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UserError(f"model {name!r} is not a folder; allowed: a folder, a Hub id, or {', '.join(BACKBONES)}")
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    options["local_files_only"] = is_local or not is_hub_reachable()
    source = str(folder) if is_local else name
    head = {} if class_names is None else make_label_options(class_names) | {"ignore_mismatched_sizes": True}
    try:
        model = AutoModelForImageClassification.from_pretrained(source, **options, **head, dtype=torch.float32)
        processor = AutoImageProcessor.from_pretrained(source, **options)
    except LOADING_ERRORS as error:
        raise UserError(explain_failure(name, is_local, options["local_files_only"], error)) from error
    if image_size is not None:
        check_image_size(model, image_size)
    return model, processor


def explain_failure(name: str, is_local: bool, is_offline: bool, error: Exception) -> str:
    """One line that says why a model did not load and what to do."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if is_local:
        return f"model folder {name!r} cannot be loaded: {reason}"
    if is_offline:
        return (
            f"model {name!r} is not in the Hub's cache, and the Hub cannot be reached; allowed without a network: "
            f"a folder, a cached Hub id, or {', '.join(BACKBONES)}"
        )
    return f"model {name!r} cannot be loaded from the Hub: {reason}"


def check_image_size(model: PreTrainedModel, image_size: int) -> None:
    """Refuse sizes that a model cannot take, as those with fixed position embeddings, by trying one image.

    Raises:
        UserError: With the model's own words.
    """
    was_training = model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, image_size, image_size))
    except (ValueError, AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"image_size={image_size} does not fit this model ({reason}); leave image_size out") from error
    model.train(was_training)


def load_for_fine_tuning(
    args: ModelArguments, class_names: list[str], cache_dir: str | Path | None = None
) -> tuple[PreTrainedModel, Preprocessing, dict[str, str | None]]:
    """A pretrained model with a head for `class_names`.

    Returns:
        The model, the preprocessing that its training and its users share, and the `base_model` section of
        results.json.
    """
    name, revision = args.model_name_or_path, args.model_revision
    model, processor = load_model(name, class_names, args.image_size, revision, cache_dir, args.trust_remote_code)
    preprocessing = read_preprocessing(processor, args.image_size)
    record_in_timm_config(model, preprocessing, class_names)
    return model, preprocessing, describe_base_model(model, name, revision)


def describe_base_model(model: PreTrainedModel, name: str, revision: str | None) -> dict[str, str | None]:
    """The `base_model` section of results.json, to be made before training changes the weights."""
    # A folder is named without its path, which means nothing elsewhere.
    public_name = Path(name).name if Path(name).is_dir() else name
    weights = hash_weights(model, without=find_classifier(model))
    return {
        "name": public_name,
        "revision": getattr(model.config, "_commit_hash", None) or revision,
        "weights_sha256": weights,
    }


def make_label_options(class_names: list[str]) -> dict:
    """The config fields that name the classes; `num_labels` too, since `id2label` alone may be ignored."""
    id2label = dict(enumerate(class_names))
    return {"num_labels": len(class_names), "id2label": id2label, "label2id": {v: k for k, v in id2label.items()}}


def find_classifier(model: PreTrainedModel) -> nn.Module | None:
    """The module that turns pooled features into logits; None where the architecture keeps it elsewhere."""
    if hasattr(model, "timm_model"):
        return model.timm_model.get_classifier()
    classifier = getattr(model, "classifier", None)
    return classifier if isinstance(classifier, nn.Module) else None


def hash_weights(model: nn.Module, without: nn.Module | None = None) -> str:
    """SHA-256 over names and values of a model's parameters and buffers, as hex; `without` a part of it, if given."""
    left_out = {value.data_ptr() for value in without.state_dict().values()} if without is not None else set()
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if value.data_ptr() not in left_out:
            digest.update(key.encode() + value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
