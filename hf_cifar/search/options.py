"""Owns the options of search.py, and what a command line of train.py means."""

from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import TrainingArguments

from ..arguments import DataArguments, ModelArguments, RecipeArguments
from ..errors import UserError
from ..parser import RecipeParser
from ..training.trainer import check_options, get_training_defaults


@dataclass
class SearchArguments:
    """A search for hyper-parameters, or a sweep; all options of train.py may be given too."""

    space: str | None = field(
        default=None, metadata={"help": "YAML file with the space: options to {low, high, log, step} or to choices."}
    )
    n_trials: int = field(default=20, metadata={"help": "Trials of the study, those of all workers together."})
    storage: str | None = field(
        default=None,
        metadata={"help": "Where the study lies: journal:FILE or a database's URL; default: in output_dir."},
    )
    study: str | None = field(default=None, metadata={"help": "Its name; default: the name of the config."})
    pruner: Literal["median", "none"] = field(
        default="median",
        metadata={"help": "median: end a trial that is worse than half of the others were by then. none: never."},
    )
    sampler_seed: int = field(default=0, metadata={"help": "Of the values that are tried; seed is of the training."})
    grace_seconds: float = field(
        default=180.0,
        metadata={"help": "Silence after which a worker counts as dead, and its work is given to others."},
    )
    grid: str | None = field(
        default=None, metadata={"help": "YAML file with a sweep instead: options to lists, of which all are combined."}
    )
    output_dir: str = field(default="runs/search", metadata={"help": "Where the result goes."})

    def __post_init__(self) -> None:
        for name, lowest in (("n_trials", 1), ("grace_seconds", 4), ("sampler_seed", 0)):
            if not getattr(self, name) >= lowest:
                raise UserError(f"{name}={getattr(self, name)} is out of range; allowed: {lowest} or more")
        if (self.space is None) == (self.grid is None):
            raise UserError("give --space SPACE.yaml for a search, or --grid GRID.yaml for a sweep, and not both")


@dataclass
class Options:
    """What a command line of train.py means."""

    data: DataArguments
    model: ModelArguments
    recipe: RecipeArguments
    args: TrainingArguments

    def collect(self) -> dict[str, Any]:
        """All options by name."""
        return vars(self.args) | vars(self.data) | vars(self.model) | vars(self.recipe)


def split_command(argv: list[str], description: str | None = None) -> tuple[SearchArguments, list[str]]:
    """The options of search.py, and the words of its command line that are for train.py, a config first.

    Raises:
        UserError: A bad value.
    """
    parser = RecipeParser(SearchArguments, description=description)
    options, others, words = parser.parse_args_into_dataclasses(
        argv, return_remaining_strings=True, look_for_args_file=False
    )
    return options, ([f"--config={others.config}"] if others.config else []) + words


def build_train_parser() -> RecipeParser:
    """The parser of train.py, with its defaults."""
    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrainingArguments, prog="train.py")
    parser.set_defaults(**get_training_defaults())
    return parser


def parse_options(parser: RecipeParser, words: list[str]) -> Options:
    """Options as train.py would have them, refused as it would.

    Raises:
        UserError: With the remedy.
    """
    data_args, model_args, recipe, args, _ = parser.parse(words)
    check_options(args, recipe, has_validation=data_args.validation_size > 0)
    return Options(data_args, model_args, recipe, args)
