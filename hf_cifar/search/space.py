"""Owns the space of a search: what a YAML says of each option, and how a trial's values become options."""

import copy
import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from ..arguments import SourceArguments
from ..errors import UserError
from ..parser import RecipeParser, read_yaml

if TYPE_CHECKING:
    import optuna

EXAMPLE = "as in learning_rate: {low: 0.001, high: 0.1, log: true}, or optimizer: [adamw, muon]"
# What the validation score would not be comparable over, what a process can have but once, and where things go.
FIXED = {field.name for field in dataclasses.fields(SourceArguments)} | {
    "validation_size", "split_seed", "seed", "data_seed", "metric_for_best_model", "greater_is_better",
    "eval_strategy", "load_best_model_at_end", "save_strategy", "bf16", "fp16", "use_cpu", "output_dir", "run_name",
    "report_to", "push_to_hub", "overwrite_run", "resume_from_checkpoint", "tta", "config",
}  # fmt: skip


@dataclass(frozen=True)
class Dimension:
    """One option of a search: numbers from `low` to `high`, or `choices`.

    Attributes:
        key: the option's name; after dots, keys inside a mapping, as in parameter_groups.head.lr.
        low, high: both included.
        is_integer: whether the numbers are whole.
        log: whether they are drawn evenly on a logarithmic scale.
        step: between numbers that are allowed; None allows all.
        choices: by what they are called in a study.
    """

    key: str
    low: float = 0
    high: float = 0
    is_integer: bool = False
    log: bool = False
    step: float | None = None
    choices: dict[str | float | int | bool | None, Any] | None = None

    def suggest(self, trial: "optuna.Trial") -> Any:
        """A value for a trial."""
        if self.choices is not None:
            return self.choices[trial.suggest_categorical(self.key, list(self.choices))]
        if self.is_integer:
            return trial.suggest_int(self.key, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log)

    def decode(self, stored: Any) -> Any:
        """The value that a study has under the name `stored`."""
        return stored if self.choices is None else self.choices[stored]

    @property
    def corners(self) -> list[Any]:
        """The values that a check of the space looks at."""
        return list(self.choices.values()) if self.choices is not None else [self.low, self.high]

    def describe(self) -> dict[str, Any]:
        """For study.json, and to tell whether two workers search the same space."""
        if self.choices is not None:
            return {"choices": list(self.choices.values())}
        return {"low": self.low, "high": self.high, "integer": self.is_integer, "log": self.log, "step": self.step}


def read_space(path: Path, parser: RecipeParser) -> list[Dimension]:
    """The dimensions of a YAML file.

    Args:
        path: a mapping from options to `{low, high, log, step}` or a list of choices.
        parser: of train.py, which knows all options.

    Raises:
        UserError: An option does not exist or must not vary, or nothing can be sampled from what is said of it.
    """
    entries = read_yaml(path)
    if not entries:
        raise UserError(f"{path}: the space is empty; give options, {EXAMPLE}")
    # Not the fields' types: HfArgumentParser changes them.
    types = {name: hint for kind in parser.dataclass_types for name, hint in get_type_hints(kind).items()}
    dimensions = []
    for key, entry in entries.items():
        name, _, inner = str(key).partition(".")
        if name in FIXED:
            raise UserError(f"{path}: {key} must not vary within a search; leave it out")
        if name not in types:
            parser.refuse_option(name, str(path))
        if inner and "dict" not in str(types[name]):
            raise UserError(f"{path}: {key}: {name} is not a mapping, so nothing lies inside it; give {name}")
        dimensions.append(read_dimension(f"{path}: {key}", str(key), entry, None if inner else types[name]))
    keys = [each.key for each in dimensions]
    for key in keys:
        if outer := [other for other in keys if key.startswith(f"{other}.")]:
            raise UserError(f"{path}: {key} lies inside {outer[0]}, which varies as a whole; leave one out")
    return dimensions


def read_dimension(where: str, key: str, entry: Any, kind: Any) -> Dimension:
    """One entry of a space; `kind` is the option's type, None inside a mapping."""
    if isinstance(entry, dict) and set(entry) == {"choices"}:
        entry = entry["choices"]
    if isinstance(entry, list):
        if not entry:
            raise UserError(f"{where}: there are no choices; give one or more")
        scalar = (str, float, int, bool, type(None))
        choices = {each if isinstance(each, scalar) else json.dumps(each): each for each in entry}
        if len(choices) < len(entry):  # 1, 1.0 and true are one key too
            raise UserError(f"{where}: {entry} has a choice twice; give each once")
        return Dimension(key, choices=choices)
    if not isinstance(entry, dict) or not {"low", "high"} <= set(entry) <= {"low", "high", "log", "step"}:
        raise UserError(f"{where}: {entry!r} says no range; allowed: low, high, log and step, or a list, {EXAMPLE}")
    try:  # YAML takes 1e-3 for text
        low, high = float(entry["low"]), float(entry["high"])
        step = None if entry.get("step") is None else float(entry["step"])
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {entry!r} has a bound that is no number; {EXAMPLE}") from error
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise UserError(f"{where}: log={log!r}; allowed: true, false")
    types = set(re.findall(r"\b(int|float)\b", str(kind)))
    if kind is not None and not types:
        raise UserError(f"{where}: the option takes no numbers; give a list of choices")
    is_integer = types == {"int"} or kind is None and all(isinstance(entry[each], int) for each in ("low", "high"))
    if is_integer and (low % 1 or high % 1 or (step or 1) % 1):
        raise UserError(f"{where}: {entry!r} is of a whole number; give whole bounds and steps")
    check_range(where, low, high, log, step)
    whole = int if is_integer else float
    return Dimension(key, whole(low), whole(high), is_integer, log, None if step is None else whole(step))


def check_range(where: str, low: float, high: float, log: bool, step: float | None) -> None:
    """Refuse bounds that nothing can be drawn from; NaN and infinities too."""
    if not -1e300 < low < high < 1e300:
        raise UserError(f"{where}: low={low:g}, high={high:g}; low must be below high")
    if log and low <= 0:
        raise UserError(f"{where}: low={low:g} has no logarithm; give a low above 0, or log: false")
    if log and step is not None:
        raise UserError(f"{where}: log and step exclude each other; leave one out")
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"{where}: step={step:g} does not fit from {low:g} to {high:g}; give a smaller one above 0")


def merge_values(options: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """`options` with the values of a trial; those inside a mapping change a copy of it, and None changes nothing."""
    merged = dict(options)
    for key, value in values.items():
        if value is None:
            continue
        name, *inner = key.split(".")
        if not inner:
            merged[name] = value
            continue
        mapping = merged[name] = copy.deepcopy(merged.get(name) or {})
        for part in inner[:-1]:
            mapping = mapping.setdefault(part, {})
        mapping[inner[-1]] = value
    return merged


def make_words(options: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The values of a trial as words of train.py's command line.

    Args:
        options: of the base recipe, by name; mappings in it are completed.
        values: by the dimensions' keys.
    """
    names = {key.split(".")[0] for key, value in values.items() if value is not None}
    merged = merge_values(options, values)
    return [word for name in merged if name in names for word in RecipeParser.make_words(name, merged[name])]
