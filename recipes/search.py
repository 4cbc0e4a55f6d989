"""Search for hyper-parameters on validation images, or sweep over a grid of recipes.

    python recipes/search.py --config recipes/cnn/fast.yaml --space SPACE.yaml --n_trials 20 [--storage journal:FILE]
    python recipes/search.py --grid GRID.yaml [--output_dir runs/sweep]

Any option of train.py may follow. The same command goes on after an interruption; started several times, on one
machine or on many that share the storage (for a grid: output_dir), the processes share the work. A search writes
best.yaml, a recipe with the best values, study.json and figures. A sweep makes a run folder for each combination and
compares them. docs/searching.md has examples.
"""

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from hf_cifar.data.table import load_data
from hf_cifar.errors import UserError
from hf_cifar.evaluation.cost import describe_environment
from hf_cifar.files import check_output_folder
from hf_cifar.hardware import keep_freed_memory
from hf_cifar.parser import complain, run_recipe
from hf_cifar.search.grid import FINISHED, compare_cells, open_grid, read_grid, run_grid
from hf_cifar.search.options import SearchArguments, split_command
from hf_cifar.training.fit import get_precision


@run_recipe
def main() -> None:
    """Parse, then search or sweep."""
    options, words = split_command(sys.argv[1:], __doc__)
    try:
        (sweep if options.grid else search)(options, words)
    except KeyboardInterrupt:
        sys.exit(complain("interrupted; the same command goes on", 130))


def search(options: SearchArguments, words: list[str]) -> None:
    """Take trials until the study is complete, and write its result."""
    if find_spec("optuna") is None:
        raise UserError("a search needs optuna, which is not installed; pip install 'optuna>=5'")
    from hf_cifar.search.result import JOURNAL, RECIPE, SEARCH_FILES, write_result
    from hf_cifar.search.storage import mask_password, open_storage
    from hf_cifar.search.trials import prepare_search
    from hf_cifar.search.worker import open_study, run_search

    folder = Path(options.output_dir)
    found = [path.name for path in folder.glob(f"{JOURNAL}*")]  # and its lock
    check_output_folder(folder, [*SEARCH_FILES, *found])
    prepared = prepare_search(words, options, load_data)
    keep_freed_memory()
    environment = describe_environment(get_precision(prepared.base.args))
    storage = open_storage(options.storage or f"journal:{folder / JOURNAL}", options.grace_seconds)
    study = open_study(prepared, storage, options.study or Path(prepared.config or "search").stem)
    print(f"Data: {prepared.data.name} from {prepared.data.source}; {environment['hardware']}, "
          f"{environment['precision']}; study {study.study_name}: {len(study.trials)} trials so far")  # fmt: skip
    run_search(prepared, study, storage)
    command = mask_password(shlex.join(["python", "recipes/search.py", *sys.argv[1:]]))
    result = write_result(folder, prepared, study, command, environment)
    best, states = result["best"], ", ".join(f"{count} {state}" for state, count in result["states"].items())
    print(f"Best: trial {best['number']} of {result['n_trials']} ({states}), {result['metric']} {best['value']:.4f}")
    print(f"Next: python recipes/train.py --config {folder / RECIPE} --output_dir runs/best")


def sweep(options: SearchArguments, words: list[str]) -> None:
    """Run what is left of a grid, then compare all of it."""
    folder = Path(options.output_dir)
    cells = read_grid(Path(options.grid), words)
    open_grid(folder, cells)
    outcomes = run_grid(cells, folder, Path(__file__).with_name("train.py"), options.grace_seconds)
    print(compare_cells(outcomes, folder, options.grace_seconds))
    failed = {name: outcome for name, outcome in outcomes.items() if outcome != FINISHED}
    for name, outcome in failed.items():
        print(f"{name} {outcome}")
    if failed:
        sys.exit(complain(f"{len(failed)} of {len(cells)} runs failed; the same command tries them again", 1))


if __name__ == "__main__":
    main()
