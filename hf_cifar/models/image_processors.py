"""Owns the translation between a model's saved image processor and the project's `Preprocessing`."""

from torchvision.transforms.v2 import InterpolationMode
from transformers import PreTrainedModel, ViTImageProcessor
from transformers.image_utils import PILImageResampling

from ..data.transforms import Preprocessing
from ..errors import UserError

# Pillow's numbers, which processors save, and torchvision's names.
_INTERPOLATIONS = {
    PILImageResampling.NEAREST: InterpolationMode.NEAREST_EXACT.value,
    PILImageResampling.BILINEAR: InterpolationMode.BILINEAR.value,
    PILImageResampling.BICUBIC: InterpolationMode.BICUBIC.value,
    PILImageResampling.LANCZOS: InterpolationMode.LANCZOS.value,
}


def read_preprocessing(processor, image_size: int | None = None) -> Preprocessing:
    """What an image processor does, as a direct resize and a normalisation.

    Args:
        processor: any transformers image processor, TimmWrapper's included.
        image_size: overrides the processor's size, in pixels.

    Raises:
        UserError: It resizes in a way that torchvision does not offer, wants BGR, or records no size.
    """
    known = ", ".join(_INTERPOLATIONS.values())
    if hasattr(processor, "data_config"):  # TimmWrapperImageProcessor
        config = processor.data_config
        if config["interpolation"] not in _INTERPOLATIONS.values():
            raise UserError(f"the model resizes by {config['interpolation']!r} interpolation; allowed: {known}")
        return Preprocessing(
            image_size or config["input_size"][-1],
            tuple(config["mean"]),
            tuple(config["std"]),
            config["interpolation"],
        )
    resample = getattr(processor, "resample", None)
    if resample not in _INTERPOLATIONS:
        name = PILImageResampling(resample).name if isinstance(resample, int) else "no"
        raise UserError(f"the model resizes by {name} interpolation; allowed: {known}")
    if getattr(processor, "do_flip_channel_order", False):
        raise UserError("the model's image processor flips RGB to BGR; allowed: RGB. Choose another model")
    native = _read_size(processor)
    if image_size is None and native is None:
        raise UserError(f"the model's {type(processor).__name__} records no image size; give --image_size")
    return Preprocessing(image_size or native, *_read_statistics(processor), _INTERPOLATIONS[resample])


def _read_size(processor) -> int | None:
    """Height in pixels of what an image processor makes: of its crop, where it crops."""
    crops = getattr(processor, "do_center_crop", False) and processor.crop_size
    size = (processor.crop_size if crops else getattr(processor, "size", None)) or {}
    return size.get("height") or size.get("shortest_edge")


def _read_statistics(processor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, for pixels in [0, 1], of all that a processor does to values."""
    normalizes = processor.do_normalize
    mean = processor.image_mean if normalizes else (0.0,) * 3
    std = processor.image_std if normalizes else (1.0,) * 3
    scale = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    offset = 1.0 if getattr(processor, "rescale_offset", False) else 0.0  # subtracted after rescaling, as EfficientNet
    again = std if getattr(processor, "include_top", False) else (1.0,) * 3  # EfficientNet divides twice
    return (
        tuple((value + offset) / scale for value in mean),
        tuple(first * second / scale for first, second in zip(std, again, strict=True)),
    )


def build_image_processor(preprocessing: Preprocessing) -> ViTImageProcessor:
    """The transformers image processor that does what `preprocessing` does; any pipeline can load it."""
    resample = next(pil for pil, name in _INTERPOLATIONS.items() if name == preprocessing.interpolation)
    return ViTImageProcessor(
        do_resize=True,
        size={"height": preprocessing.image_size, "width": preprocessing.image_size},
        resample=resample,
        do_rescale=True,
        do_normalize=True,
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
    )


def record_in_timm_config(model: PreTrainedModel, preprocessing: Preprocessing, class_names: list[str]) -> None:
    """Write preprocessing and labels into a timm model's config, which keeps both in places of its own."""
    if model.config.model_type == "timm_wrapper":
        model.config.label_names = class_names  # saved instead of id2label; a base model's would be kept otherwise
        model.config.pretrained_cfg = {
            **getattr(model.config, "pretrained_cfg", {}),
            "input_size": [3, preprocessing.image_size, preprocessing.image_size],
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "interpolation": preprocessing.interpolation,
            "crop_pct": 1.0,
        }
