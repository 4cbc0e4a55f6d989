"""Owns what the trials of a search share, and a trial: a training as train.py does it, its score told to the study."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import SaveStrategy

from ..arguments import DataArguments
from ..data.split import hash_indices, prepare_tables
from ..data.store import read_column
from ..data.table import ImageData
from ..errors import UserError
from ..evaluation.metrics import build_compute_metrics
from ..files import get_cache_dir
from ..models.loading import load_or_build
from ..parser import RecipeParser, find_given
from ..training.callbacks import DivergenceError
from ..training.fit import fit
from ..training.trainer import check_model
from .options import Options, SearchArguments, build_train_parser, parse_options
from .processes import identify_process
from .space import Dimension, make_words, read_space
from .storage import EXCESS, REASON, WORKER, is_within


@dataclass
class Search:
    """What all trials of a search share.

    Attributes:
        words: train.py's command line without the trials' values.
        dimensions: of the space.
        parser, base: train.py's, and what `words` alone mean.
        data: its test images are not looked at.
        options: of the search.
    """

    words: list[str]
    dimensions: list[Dimension]
    parser: RecipeParser
    base: Options
    data: ImageData
    options: SearchArguments

    @property
    def metric(self) -> str:
        """What is measured on validation images."""
        return self.base.args.metric_for_best_model.removeprefix("eval_")

    @property
    def direction(self) -> str:
        """Whether more of it is better."""
        return "minimize" if self.metric == "loss" else "maximize"

    def parse(self, values: dict[str, Any]) -> Options:
        """The options of a trial with these values."""
        return parse_options(self.parser, [*self.words, *make_words(self.base.collect(), values)])

    def identify(self) -> dict[str, Any]:
        """What all workers of one study must agree on, as JSON has it."""
        _, validation = prepare_tables(self.data.train, self.base.data)
        own = {"cache_dir", "disable_tqdm", "output_dir", "dataset"}  # the data is compared by its hashes
        named = find_given([*self.words, *self.parser.read_config_of(self.words)]) - own
        given = {name: str(value) for name, value in self.base.collect().items() if name in named}
        space = {each.key: str(each.describe()) for each in self.dimensions}
        data = {
            "train": self.data.hashes["train"],
            "validation_sha256": hash_indices(read_column(validation, "index")),
        }
        seeds = {"sampler_seed": self.options.sampler_seed, "metric": self.metric}
        return {"options": given, "space": space, "data": data} | seeds

    @property
    def config(self) -> str | None:
        """The base recipe's YAML, if there is one."""
        found = [word for word in self.words if word.startswith("--config=")]
        return found[0].removeprefix("--config=") if found else None


def prepare_search(words: list[str], options: SearchArguments, load: Callable[[DataArguments], ImageData]) -> Search:
    """Check everything that can be, before any trial: the recipe, the space, and the values at its bounds.

    Args:
        words: train.py's command line.
        options: of the search.
        load: the data.

    Raises:
        UserError: With the remedy.
    """
    parser = build_train_parser()
    words = [*words, f"--output_dir={options.output_dir}"]
    base = parse_options(parser, words)
    if base.data.validation_size == 0 or base.args.eval_strategy == "no":
        raise UserError(
            "the recipe has no validation (validation_size: 0, or eval_strategy: no), which a search selects by; "
            "give --validation_size 0.1 --eval_strategy epoch"
        )
    if base.args.report_to:
        raise UserError(
            f"report_to={' '.join(base.args.report_to)} is for single runs; study.json has all trials, leave it out"
        )
    if base.args.world_size > 1:
        raise UserError(
            f"a trial is trained by one process, not by {base.args.world_size}; start the same command once per GPU, "
            "with CUDA_VISIBLE_DEVICES and one --storage"
        )
    dimensions = read_space(Path(options.space), parser)
    search = Search(words, dimensions, parser, base, None, options)
    first = {each.key: each.corners[0] for each in dimensions}
    for each in dimensions:
        for corner in each.corners:
            try:
                search.parse(first | {each.key: corner})
            except UserError as error:
                raise UserError(f"{options.space}: with {each.key}={corner}: {error}") from error
    search.data = load(base.data)
    return search


class ReportTrial(TrainerCallback):
    """Tells a study of each evaluation, and ends the training where the study's pruner says so."""

    def __init__(self, trial: optuna.Trial, compute_objective: Callable[[dict[str, float]], float]) -> None:
        self.trial, self.compute_objective, self.values, self.is_pruned = trial, compute_objective, [], False

    def on_evaluate(self, args, state, control, metrics=None, **kwargs) -> None:
        """Count evaluations, not steps: with another batch size, other steps are as far in the training."""
        self.values.append(self.compute_objective(metrics))
        self.trial.report(self.values[-1], len(self.values))
        if self.trial.should_prune():
            self.is_pruned = control.should_training_stop = True


class SearchTrainer(Trainer):
    """A Trainer of which `hyperparameter_search` needs the search alone: each trial is trained by `fit`.

    The stock Trainer changes its `TrainingArguments` between trials and nothing else: no optimizer, loss, dataset or
    callback of ours.
    """

    def __init__(self, search: Search) -> None:
        base = search.base.args
        args = TrainingArguments(
            base.output_dir, use_cpu=base.use_cpu, bf16=base.bf16, fp16=base.fp16, report_to="none"
        )
        super().__init__(model_init=lambda: nn.Identity(), args=args)
        self.search = search

    def train(self, resume_from_checkpoint=None, trial: optuna.Trial | None = None, **kwargs) -> None:
        """Train one trial; its value is then in `objective`."""
        trial.set_user_attr(WORKER, identify_process())
        if not is_within(trial.study, trial.number, self.search.options.n_trials):
            trial.set_user_attr(EXCESS, True)  # another worker took the last one at the same moment
            raise UserError(f"trial {trial.number} is one too many")
        try:
            self.objective = self.train_trial(trial)
        except DivergenceError as error:  # the sampler learns from pruned trials, not from failed ones
            trial.set_user_attr(REASON, str(error))
            raise optuna.TrialPruned(str(error)) from error
        except (UserError, RuntimeError) as error:
            if not isinstance(error, optuna.exceptions.OptunaError):
                trial.set_user_attr(REASON, " ".join(str(error).split()))
            raise

    def train_trial(self, trial: optuna.Trial) -> float:
        """The best validation score of all evaluations."""
        search = self.search
        values = self.hp_space(trial)
        print(f"Trial {trial.number}: " + ", ".join(f"{key}={show_value(value)}" for key, value in values.items()))
        options = search.parse(values)
        report = ReportTrial(trial, self.compute_objective)
        train, validation = prepare_tables(search.data.train, options.data)
        set_seed(options.args.seed)
        cache_dir = get_cache_dir(options.data.cache_dir)
        model, preprocessing, base_model = load_or_build(options.model, search.data, train, options.data.cache_dir)
        head_only = options.model.finetune == "head"
        size = search.data.image_size
        check_model(model, preprocessing, options.args, options.data, options.recipe, size, head_only, options.model)
        options.args.save_strategy, options.args.load_best_model_at_end = SaveStrategy.NO, False  # scores are enough
        # Early stopping would warn that the best weights are not loaded.
        logging.getLogger("transformers.trainer_callback").setLevel(logging.ERROR)
        with tempfile.TemporaryDirectory() as folder:
            options.args.output_dir = folder
            outcome = fit(
                model, preprocessing, train, validation, options.args, options.data, options.recipe,
                build_compute_metrics(len(search.data.class_names)), cache_dir, head_only=head_only,
                from_scratch=base_model is None, model_args=options.model, callbacks=[report],
            )  # fmt: skip
        trial.set_user_attr("epochs", outcome.epochs)
        if report.is_pruned:
            raise optuna.TrialPruned(f"after {outcome.epochs:g} epochs")
        return max(report.values) if search.direction == "maximize" else min(report.values)


def show_value(value: Any) -> str:
    """A value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
