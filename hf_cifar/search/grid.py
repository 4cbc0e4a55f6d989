"""Owns a sweep: all combinations of a grid's options, each an ordinary run of train.py in a folder of its own."""

import ctypes
import itertools
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..arguments import SourceArguments
from ..errors import UserError
from ..evaluation.comparison import load_data_of, load_runs
from ..evaluation.results import FILE_NAME
from ..files import check_output_folder, write_json
from ..parser import RecipeParser, read_yaml
from ..reporting.report import format_table, report_runs
from ..training.run_folder import find_checkpoint
from .claims import Claim, claim_work, list_claims, read_claim
from .options import build_train_parser, parse_options

GRID = "grid.json"
GRID_FILES = (GRID, "runs", "logs", "claims", "comparison")
COMPARISON = "comparison"
FINISHED, INTERRUPTED = "finished", "interrupted"
NOT_SWEPT = {"output_dir", "overwrite_run", "resume_from_checkpoint", "run_name"}
MOST = 10_000
PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


@dataclass(frozen=True)
class Cell:
    """One combination: its name, and train.py's command line without the folder."""

    name: str
    words: tuple[str, ...]


def read_grid(path: Path, words: list[str]) -> list[Cell]:
    """All combinations of a grid, each of which train.py would take.

    Args:
        path: a YAML file; a list is swept over, anything else is the same for all. `config` names recipes.
        words: of the command line; the same for all.

    Raises:
        UserError: An option does not exist, or a combination is refused.
    """
    entries, parser = read_yaml(path), build_train_parser()
    for key in entries:
        if key in NOT_SWEPT:
            raise UserError(f"{path}: {key} is set for each run of a sweep; leave it out")
        if key != "config" and key not in parser.option_names:
            parser.refuse_option(str(key), str(path))
    swept = {key: value for key, value in entries.items() if isinstance(value, list)}
    if not swept or any(not value for value in swept.values()):
        raise UserError(f"{path}: there is nothing to sweep over; give lists, as in seed: [0, 1, 2]")
    for key, values in swept.items():
        if len({json.dumps(value) for value in values}) < len(values):
            raise UserError(f"{path}: {key}: {values} has a value twice; give each once")
    fixed = {key: value for key, value in entries.items() if key not in swept}
    combinations = [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]
    if len(combinations) > MOST:
        raise UserError(f"{path}: {len(combinations):,} combinations; allowed: {MOST:,}")
    cells = [make_cell(parser, fixed, varied, words) for varied in combinations]
    names = [cell.name for cell in cells]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{path}: two combinations would be called {min(twice)!r}; give configs other names")
    return cells


def make_cell(parser: RecipeParser, fixed: dict[str, Any], varied: dict[str, Any], words: list[str]) -> Cell:
    """One combination, tried on train.py's parser."""
    options = fixed | varied
    config = options.pop("config", None)
    own = [f"--config={config}"] if config else []
    given = {key: value for key, value in options.items() if value is not None}  # else as the recipe has it
    own += [word for key, value in given.items() for word in RecipeParser.make_words(key, value)] + words
    name = "-".join(describe_value(key, value) for key, value in varied.items())
    try:
        parsed = parse_options(parser, [*own, f"--output_dir=runs/{name}"])
    except UserError as error:
        raise UserError(f"combination {name}: {error}") from error
    # The seed is left out: runs that differ in nothing else are seeds of one model.
    base = parsed.args.run_name or (Path(config).stem if config else "CNN")
    said = [f"{key} {value}" for key, value in varied.items() if key not in ("config", "seed")]
    return Cell(name, (*own, f"--run_name={', '.join([base, *said])}"))


def describe_value(key: str, value: Any) -> str:
    """A part of a folder's name, as in "fast", "seed0" or "muon"."""
    if key == "config":
        path = Path(str(value))
        return re.sub(r"[^\w.]+", "_", f"{path.parent.name}_{path.stem}")
    text = str(value) if isinstance(value, str) else f"{key}{json.dumps(value)}"
    return re.sub(r"[^\w.]+", "_", text).strip("_")[:60]


def open_grid(folder: Path, cells: list[Cell]) -> None:
    """Record what each cell is, so that a folder's runs are not taken for those of another grid.

    Raises:
        UserError: The folder holds other files, or a cell of the same name with other options.
    """
    check_output_folder(folder, GRID_FILES)
    path = folder / GRID
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for cell in cells:
        if known.get(cell.name, list(cell.words)) != list(cell.words):
            raise UserError(
                f"output_dir={str(folder)!r} holds {cell.name} of another grid ({shlex.join(known[cell.name])}); give "
                "another --output_dir"
            )
    write_json(path, known | {cell.name: list(cell.words) for cell in cells})


def run_grid(cells: list[Cell], folder: Path, script: Path, grace: float) -> dict[str, str]:
    """Run the cells that no other process runs or has run, until all are done.

    Args:
        cells: from `read_grid`.
        folder: from `open_grid`; processes that share it share the work.
        script: train.py.
        grace: seconds of silence after which a process counts as dead.

    Returns:
        By cell, "finished" or why it failed.
    """
    claims, outcomes, is_waiting = folder / "claims", {}, False
    # What failed before is tried again, what fails from now on is not.
    old = {path for cell in cells for path in list_claims(claims, cell.name) if "outcome" in read_claim(path)}
    while len(outcomes) < len(cells):
        is_idle = True
        for cell in cells:
            if cell.name in outcomes:
                continue
            if (folder / "runs" / cell.name / FILE_NAME).is_file():
                outcomes[cell.name] = FINISHED
            elif failure := find_failure(claims, cell.name, old):
                outcomes[cell.name] = failure
            elif claim := claim_work(claims, cell.name, grace):
                outcomes[cell.name] = run_cell(cell, folder, script, claim, grace)
                print(f"{len(outcomes)} of {len(cells)}: {cell.name}: {outcomes[cell.name]}", flush=True)
                is_idle = is_waiting = False
        if is_idle and len(outcomes) < len(cells):
            if not is_waiting:
                print(f"Waiting for {len(cells) - len(outcomes)} run(s) of other processes", flush=True)
            is_waiting = True
            time.sleep(min(5, grace / 4))
    return {cell.name: outcomes[cell.name] for cell in cells}


def find_failure(claims: Path, name: str, old: set[Path]) -> str | None:
    """Why the last try of a cell failed, if it is none of the `old` ones."""
    tries = [path for path in list_claims(claims, name) if path not in old]
    outcome = read_claim(tries[-1]).get("outcome") if tries else None
    return None if outcome in (FINISHED, INTERRUPTED) else outcome


def run_cell(cell: Cell, folder: Path, script: Path, claim: Claim, grace: float) -> str:
    """Run train.py for one cell, going on from its last checkpoint if there is one; its output goes to a log."""
    run, log = folder / "runs" / cell.name, folder / "logs" / f"{cell.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [*cell.words, f"--output_dir={run}"]
    try:
        find_checkpoint(run, "true")
        words.append("--resume_from_checkpoint=true")
    except UserError:
        words.append("--overwrite_run=true")
    print(f"{cell.name}: python recipes/train.py {shlex.join(words)}", flush=True)
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, str(script), *words], stdout=file, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
        )
        try:
            while (code := wait(process, grace / 4)) is None:
                claim.beat(grace / 4)
        except BaseException:  # an interrupt too: what is claimed shall not go on unwatched
            process.terminate()
            process.wait()
            claim.close(INTERRUPTED)
            raise
    outcome = FINISHED if code == 0 else f"failed with {code}: {read_last_line(log)} ({log})"
    claim.close(outcome)
    return outcome


def die_with_parent() -> None:
    """Let this process be killed when its parent is, on Linux: another will take over its folder."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait(process: subprocess.Popen, seconds: float) -> int | None:
    """A process's exit code, or None if it goes on for longer."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def read_last_line(path: Path) -> str:
    """The last line of a log that says something."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def compare_cells(outcomes: dict[str, str], folder: Path, grace: float, load_models: bool = True) -> str:
    """Compare the finished runs into `comparison/`, unless another process does; what to print of it."""
    folders = [str(folder / "runs" / name) for name, outcome in outcomes.items() if outcome == FINISHED]
    if not folders:
        return "There is no finished run to compare"
    claim = claim_work(folder / "claims", COMPARISON, grace)
    if claim is None:
        return f"Another process compares the runs: {folder / COMPARISON}"
    runs = load_runs(folders)
    data = load_data_of(runs, SourceArguments())
    comparison, paths = report_runs(runs, data, folder / COMPARISON, load_models=load_models)
    claim.close(FINISHED)
    return f"{format_table(comparison)}\nReport: {paths['html']}"
