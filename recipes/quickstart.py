"""The whole path in one command.

    make quickstart            (or python recipes/quickstart.py)
    make quickstart SMOKE=1    (or python recipes/quickstart.py --smoke)

Trains a CNN from scratch and a head on a frozen pretrained backbone on CIFAR-10, evaluates both on the test set, and
writes a comparison. --smoke does the same on the bundled sample, with smaller settings and no network.
"""

import os
import subprocess
import sys
from pathlib import Path

from hf_cifar.arguments import SourceArguments
from hf_cifar.data.table import load_data
from hf_cifar.evaluation.comparison import load_runs
from hf_cifar.files import check_output_folder, get_cache_dir
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.reporting.report import REPORT_FILES, format_table, report_runs

RECIPES = Path(os.path.relpath(Path(__file__).parent))  # relative: it is recorded in results.json
# Run folder: YAML, and what --smoke changes to be done in about a minute.
RUNS = {
    "cnn": ("cnn/fast.yaml", ["--per_device_train_batch_size=100", "--num_train_epochs=4"]),
    "efficientnet-lite0": ("efficientnet/lite0-frozen.yaml", ["--per_device_train_batch_size=100", "--image_size=96"]),
}


def holds_real_run(folder: Path) -> bool:
    """Whether an earlier quickstart left results on CIFAR-10, worth minutes, in `folder`."""
    paths = [folder / name / "results.json" for name in RUNS]
    return any(path.is_file() and '"name": "cifar10",' in path.read_text() for path in paths)


@run_recipe
def main() -> None:
    """Get the data, train both, compare."""
    parser = RecipeParser(SourceArguments, description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="Use the bundled sample and small settings.")
    parser.add_argument("--output_dir", default="runs/quickstart", help="Where runs and comparison go.")
    source, options = parser.parse()
    if options.smoke:
        source.dataset = "sample"
        print(
            "SMOKE: on the bundled sample of 1,500 images, not on CIFAR-10. The numbers say nothing about the models."
        )
    folder = Path(options.output_dir)
    if options.smoke and holds_real_run(folder):
        folder = folder.with_name(f"{folder.name}-smoke")
        print(f"{options.output_dir} holds a real run, which is kept; this goes to {folder}")
    check_output_folder(folder, [*RUNS, "comparison"])
    check_output_folder(folder / "comparison", REPORT_FILES)
    os.environ["HF_CIFAR_CACHE"] = str(get_cache_dir(source.cache_dir))
    data = load_data(source)
    print(
        f"Step 1 of 4: {data.name} from {data.source}, {len(data.train):,} training and {len(data.test):,} test images"
    )
    folders = []
    for step, (name, (config, smoke_options)) in enumerate(RUNS.items(), start=2):
        folders.append(folder / name)
        print(f"Step {step} of 4: training {folders[-1]} by recipes/{config}", flush=True)
        command = [sys.executable, str(RECIPES / "train.py"), "--config", str(RECIPES / config)]
        command += [f"--output_dir={folders[-1]}", "--overwrite_run=true", f"--dataset={source.dataset}"]
        command += smoke_options if options.smoke else []
        # A process of its own: the same seed then gives the same weights as train.py by hand.
        if code := subprocess.run(command).returncode:
            sys.exit(code)  # train.py has said why
    print("Step 4 of 4: comparing", flush=True)
    runs = load_runs([str(folder) for folder in folders])
    comparison, paths = report_runs(runs, data, folder / "comparison")
    print(f"\n{format_table(comparison)}\n\nReport: {paths['html']}; slides: {paths['slides']}")


if __name__ == "__main__":
    main()
