"""Owns results.json: every number of a run, validated when written and when read."""

import dataclasses
import functools
import json
from pathlib import Path

import jsonschema

from ..arguments import SourceArguments
from ..errors import UserError
from ..files import write_json

SCHEMA_VERSION = 1
FILE_NAME = "results.json"


@functools.cache
def load_validator() -> jsonschema.Draft202012Validator:
    """The schema beside this file, compiled."""
    schema = json.loads(Path(__file__).with_name("results.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema)


def validate_results(results: dict, where: str) -> None:
    """Refuse results that do not follow the schema.

    Raises:
        UserError: Names the place and the first thing that is wrong.
    """
    if not isinstance(results, dict) or results.get("schema_version") != SCHEMA_VERSION:
        found = results.get("schema_version") if isinstance(results, dict) else None
        raise UserError(f"{where}: schema_version is {found!r}; allowed: {SCHEMA_VERSION}. Make the run again")
    error = jsonschema.exceptions.best_match(load_validator().iter_errors(results))
    if error is not None:
        field = ".".join(map(str, error.absolute_path)) or "the top level"
        raise UserError(f"{where}: at {field}: {error.message}. Make the run again")


def write_results(folder: Path, results: dict) -> None:
    """Validate and write a run's results.json; it is written last, so its presence means the run is complete."""
    validate_results(results, f"new {FILE_NAME}")
    write_json(folder / FILE_NAME, results)


def read_results(folder: str | Path) -> dict:
    """Read and validate a run's results.json.

    Raises:
        UserError: The folder holds no finished run, or the file is damaged.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise UserError(f"{str(folder)!r} holds no {FILE_NAME}; allowed: a finished run of recipes/train.py")
    return read_results_file(path)


def read_results_file(path: Path) -> dict:
    """`read_results` for a file under any name.

    Raises:
        UserError: It is damaged.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}). The file was altered: make the run again") from error
    validate_results(results, str(path))
    return results


def get_source(results: dict, source: SourceArguments) -> SourceArguments:
    """The dataset of a run, unless `source` names one; a run on CIFAR-10 does not care where that comes from."""
    if source.dataset != "auto" or results["data"]["name"] == "cifar10":
        return source
    options, names = results["recipe"]["options"], {field.name for field in dataclasses.fields(SourceArguments)}
    return dataclasses.replace(source, **{name: value for name, value in options.items() if name in names})


def follow_run(folder: Path, source: SourceArguments) -> SourceArguments:
    """`get_source` for what may be a run folder."""
    return get_source(read_results(folder), source) if (folder / FILE_NAME).is_file() else source
