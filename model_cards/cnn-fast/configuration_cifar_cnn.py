"""Configuration of CifarCnn. This file travels with the model to the Hub: it imports nothing else of this project."""

import math
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


@strict
class CifarCnnConfig(PreTrainedConfig):
    r"""
    One configurable network of convolutions, pooling and fully connected layers for small images.

    Args:
        num_channels (`int`): Channels of the input image.
        image_size (`int`): Height and width of the input in pixels, 8 to 256. With `final_pooling="none"` the network
            takes no other size; else it takes any that leaves at least one pixel to the last stage.
        stem (`str`): `"none"`, or `"whitening"`: a frozen convolution whose filters are the principal components of
            image patches (Page 2019; `CifarCnnModel.init_whitening` fills it from data) with a trained bias.
        stem_kernel_size (`int`): Kernel size of the whitening stem; it has `2 * num_channels * stem_kernel_size**2`
            filters, each component and its negative.
        hidden_sizes (`list[int]`): Channels of each stage; each stage halves height and width.
        depths (`list[int]`): 3 x 3 convolutions in each stage.
        residual (`bool`): Add the output of a stage's first convolution to that of its last one, before its activation
            (Jordan 2024, airbench96); for stages of at least two convolutions that pool after the first one.
        pooling (`str`): Where a stage pools: `"after_first_convolution"` (fewer FLOPs) or `"after_last_convolution"`
            (the textbook order).
        normalization (`str`): `"batch"` or `"none"`.
        batch_norm_momentum (`float`): Weight of the new batch in the running statistics, as in PyTorch.
        batch_norm_eps (`float`): Added to the variance.
        batch_norm_scale (`bool`): Whether batch normalisation trains its scale; its shift is always trained.
        convolution_bias (`bool`): Whether convolutions have a bias.
        identity_init (`bool`): Start each convolution as the identity on its first channels (dirac).
        hidden_act (`str`): `"gelu"` or `"relu"`.
        final_pooling (`str`): `"max"` or `"average"` over what is left of the image, or `"none"` (flatten).
        classifier_hidden_sizes (`list[int]`): Widths of the fully connected layers before the classifier.
        classifier_bias (`bool`): Whether the classifier has a bias.
        initializer_range (`float`, *optional*): Standard deviation of the classifier's initial weights; without it,
            PyTorch's own initialisation.
        hidden_dropout (`float`): Dropout after each stage.
        classifier_dropout (`float`): Dropout before each fully connected layer.
    """

    model_type = "cifar_cnn"

    num_channels: int = 3
    image_size: int = 32
    stem: Literal["none", "whitening"] = "none"
    stem_kernel_size: int = 2
    hidden_sizes: list[int] | tuple[int, ...] = (32, 64, 128)
    depths: list[int] | tuple[int, ...] = (2, 2, 2)
    residual: bool = False
    pooling: Literal["after_first_convolution", "after_last_convolution"] = "after_last_convolution"
    normalization: Literal["batch", "none"] = "none"
    batch_norm_momentum: float = 0.1
    batch_norm_eps: float = 1e-5
    batch_norm_scale: bool = True
    convolution_bias: bool = True
    identity_init: bool = False
    hidden_act: Literal["gelu", "relu"] = "relu"
    final_pooling: Literal["max", "average", "none"] = "none"
    classifier_hidden_sizes: list[int] | tuple[int, ...] = (128,)
    classifier_bias: bool = True
    initializer_range: float | None = None
    hidden_dropout: float = 0.0
    classifier_dropout: float = 0.0

    def __post_init__(self, **kwargs):
        self.hidden_sizes, self.depths = list(self.hidden_sizes), list(self.depths)
        self.classifier_hidden_sizes = list(self.classifier_hidden_sizes)
        super().__post_init__(**kwargs)

    def validate_stages(self):
        """Check that the stages fit each other and the image."""
        if len(self.hidden_sizes) != len(self.depths) or not self.depths or min(self.depths) < 1:
            raise ValueError(
                f"hidden_sizes={self.hidden_sizes} and depths={self.depths} must be of one length, depths at least 1"
            )
        if min([*self.hidden_sizes, *self.classifier_hidden_sizes]) < 1:
            raise ValueError(
                f"hidden_sizes={self.hidden_sizes} and classifier_hidden_sizes={self.classifier_hidden_sizes} "
                "must be positive"
            )
        if self.residual and min(self.depths) < 2:
            raise ValueError(f"residual=True needs at least two convolutions in each stage, not depths={self.depths}")
        if self.residual and self.pooling != "after_first_convolution":
            raise ValueError(
                f"residual=True adds feature maps of one size, which pooling={self.pooling!r} does not give; allowed: "
                "'after_first_convolution'"
            )
        if not 8 <= self.image_size <= 256:
            raise ValueError(f"image_size={self.image_size} pixels is out of range; allowed: 8 to 256")
        if not 1 <= self.stem_kernel_size <= self.image_size:
            raise ValueError(
                f"stem_kernel_size={self.stem_kernel_size} must be from 1 to image_size={self.image_size}"
            )
        if self.image_size < self.smallest_size:
            raise ValueError(
                f"image_size={self.image_size} is too small for {len(self.depths)} stages of halving; allowed: "
                f"{self.smallest_size} or more"
            )

    def validate_numbers(self):
        """Check channels, normalisation, initialisation and dropout."""
        if self.num_channels < 1:
            raise ValueError(f"num_channels={self.num_channels} must be positive")
        if not 0 < self.batch_norm_momentum <= 1:
            raise ValueError(f"batch_norm_momentum={self.batch_norm_momentum} must be in (0, 1]")
        for name in ("batch_norm_eps", "initializer_range"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0, and finite")
        for name in ("hidden_dropout", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be in [0, 1)")

    def validate_labels(self):
        """Check what the base class lets pass."""
        if self.num_labels < 1:
            raise ValueError(f"num_labels={self.num_labels} must be positive")
        if self.problem_type not in (None, *PROBLEM_TYPES):
            raise ValueError(f"problem_type={self.problem_type!r}; allowed: {', '.join(PROBLEM_TYPES)}")

    @property
    def stem_channels(self) -> int:
        """Channels that enter the first stage."""
        return self.num_channels if self.stem == "none" else 2 * self.num_channels * self.stem_kernel_size**2

    @property
    def smallest_size(self) -> int:
        """The least height and width in pixels that leaves one pixel to the last stage."""
        return 2 ** len(self.depths) + (0 if self.stem == "none" else self.stem_kernel_size - 1)

    @property
    def final_size(self) -> int:
        """Height and width that leave the last stage."""
        size = self.image_size if self.stem == "none" else self.image_size - self.stem_kernel_size + 1
        return size // 2 ** len(self.depths)
