"""CifarCnn. This file travels with the model to the Hub: it imports nothing but torch, transformers and its config."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
)

from .configuration_cifar_cnn import CifarCnnConfig

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


class CifarCnnConvolution(nn.Module):
    """3 x 3 convolution, optional 2 x 2 max-pooling, normalisation, activation."""

    def __init__(self, config: CifarCnnConfig, in_channels: int, out_channels: int, pool: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=config.convolution_bias)
        self.pooling = nn.MaxPool2d(2) if pool else nn.Identity()
        self.normalization = nn.Identity()
        if config.normalization == "batch":
            self.normalization = nn.BatchNorm2d(
                out_channels, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum
            )
        self.activation = ACTIVATIONS[config.hidden_act]()

    def forward(self, hidden_state: torch.Tensor, shortcut: torch.Tensor | None = None) -> torch.Tensor:
        hidden_state = self.normalization(self.pooling(self.convolution(hidden_state)))
        return self.activation(hidden_state if shortcut is None else hidden_state + shortcut)


class CifarCnnStage(GradientCheckpointingLayer):
    """Convolutions at one width; height and width are halved once."""

    def __init__(self, config: CifarCnnConfig, in_channels: int, out_channels: int, depth: int) -> None:
        super().__init__()
        pool_at = 0 if config.pooling == "after_first_convolution" else depth - 1
        self.residual = config.residual
        self.layers = nn.ModuleList(
            CifarCnnConvolution(config, out_channels if i else in_channels, out_channels, pool=i == pool_at)
            for i in range(depth)
        )
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, hidden_state: torch.Tensor) -> torch.Tensor:
        hidden_state = first = self.layers[0](hidden_state)
        for layer in self.layers[1:-1]:
            hidden_state = layer(hidden_state)
        if len(self.layers) > 1:
            hidden_state = self.layers[-1](hidden_state, shortcut=first if self.residual else None)
        return self.dropout(hidden_state)


@contextlib.contextmanager
def freeze_running_statistics(model: nn.Module) -> Iterator[None]:
    """Within this context, batch normalisation leaves its running statistics as they are."""
    modules = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [(module.momentum, module.num_batches_tracked.clone()) for module in modules]
    for module in modules:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, (momentum, count) in zip(modules, kept, strict=True):
            module.momentum = momentum
            module.num_batches_tracked.copy_(count)


def make_checkpoint_contexts(model: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """For gradient checkpointing, which runs a stage twice: its running statistics shall see each batch once."""
    return contextlib.nullcontext(), freeze_running_statistics(model)


def checkpoint_stage(checkpoint_function: Callable, model: nn.Module, run: Callable, *args) -> torch.Tensor:
    """Run a stage under gradient checkpointing."""
    if torch.compiler.is_compiling():  # takes no such contexts, and needs none: what it runs twice has no side effects
        return checkpoint_function(run, *args)
    return checkpoint_function(run, *args, context_fn=functools.partial(make_checkpoint_contexts, model))


class CifarCnnClassifier(nn.Linear):
    """The last linear layer, told apart from the others for its initialisation."""


class CifarCnnPreTrainedModel(PreTrainedModel):
    """Initialisation, and what transformers must know of every CifarCnn."""

    config_class = CifarCnnConfig
    base_model_prefix = "cifar_cnn"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["CifarCnnStage"]
    # The loss takes no `num_items_in_batch`, so the Trainer itself must scale it for gradient accumulation.
    accepts_loss_kwargs = False

    @classmethod
    def from_pretrained(cls, *args, **kwargs) -> "CifarCnnPreTrainedModel | tuple[CifarCnnPreTrainedModel, dict]":
        """As in the base class, which makes every loaded weight trainable; frozen ones are frozen again."""
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).freeze()
        return loaded

    def post_init(self) -> None:
        """Initialise, and freeze what the config says is not trained."""
        super().post_init()
        self.freeze()

    def freeze(self) -> None:
        """Freeze the filters of a whitening stem, and the scales of batch normalisation without `batch_norm_scale`."""
        for module in self.modules():
            if isinstance(module, CifarCnnModel) and self.config.stem == "whitening":
                module.stem[0].weight.requires_grad_(False)
            if isinstance(module, nn.BatchNorm2d) and not self.config.batch_norm_scale:
                module.weight.requires_grad_(False)

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func=checkpoint, **kwargs
    ) -> None:
        options = getattr(gradient_checkpointing_func, "keywords", {})
        if options.get("use_reentrant") is False and "context_fn" not in options:  # reentrant ones take no contexts
            gradient_checkpointing_func = functools.partial(checkpoint_stage, gradient_checkpointing_func, self)
        super()._set_gradient_checkpointing(enable, gradient_checkpointing_func, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initialisation (the base class draws N(0, 0.02)), with what the config asks for on top.

        Called for modules that have parameters of their own only: transformers skips containers of remote code.
        """
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                init.uniform_(module.bias, -bound, bound)
        if isinstance(module, nn.Conv2d) and self.config.identity_init:
            identity = torch.empty_like(module.weight[: module.in_channels])
            nn.init.dirac_(identity)
            init.copy_(module.weight, torch.cat([identity, module.weight[module.in_channels :]]))
        if isinstance(module, CifarCnnClassifier) and self.config.initializer_range is not None:
            init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)


class CifarCnnModel(CifarCnnPreTrainedModel):
    """The network without its classifier."""

    def __init__(self, config: CifarCnnConfig) -> None:
        super().__init__(config)
        self.stem = nn.Identity()
        if config.stem == "whitening":
            self.stem = nn.Sequential(
                nn.Conv2d(config.num_channels, config.stem_channels, config.stem_kernel_size),
                ACTIVATIONS[config.hidden_act](),
            )
        widths = [config.stem_channels, *config.hidden_sizes]
        self.stages = nn.ModuleList(
            CifarCnnStage(config, widths[i], widths[i + 1], depth) for i, depth in enumerate(config.depths)
        )
        pooling = {"max": nn.AdaptiveMaxPool2d(1), "average": nn.AdaptiveAvgPool2d(1), "none": nn.Identity()}
        self.pooler = nn.Sequential(pooling[config.final_pooling], nn.Flatten())
        self.post_init()

    @torch.no_grad()
    def init_whitening(self, pixel_values: torch.Tensor, eps: float = 5e-4) -> None:
        """Fill the stem with the whitened principal components of image patches, and their negatives.

        Source: Page 2019, "How to train your ResNet"; Jordan 2024, section 3.2.

        Args:
            pixel_values: float (B, C, H, W), normalised as for training; a few thousand images.
            eps: added to the eigenvalues, in squared pixel units.
        """
        size = self.config.stem_kernel_size
        patches = pixel_values.float().unfold(2, size, 1).unfold(3, size, 1)  # (B, C, H', W', size, size)
        patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, self.config.num_channels * size**2)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / torch.sqrt(values + eps)).T.reshape(-1, self.config.num_channels, size, size)
        self.stem[0].weight.copy_(torch.cat([filters, -filters]))
        self.stem[0].bias.zero_()

    def check_pixel_values(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The same images, if the network can take them.

        Raises:
            ValueError: States the shape and what is allowed.
        """
        config, shape = self.config, tuple(pixel_values.shape)
        if pixel_values.ndim != 4 or shape[1] != config.num_channels:
            raise ValueError(f"pixel_values has shape {shape}; allowed: (B, {config.num_channels}, H, W)")
        if config.final_pooling == "none" and shape[2:] != (config.image_size, config.image_size):
            raise ValueError(
                f"pixel_values is {shape[2]} x {shape[3]} pixels; this network flattens its feature map and takes "
                f"{config.image_size} x {config.image_size} only. Resize the images, or train with final_pooling='max'"
            )
        if min(shape[2:]) < config.smallest_size:
            raise ValueError(
                f"pixel_values is {shape[2]} x {shape[3]} pixels; {len(config.depths)} stages of halving need "
                f"{config.smallest_size} or more"
            )
        return pixel_values

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPoolingAndNoAttention | tuple:
        """`pixel_values` (B, C, H, W) to feature map (B, C', H', W') and pooled features (B, F)."""
        wants_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        dtype = self.stages[0].layers[0].convolution.weight.dtype
        hidden_state = self.stem(self.check_pixel_values(pixel_values).to(dtype))
        hidden_states = (hidden_state,)
        for stage in self.stages:
            hidden_state = stage(hidden_state)
            hidden_states += (hidden_state,)
        output = BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=hidden_state,
            pooler_output=self.pooler(hidden_state),
            hidden_states=hidden_states if wants_hidden_states else None,
        )
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()


class CifarCnnForImageClassification(CifarCnnPreTrainedModel):
    """CifarCnn with fully connected layers and a classifier."""

    def __init__(self, config: CifarCnnConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.cifar_cnn = CifarCnnModel(config)
        features = config.hidden_sizes[-1] * (config.final_size**2 if config.final_pooling == "none" else 1)
        layers = []
        for width in config.classifier_hidden_sizes:
            layers += [nn.Dropout(config.classifier_dropout), nn.Linear(features, width)]
            layers += [ACTIVATIONS[config.hidden_act]()]
            features = width
        layers += [nn.Dropout(config.classifier_dropout)]
        layers += [CifarCnnClassifier(features, config.num_labels, bias=config.classifier_bias)]
        self.classifier = nn.Sequential(*layers)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> ImageClassifierOutputWithNoAttention | tuple:
        """`pixel_values` (B, C, H, W) to logits (B, num_labels), with `labels` also to the mean loss.

        `labels` is int64 (B,), or as the config's `problem_type` has it: float (B, num_labels) for
        "multi_label_classification" and "regression".
        """
        outputs = self.cifar_cnn(pixel_values, output_hidden_states=output_hidden_states, return_dict=True)
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else self.compute_loss(logits, labels)
        output = ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=outputs.hidden_states)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def compute_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss that the config's `problem_type` asks for, in float32.

        Raises:
            ValueError: `labels` does not have one label, or with "multi_label_classification" and "regression" one
                value for each class, of each image. Without this, "regression" would broadcast.
        """
        problem_type = self.config.problem_type
        has_values = problem_type in ("multi_label_classification", "regression") or labels.is_floating_point()
        if has_values and self.num_labels > 1:
            expected, fits = tuple(logits.shape), labels.shape == logits.shape
        else:
            expected, fits = (len(logits),), labels.numel() == len(logits)
        if not fits:
            raise ValueError(
                f"labels has shape {tuple(labels.shape)}; allowed for problem_type={problem_type!r}: {expected}"
            )
        return self.loss_function(labels, logits.float(), self.config)
