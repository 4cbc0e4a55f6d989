"""Owns the size of the images that a pretrained model takes: changing it, and refusing what it cannot take."""

import copy
import inspect
from itertools import chain

import timm
import torch
from timm.layers import resize_rel_pos_bias_table
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import UserError

USUAL_SIZE = 224  # of networks that record none, as ResNet


def resize_input(model: PreTrainedModel, image_size: int) -> PreTrainedModel:
    """The same classifier for images of another size, which its config then says: what is saved needs no option.

    Learned position embeddings are resampled once, by the architecture's own code. A convolutional network stays as
    it is, and so does what cannot be resized: `check_image_size` tells whether it takes the size nevertheless.

    Args:
        model: in float32, on the CPU. It is not to be used any more.
        image_size: height and width in pixels.

    Raises:
        UserError: Its patches do not fill such an image.
    """
    if get_image_size(model.config) == image_size:
        return model
    if hasattr(model, "timm_model"):
        return _resize_timm(model, image_size)
    config = copy.deepcopy(model.config)
    vision = getattr(config, "vision_config", config)  # CLIP and its kin
    if not hasattr(vision, "image_size"):
        return model
    if _has_positions(model) and hasattr(vision, "patch_size"):
        _check_patches(vision.patch_size, image_size)
    sizes = vision.image_size
    vision.image_size = [image_size] * len(sizes) if isinstance(sizes, (list, tuple)) else image_size
    if config.model_type == "swin":
        _shrink_windows(config, image_size)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in type(model)(config).state_dict().items()}
    state = model.state_dict()
    if shapes.keys() != state.keys():
        return model
    for name, shape in shapes.items():
        if state[name].shape != shape:
            resampled = _resample(model, name, shape, image_size)
            if resampled is None:
                return model
            state[name] = resampled
    return type(model).from_pretrained(None, config=config, state_dict=state, dtype=model.dtype)


def _can_resample(module: nn.Module) -> bool:
    """Whether a module has transformers' usual method for resampling its position embeddings."""
    method = getattr(module, "interpolate_pos_encoding", None)
    return method is not None and list(inspect.signature(method).parameters) == ["embeddings", "height", "width"]


def _has_positions(model: PreTrainedModel) -> bool:
    """Whether one of transformers' models has an embedding learned for each patch."""
    return any(
        getattr(module, "position_embeddings", None) is not None or hasattr(module, "position_embedding")
        for module in model.modules()
        if _can_resample(module)
    )


def _resample(model: PreTrainedModel, name: str, shape: torch.Size, image_size: int) -> torch.Tensor | None:
    """A parameter in the shape that `image_size` asks for; None where the architecture has no way to do that."""
    value, parents = model.state_dict()[name], name.split(".")
    if parents[-1] == "relative_position_bias_table" and model.config.model_type == "swin":
        window = round((shape[0] ** 0.5 + 1) / 2)  # a table has (2 * window - 1) ** 2 rows
        return resize_rel_pos_bias_table(value, (window, window), tuple(shape))
    owners = (model.get_submodule(".".join(parents[:depth])) for depth in range(len(parents) - 1, 0, -1))
    owner = next((module for module in owners if _can_resample(module)), None)
    if owner is None:
        return None
    tokens = torch.empty(1, *shape[-2:])  # (1, N, D): only the shape is looked at
    try:
        with torch.no_grad():
            resampled = owner.interpolate_pos_encoding(tokens, image_size, image_size)
    except RuntimeError:  # PVT means something else by the arguments, and calls it in every forward pass anyway
        return None
    return resampled.reshape(shape) if resampled.numel() == shape.numel() else None


def _shrink_windows(config: PreTrainedConfig, image_size: int) -> None:
    """Make a Swin's windows as small as its last feature map, since its bias tables are of one size for all stages.

    timm's and the authors' Swin do the same, stage by stage.
    """
    last = image_size
    for factor in (config.patch_size, *[2] * (len(config.depths) - 1)):
        last = -(-last // factor)
    config.window_size = min(config.window_size, last)


def _resize_timm(model: PreTrainedModel, image_size: int) -> PreTrainedModel:
    """Build timm's network for the size, as the saved config will, from the old weights through timm's own loading."""
    old = model.timm_model
    if not any("img_size" in inspect.signature(parent.__init__).parameters for parent in type(old).__mro__):
        return model
    if hasattr(old, "patch_embed") and hasattr(old.patch_embed, "patch_size"):
        _check_patches(old.patch_embed.patch_size, image_size)
    config = model.config
    options = {**(config.model_args or {}), "img_size": image_size}
    source = {"state_dict": old.state_dict(), "num_classes": config.num_labels, "custom_load": False}
    try:
        with torch.random.fork_rng():
            new = timm.create_model(
                config.architecture,
                pretrained=True,
                pretrained_cfg_overlay=source,
                num_classes=config.num_labels,
                **options,
            )
    except (AssertionError, RuntimeError):  # timm has no way to fit these weights to the size
        return model
    new.pretrained_cfg.pop("state_dict", None)
    model.timm_model, config.model_args = new.train(old.training), options
    return model


def _check_patches(patch_size: int | tuple[int, int], image_size: int) -> None:
    """Refuse sizes whose last pixels would belong to no patch."""
    patch = patch_size if isinstance(patch_size, int) else max(patch_size)
    if image_size % patch:
        lower = image_size // patch * patch
        allowed = f"{lower} or {lower + patch}" if lower else str(patch)
        raise UserError(
            f"image_size={image_size} is not a multiple of this model's patches of {patch} pixels; allowed: "
            f"{allowed}, for instance"
        )


def get_image_size(config: PreTrainedConfig) -> int:
    """Height and width in pixels that a model's config is made for; 224 where it does not say."""
    if config.model_type == "timm_wrapper":
        recorded = (getattr(config, "pretrained_cfg", None) or {}).get("input_size")
        size = (config.model_args or {}).get("img_size") or recorded
    else:
        size = getattr(getattr(config, "vision_config", config), "image_size", None)
    return (size[-1] if isinstance(size, (list, tuple)) else size) or USUAL_SIZE


def check_image_size(model: PreTrainedModel, image_size: int) -> None:
    """Refuse a size that a model cannot take beside its own, by trying one image; the model itself stays as it is.

    Raises:
        UserError: With the model's own words and what is allowed.
    """
    own = get_image_size(model.config)
    error = _try_size(model, image_size)
    if error is None and _keeps_windows(model, image_size):
        return
    if error is None:
        reason, allowed = "its windows would shrink to fit it, and stay so", f"{own} pixels or more"
    else:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        allowed = _describe_allowed_sizes(model, image_size, own)
    raise UserError(f"image_size={image_size} does not fit this model ({reason}); allowed: {allowed}") from error


def _describe_allowed_sizes(model: PreTrainedModel, refused: int, own: int) -> str:
    """In words; by bisection, as a network that halves its feature map until nothing is left takes larger ones."""
    if refused > own or _try_size(model, own) is not None:
        return f"its own size, {own} pixels"
    too_small, fitting = refused, own
    while fitting - too_small > 1:
        middle = (too_small + fitting) // 2
        too_small, fitting = (too_small, middle) if _try_size(model, middle) is None else (middle, fitting)
    takes_more = fitting < own or _try_size(model, 2 * own) is None
    return f"{fitting} pixels or more" if takes_more else f"its own size, {own} pixels"


def _try_size(model: PreTrainedModel, image_size: int) -> Exception | None:
    """What goes wrong when the model gets an image of a size."""
    try:
        _run(_share(model), image_size)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        return error
    return None


def _keeps_windows(model: PreTrainedModel, image_size: int) -> bool:
    """Whether a Swin's layers have the same windows after an image: each keeps the smallest that it ever had."""
    trial = _share(model)
    layers = [module for module in trial.modules() if hasattr(module, "set_shift_and_window_size")]
    if not layers:
        return True
    windows = []
    for size in (get_image_size(model.config), image_size):
        _run(trial, size)
        windows.append([(layer.window_size, layer.shift_size) for layer in layers])
    return windows[0] == windows[1]


def _share(model: PreTrainedModel) -> PreTrainedModel:
    """A copy in evaluation mode that shares the weights."""
    tensors = chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()


@torch.inference_mode()
def _run(model: PreTrainedModel, image_size: int) -> None:
    model(torch.zeros(1, 3, image_size, image_size, device=model.device))
