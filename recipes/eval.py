"""Evaluate a model on a test set.

    python recipes/eval.py MODEL [--split test] [--tta mirror_translate] [--robustness quick] [--output_dir DIR]

MODEL is a run folder, or any image classifier on disk or on the Hub whose labels have the dataset's names. Its own
image processor is used, so the numbers are those that its users get. A run is evaluated on its own dataset unless
--dataset names another. docs/evaluation.md says what each number means.
"""

from pathlib import Path
from typing import get_args

from hf_cifar.arguments import SourceArguments, TestTimeAugmentation
from hf_cifar.data.table import load_data
from hf_cifar.errors import UserError
from hf_cifar.evaluation.corruptions import load_frost_photos
from hf_cifar.evaluation.measure import evaluate_split, get_validation_table, keep_section
from hf_cifar.evaluation.results import follow_run, read_results
from hf_cifar.evaluation.robustness import LEVELS, measure_robustness
from hf_cifar.files import check_output_folder, get_cache_dir, write_json
from hf_cifar.hardware import choose_device, choose_precision, keep_freed_memory
from hf_cifar.models.loading import load_model
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.publishing.cards import write_card
from hf_cifar.reporting.scores_text import format_calibration, format_metrics, format_robustness


@run_recipe
def main() -> None:
    """Load, predict, score, print."""
    parser = RecipeParser(SourceArguments, description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="Run folder, other folder, or Hub id.")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="Images to evaluate on.")
    parser.add_argument(
        "--tta", choices=get_args(TestTimeAugmentation), default="none", help="Also with test-time augmentation."
    )
    parser.add_argument(
        "--robustness", choices=tuple(LEVELS),
        help="Also on corrupted test images, quick: 1,000 images at 3 severities, full: all at 5. A run tested on its "
        "own dataset keeps the figures in its results.json.",
    )  # fmt: skip
    parser.add_argument("--frost_photos", help="Folder with photographs of frost, which one corruption needs.")
    parser.add_argument("--precision", choices=("bf16", "fp16", "fp32"), default=choose_precision(), help="Autocast.")
    parser.add_argument("--trust_remote_code", action="store_true", help="Run Python files that come with MODEL.")
    parser.add_argument("--output_dir", help="New folder for metrics*.json, robustness.json, predictions/*.parquet.")
    source, options = parser.parse()
    folder = Path(options.output_dir) if options.output_dir else None
    if folder is not None:
        check_output_folder(folder)
    if options.frost_photos and not options.robustness:
        raise UserError(
            f"frost_photos={options.frost_photos!r} is for corrupted images; add --robustness quick, or full"
        )
    photos = load_frost_photos(options.frost_photos) if options.frost_photos else ()
    model, processor = load_model(
        options.model, cache_dir=source.cache_dir, trust_remote_code=options.trust_remote_code
    )
    data = load_data(follow_run(Path(options.model), source))
    keep_freed_memory()
    table = data.test if options.split == "test" else get_validation_table(data, Path(options.model))
    place = (choose_device(), options.precision)
    ways = ["none"] if options.tta == "none" else ["none", options.tta]
    for tta in ways:
        metrics, rate, calibration = evaluate_split(
            model, processor, options.split, table, data, Path(options.model), folder, *place, tta
        )
        if tta == "none":
            print(f"{options.model} on {len(table):,} {options.split} images of {data.name}: {options.precision}, "
                  f"{rate:.0f}/s")  # fmt: skip
        print(f"\n{format_metrics(metrics, tta)}")
        if calibration is not None:
            print(format_calibration(calibration))
        if folder is not None:
            name = "metrics.json" if tta == "none" else "metrics_tta.json"
            write_json(folder / name, {options.split: metrics, "calibration": calibration})
    if options.robustness:
        cache = get_cache_dir(source.cache_dir)
        robustness = measure_robustness(model, processor, data, options.robustness, cache, *place, photos)
        print(f"\n{format_robustness(robustness)}")
        if folder is not None:
            write_json(folder / "robustness.json", robustness)
        if keep_section(Path(options.model), data, model, "robustness", robustness):
            write_card(Path(options.model), read_results(Path(options.model)))
            print(f"kept in {options.model}: results.json, README.md")


if __name__ == "__main__":
    main()
