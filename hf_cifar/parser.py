"""Owns command lines: YAML sets defaults, the command line wins, and bad input is one line and exit code 2."""

import argparse
import difflib
import errno
import functools
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from transformers import HfArgumentParser

from .errors import HubError, UserError


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and keeps the lines of a recipe's description."""


class ConfigLoader(yaml.SafeLoader):
    """Safe YAML in which only true and false are booleans, so that `eval_strategy: no` means what it says."""


ConfigLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
ConfigLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))


class RecipeParser(HfArgumentParser):
    """HfArgumentParser that also reads `--config FILE.yaml` and raises `UserError` where argparse would exit.

    A YAML entry becomes `--key=value` before the command line's own words, so that both go through the same checks
    and the later one, the command line, wins.
    """

    def __init__(self, *dataclass_types, **kwargs) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(dataclass_types, allow_abbrev=False, **kwargs)
        self.add_argument("--config", help="YAML file with options; the command line wins over it.")

    def error(self, message: str) -> None:
        """Called by argparse for bad values and missing arguments."""
        raise UserError(f"{message}. {self.prog} --help lists every option")

    def parse(self, argv: list[str] | None = None) -> tuple[Any, ...]:
        """The dataclasses, and at the end a namespace with what was added by `add_argument` (`config` at least).

        Raises:
            UserError: An unknown key, a bad value, or a config that cannot be read.
        """
        argv = list(sys.argv[1:] if argv is None else argv)
        words = self.read_config_of(argv)
        try:
            *values, unknown = self.parse_args_into_dataclasses(
                words + argv, return_remaining_strings=True, look_for_args_file=False
            )
        except (argparse.ArgumentTypeError, ImportError) as error:
            raise UserError(f"{error}. {self.prog} --help lists every option") from error
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{' '.join(str(error).split())}. {self.prog} --help lists every option") from error
        if unknown:
            self.refuse_option(unknown[0].split("=")[0].removeprefix("--"), "the command line")
        return tuple(values)

    def read_config_of(self, argv: list[str]) -> list[str]:
        """The entries of the YAML that a command line names, as words that come before its own."""
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        finder.add_argument("--config")
        try:
            config = finder.parse_known_args(argv)[0].config
        except argparse.ArgumentError as error:
            self.error(str(error))
        return self.read_config(Path(config), find_given(argv)) if config else []

    def read_config(self, path: Path, given: set[str] = frozenset()) -> list[str]:
        """A YAML file's entries as words of a command line, but for those that the options `given` there reset."""
        options = read_yaml(path)
        words, reset = [], {key for kind in self.dataclass_types for key in find_reset(kind, given)}
        for key, value in options.items():
            if key not in self.option_names or key == "config":
                self.refuse_option(str(key), str(path))
            if value is not None and key not in reset:  # a key without a value keeps the default
                words += self.make_words(key, value)
        return words

    @staticmethod
    def make_words(key: str, value: Any) -> list[str]:
        """One YAML entry as words of a command line."""
        if isinstance(value, list):
            return [f"--{key}", *map(str, value)]
        return [f"--{key}={json.dumps(value) if isinstance(value, dict | bool) else value}"]

    @property
    def option_names(self) -> set[str]:
        """Every option's canonical name."""
        return {action.dest for action in self._actions if action.option_strings}

    def refuse_option(self, name: str, where: str) -> None:
        """Say that an option does not exist, and which one may be meant."""
        near = difflib.get_close_matches(name, self.option_names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see the names there."
        raise UserError(f"unknown option {name!r} in {where}; {hint} {self.prog} --help lists every option")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping.

    Raises:
        UserError: There is no such file, or it holds something else.
    """
    if not path.is_file():
        raise UserError(f"config {str(path)!r} does not exist; allowed: a YAML file, as in recipes/cnn/fast.yaml")
    try:
        options = yaml.load(path.read_text(encoding="utf-8"), Loader=ConfigLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"config {str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(options, dict):
        raise UserError(f"config {str(path)!r} is not a mapping of options to values")
    return options


def find_given(argv: list[str]) -> set[str]:
    """The names of the options that a command line gives."""
    return {word.split("=")[0].removeprefix("--") for word in argv if word.startswith("--")}


def find_reset(dataclass_type: type, given: set[str]) -> list[str]:
    """The options of a dataclass that those `given` on the command line reset, as its `resets` says."""
    resets = getattr(dataclass_type, "resets", {})
    return [name for option, names in resets.items() if option in given for name in names]


def run_recipe(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate a recipe's `main`: what the user can mend becomes one line on stderr and exit code 2."""

    @functools.wraps(main)
    def wrapper() -> None:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        try:
            main()
        except UserError as error:
            sys.exit(complain(" ".join(str(error).split()), 2))
        except HubError as error:
            sys.exit(complain(str(error), 1))
        except KeyboardInterrupt:
            sys.exit(
                complain(
                    "interrupted; train.py goes on from its last checkpoint by --resume_from_checkpoint true", 130
                )
            )
        except (OSError, RuntimeError, SafetensorError) as error:
            if (reason := find_disk_problem(error)) is None:
                raise
            sys.exit(complain(f"cannot write: {reason}; free space, or choose another folder", 2))

    return wrapper


def find_disk_problem(error: Exception) -> str | None:
    """What is wrong with the disk, if that is what an error says; libraries wrap the system's error in their own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return os.strerror(error.errno) + (f" ({error.filename})" if error.filename else "")
    # safetensors, and torch.save with its checkpoints
    is_full = "No space left on device" in str(error) or "PytorchStreamWriter failed writing" in str(error)
    return os.strerror(errno.ENOSPC) if is_full else None


def complain(message: str, code: int) -> int:
    """Print one line on stderr and return the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code
