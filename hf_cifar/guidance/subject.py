"""Owns what the model's checks work on: data and model as train.py builds them, and short trainings of copies."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import datasets
import torch
from torch import nn
from transformers import PreTrainedModel, TrainingArguments, set_seed

from ..arguments import DataArguments, ModelArguments, RecipeArguments
from ..data.batches import ImageBatches, KeyedDataset
from ..data.keyed import SHUFFLE, SUBSET, draw_permutation
from ..data.split import prepare_tables, split_table
from ..data.statistics import choose_preprocessing
from ..data.table import ImageData, load_data
from ..data.transforms import ImageTransform, Preprocessing
from ..errors import UserError
from ..files import get_cache_dir
from ..hardware import autocast
from ..kernels.layers import restore
from ..models.loading import build_cifar_cnn, find_classifier, load_for_fine_tuning
from ..training.finetuning import find_learning_rate_scales, fine_tune
from ..training.fit import attach_kernels, get_precision, init_whitening, make_feature_sets
from ..training.frozen import FeatureClassifier
from ..training.loss import build_loss
from ..training.trainer import build_recipe_optimizer, check_model, check_options

Batch = dict[str, torch.Tensor]
MAX_BATCH_SIZE = 128  # enough for the checks, whatever the config trains with
MAX_FEATURES = 2000  # images that a frozen backbone is run on


@dataclass
class Subject:
    """What a config describes, built.

    Attributes:
        data: as loaded.
        train: the table that is trained on.
        validation: images that are not trained on; where the config keeps none, a tenth that the checks keep.
        model: with its first weights.
        preprocessing: what it expects.
        args, data_args, model_args, recipe: the options.
        batch_size: that the checks take.
        tables: "train" and "validation" images that the checks take; of a frozen backbone, some.
        features: of these, once they are computed.
    """

    data: ImageData
    train: datasets.Dataset
    validation: datasets.Dataset
    model: PreTrainedModel
    preprocessing: Preprocessing
    args: TrainingArguments
    data_args: DataArguments
    model_args: ModelArguments
    recipe: RecipeArguments
    batch_size: int = MAX_BATCH_SIZE
    tables: dict[str, datasets.Dataset] = field(init=False, default_factory=dict)
    features: dict[str, KeyedDataset] = field(init=False, default_factory=dict)

    @property
    def head_only(self) -> bool:
        """Whether nothing but a classifier on frozen features is trained."""
        return self.model_args.finetune == "head"

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.data.class_names)

    def __post_init__(self) -> None:
        for split, table in (("train", self.train), ("validation", self.validation)):
            rows = draw_permutation(len(table), self.args.seed, SUBSET)[:MAX_FEATURES]
            self.tables[split] = table.select(rows.tolist()) if self.head_only else table

    def make_batches(self, split: str, augment: bool = False) -> KeyedDataset:
        """Batches of `tables[split]` as training or evaluation gets them; of a frozen backbone, its features."""
        table = self.tables[split]
        if self.head_only:
            if split not in self.features:
                cache = get_cache_dir(self.data_args.cache_dir)
                self.features[split] = make_feature_sets(self.model, self.preprocessing, [table], self.args, cache)[0]
            return self.features[split]
        transform = ImageTransform(self.preprocessing, self.data_args if augment else None, self.args.seed)
        return ImageBatches(table, transform)

    def draw_rows(self, split: str, count: int, start: int = 0) -> list[int]:
        """Rows of `tables[split]` in a keyed order, for tables may be sorted; from `start` on and round again."""
        size = len(self.tables[split])
        order = draw_permutation(size, self.args.seed, 0, SHUFFLE)
        return order[(start + torch.arange(min(count, size))) % size].tolist()

    def fetch(self, count: int) -> Batch:
        """Some training images as a batch, without augmentation."""
        return self.make_batches("train").__getitems__(self.draw_rows("train", count))


def build_subject(
    data_args: DataArguments, model_args: ModelArguments, recipe: RecipeArguments, args: TrainingArguments
) -> Subject:
    """Load and build as train.py does.

    Raises:
        UserError: The options do not fit, or the data or the model is not to be had.
    """
    check_options(args, recipe, has_validation=data_args.validation_size > 0)
    data = load_data(data_args)
    train, validation = prepare_tables(data.train, data_args)
    if validation is None:
        train, validation = split_table(train, seed=data_args.split_seed)
    if min(len(train), len(validation)) < 8:
        raise UserError(
            f"{len(train)} training and {len(validation)} validation images are too few for the checks; allowed: 8 or "
            "more of each"
        )
    set_seed(args.seed)
    if model_args.model_name_or_path is None:
        model = build_cifar_cnn(model_args.model_config, data.class_names, data.image_size)
        preprocessing = choose_preprocessing(data.name, train, model.config.image_size)
        if model.config.stem == "whitening":
            init_whitening(model, preprocessing, train)
    else:
        model, preprocessing, _ = load_for_fine_tuning(model_args, data.class_names, data_args.cache_dir)
    head_only = model_args.finetune == "head"
    check_model(model, preprocessing, args, data_args, recipe, data.image_size, head_only, model_args)
    batch_size = min(MAX_BATCH_SIZE, args.train_batch_size, len(train))
    return Subject(data, train, validation, model, preprocessing, args, data_args, model_args, recipe, batch_size)


class Trial:
    """A copy of the model in training, with the recipe's optimizer and loss."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, args: TrainingArguments) -> None:
        self.network, self.optimizer, self.args = network, optimizer, args
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.loss = build_loss(args.label_smoothing_factor)
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and logits (B, K), in the run's precision and the mode that the network is in."""
        batch = {name: value.to(self.args.device) for name, value in batch.items()}
        labels = batch.pop("labels")
        with autocast(self.args.device, get_precision(self.args)):
            outputs = self.network(**batch)
        return self.loss(outputs, labels), outputs["logits"]

    def step(self, batch: Batch, factor: float = 1.0) -> tuple[float, torch.Tensor]:
        """One step of the optimizer with its rates times `factor`; loss and logits (B, K) before it."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = factor * rate
        self.optimizer.zero_grad()
        loss, logits = self.forward(batch)
        loss.backward()
        if self.args.max_grad_norm > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.args.max_grad_norm)
        self.optimizer.step()
        return loss.item(), logits.detach()

    @torch.no_grad()
    def measure_accuracy(self, batch: Batch) -> float:
        """Share of a batch that is classified rightly in evaluation mode."""
        self.network.eval()
        _, logits = self.forward(batch)
        self.network.train()
        return (logits.argmax(1).cpu() == batch["labels"]).float().mean().item()


@contextlib.contextmanager
def start_trial(subject: Subject, learning_rate: float | None = None) -> Iterator[Trial]:
    """A trial of a copy of the model, set up as `fit` does; `learning_rate` in place of the config's."""
    args = copy.copy(subject.args)
    args.learning_rate = args.learning_rate if learning_rate is None else learning_rate
    set_seed(args.seed)
    model = copy.deepcopy(subject.model).to(args.device)
    if subject.head_only:
        network = FeatureClassifier(model)
    else:
        network = model.to(memory_format=torch.channels_last)
        attach_kernels(model, args, subject.recipe)
    scales = find_learning_rate_scales(model, subject.model_args.layer_decay)
    tuning = fine_tune(model, subject.model_args, subject.preprocessing.image_size)
    with contextlib.nullcontext() if subject.head_only else tuning:
        optimizer = build_recipe_optimizer(network, find_classifier(model), args, subject.recipe, scales)
        yield Trial(network.train(), optimizer, args)
    restore(model)
