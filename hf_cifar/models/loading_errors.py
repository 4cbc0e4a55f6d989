"""Owns telling why a model cannot be loaded: one line with what is wrong, what is allowed and what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,  # of the HTTP client that is used: httpx or httpx2
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, PreTrainedConfig, PreTrainedModel

from ..errors import UserError

# What transformers raises for a model that is not there, is damaged, or is no image classifier.
LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    HTTPError,
    SafetensorError,
    StrictDataclassError,
)


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: as the user gave it.
        path: folder or Hub id, for transformers.
        revision: of a Hub id, if given.
        is_local: whether it is a folder.
        is_offline: whether it can come from the Hub's cache only.
        offline_names: backbones that need no Hub, for messages.
    """

    name: str
    path: str
    revision: str | None
    is_local: bool
    is_offline: bool
    offline_names: tuple[str, ...]

    @property
    def label(self) -> str:
        """For messages."""
        return f"model folder {self.name!r}" if self.is_local else f"model {self.name!r}"


@contextmanager
def explain_failures(source: Source) -> Iterator[None]:
    """Turn what the libraries raise in the block into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except LOADING_ERRORS as error:
        raise UserError(explain_failure(source, error)) from error


def explain_failure(source: Source, error: Exception) -> str:
    """One line that says why a model did not load and what to do."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    causes, cause = [], error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(each, GatedRepoError) for each in causes):
        return (
            f"{source.label} is gated: ask for access at {constants.ENDPOINT}/{source.name}, then log in by `hf auth "
            "login` or set HF_TOKEN"
        )
    if any(isinstance(each, RevisionNotFoundError) for each in causes):
        return (
            f"model_revision={source.revision!r}: {source.label} has no such branch, tag or commit; see "
            f"{constants.ENDPOINT}/{source.name}/commits/main, or leave it out"
        )
    if any(isinstance(each, RepositoryNotFoundError) for each in causes):
        return (
            f"{source.label} is not on the Hub, or is private; check its spelling at {constants.ENDPOINT}/models, or "
            "log in by `hf auth login` or set HF_TOKEN"
        )
    if "trust_remote_code=True" in str(error):
        return (
            f"{source.label} needs Python files that come with it, which would run with all your rights; read them, "
            "and if you trust them, give --trust_remote_code true (and for a Hub id --model_revision COMMIT, so that "
            "they stay what you read)"
        )
    is_missing = "does not appear to have" in str(error) or "no file named" in str(error)
    if is_missing and "safetensors" in str(error):
        return (
            f"{source.label} has no model.safetensors; allowed: safetensors, as pickled weights (pytorch_model.bin) "
            "can run code. If you trust the file, load it with transformers and write a folder by save_pretrained"
        )
    if source.is_local:
        return f"{source.label} cannot be loaded: {reason}"
    if source.is_offline:
        return (
            f"{source.label} is not in the Hub's cache, and the Hub cannot be reached; allowed without a network: "
            f"a folder, a cached Hub id, or {', '.join(source.offline_names)}"
        )
    return f"{source.label} cannot be loaded from the Hub: {reason}"


def check_is_classifier(source: Source, config: PreTrainedConfig) -> None:
    """Refuse architectures that have no image classifier, before their weights are fetched.

    Raises:
        UserError: With the architecture's name.
    """
    is_remote = "AutoModelForImageClassification" in (getattr(config, "auto_map", None) or {})
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING and not is_remote:
        raise UserError(
            f"{source.label} is a {config.model_type!r}, of which transformers has no image classifier; allowed: what "
            "AutoModelForImageClassification loads, as vit, dinov2, swin, convnext, resnet and all of timm's"
        )


def check_weights(
    source: Source, model: PreTrainedModel, loading_info: dict, head: tuple[str, ...], has_new_head: bool
) -> None:
    """Refuse a checkpoint that leaves a part of the model at random values, or of which whole layers are left out.

    Args:
        source: for the message.
        model: as loaded.
        loading_info: from `from_pretrained`, which was told to ignore mismatched sizes.
        head: what names of the classifier's parameters start with.
        has_new_head: whether a fresh classifier was asked for. A pooler may be fresh then too: models whose
            pretraining had none, as BEiT, come without.

    Raises:
        UserError: With the first parameter that does not fit.
    """
    shapes = {name: (tuple(found), tuple(needed)) for name, found, needed in loading_info["mismatched_keys"]}
    fresh = [name for name in (*shapes, *loading_info["missing_keys"]) if not name.endswith("num_batches_tracked")]
    body = sorted(name for name in fresh if not name.startswith(head))
    if has_new_head:
        body = [name for name in body if "pooler." not in name]
    elif fresh and not body:
        raise UserError(
            f"{source.label} has no trained classifier ({sorted(fresh)[0]} does not fit or is missing); fine-tune it "
            "first, by recipes/train.py --model_name_or_path"
        )
    if body:
        name = body[0]
        found, needed = shapes.get(name, (None, None))
        problem = f"lack {name}" if found is None else f"have {name} of shape {found}, not {needed}"
        more = f" (and {len(body) - 1} more do not fit)" if len(body) > 1 else ""
        raise UserError(
            f"{source.label}: its weights {problem}{more}, so they are not those of a {type(model).__name__} as its "
            "config.json describes; give a folder or Hub id whose weights and config belong together"
        )
    # A pretraining's own head may be left out, but not a layer like those that the model has.
    kinds = {re.sub(r"\d+", "*", name) for name in model.state_dict()}
    if extra := sorted(name for name in loading_info["unexpected_keys"] if re.sub(r"\d+", "*", name) in kinds):
        raise UserError(
            f"{source.label}: its weights have {extra[0]} (and {len(extra) - 1} more) beyond what its config.json "
            "describes, as of a model with more layers; give a folder or Hub id whose weights and config agree"
        )
