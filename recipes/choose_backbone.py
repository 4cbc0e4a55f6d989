"""Choose a backbone for a dataset, within a time budget.

    python recipes/choose_backbone.py [--candidates A B C] [--budget_minutes 20] [--dataset auto] [--image_size 128]

Each candidate (Hub id, folder, or offline: name) is timed and probed: a linear classifier on its frozen features,
cross-validated on training images. The best are fine-tuned briefly and scored on validation images; the test set is
not touched. Writes selection.json, selection.md and figures/selection.png. Interrupted, the same command goes on.
"""

import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path

from hf_cifar.arguments import DataArguments
from hf_cifar.data.split import prepare_tables
from hf_cifar.data.table import load_data
from hf_cifar.data.transforms import check_augmentation
from hf_cifar.errors import UserError
from hf_cifar.evaluation.cost import describe_environment
from hf_cifar.evaluation.selection import SelectionArguments
from hf_cifar.evaluation.trial import Setting, open_record, summarize
from hf_cifar.evaluation.trials import try_candidates
from hf_cifar.files import check_output_folder, get_cache_dir
from hf_cifar.hardware import choose_device, choose_precision, keep_freed_memory
from hf_cifar.parser import RecipeParser, complain, run_recipe
from hf_cifar.reporting.selection import RECORD, SELECTION_FILES, format_selection, write_selection


@run_recipe
def main() -> None:
    """Parse, try, choose, write."""
    started = time.monotonic()
    parser = RecipeParser(DataArguments, SelectionArguments, description=__doc__)
    parser.set_defaults(augmentation="light")
    data_args, options, _ = parser.parse()
    folder = Path(options.output_dir)
    check_output_folder(folder, SELECTION_FILES)
    if (folder / "selection.json").is_file() and not options.overwrite:
        raise UserError(
            f"output_dir={str(folder)!r} holds a finished selection; give another --output_dir, or --overwrite true"
        )
    if data_args.validation_size == 0:
        raise UserError("validation_size=0: finalists are scored on validation images; allowed: above 0, as 0.1")
    data = load_data(data_args)
    keep_freed_memory()
    check_augmentation(data_args, data.image_size)
    train, validation = prepare_tables(data.train, data_args)
    identity = {"options": asdict(options), "data_options": asdict(data_args), "hashes": data.hashes}
    record = open_record(folder / RECORD, identity, options.overwrite)
    environment = describe_environment(choose_precision())
    tables, place = (train, validation), (choose_device(), environment["precision"])
    setting = Setting(
        options, data_args, *tables, get_cache_dir(data_args.cache_dir), *place, folder / RECORD, record, started
    )
    print(f"Data: {data.name} from {data.source}; budget: {options.budget_minutes:g} min, of which "
          f"{setting.spent / 60:.1f} are spent; {environment['hardware']}, {environment['precision']}")  # fmt: skip
    try:
        try_candidates(setting)
    except KeyboardInterrupt:
        sys.exit(complain("interrupted; the same command goes on", 130))
    facts = {"name": data.name, "source": data.source, "hashes": data.hashes, "is_sample": data.is_sample}
    command = shlex.join(["python", "recipes/choose_backbone.py", *sys.argv[1:]])
    result = summarize(setting) | {"data": facts, "environment": environment, "command": command}
    write_selection(folder, result)
    (folder / RECORD).unlink()
    print(format_selection(result))
    for name, reason in result["left_out"].items():
        print(f"{name} went no further: {reason}")
    size = ["--image_size", str(options.image_size)] if options.image_size else []
    following = ["--model_name_or_path", result["choice"], "--dataset", data_args.dataset, *size]
    print(f"Chosen: {result['choice']}. Why, and what was measured: {folder / 'selection.md'}\nNext: python "
          f"recipes/train.py {shlex.join(following)} --finetune full --output_dir runs/fine-tuned")  # fmt: skip


if __name__ == "__main__":
    main()
