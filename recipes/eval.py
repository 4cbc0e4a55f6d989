"""Evaluate a model on a test set.

    python recipes/eval.py MODEL [--split test] [--tta mirror_translate] [--output_dir DIR]

MODEL is a run folder, or any image classifier on disk or on the Hub whose labels have the dataset's names. Its own
image processor is used, so the numbers are those that its users get. A run is evaluated on its own dataset unless
--dataset names another.
"""

from pathlib import Path
from typing import get_args

from hf_cifar.arguments import SourceArguments, TestTimeAugmentation
from hf_cifar.data.table import load_data
from hf_cifar.evaluation.measure import get_validation_table, measure_tables
from hf_cifar.evaluation.results import follow_run
from hf_cifar.files import check_output_folder, write_json
from hf_cifar.hardware import choose_device, choose_precision, keep_freed_memory
from hf_cifar.models.loading import load_model
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.reporting.formatting import format_estimate


@run_recipe
def main() -> None:
    """Load, predict, score, print."""
    parser = RecipeParser(SourceArguments, description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="Run folder, other folder, or Hub id.")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="Images to evaluate on.")
    parser.add_argument(
        "--tta", choices=get_args(TestTimeAugmentation), default="none", help="Also with test-time augmentation."
    )
    parser.add_argument("--precision", choices=("bf16", "fp16", "fp32"), default=choose_precision(), help="Autocast.")
    parser.add_argument("--trust_remote_code", action="store_true", help="Run Python files that come with MODEL.")
    parser.add_argument("--output_dir", help="New folder for metrics*.json and predictions/*.parquet.")
    source, options = parser.parse()
    folder = Path(options.output_dir) if options.output_dir else None
    if folder is not None:
        check_output_folder(folder)
    model, processor = load_model(
        options.model, cache_dir=source.cache_dir, trust_remote_code=options.trust_remote_code
    )
    data = load_data(follow_run(Path(options.model), source))
    keep_freed_memory()
    table = data.test if options.split == "test" else get_validation_table(data, Path(options.model))
    place = (folder, choose_device(), options.precision)
    metrics, rate = measure_tables(model, processor, {options.split: table}, *place)
    ways = {"none": metrics}
    if options.tta != "none":
        ways[options.tta] = measure_tables(model, processor, {options.split: table}, *place, options.tta)[0]
    if folder is not None:
        for tta, metrics in ways.items():
            write_json(folder / ("metrics.json" if tta == "none" else "metrics_tta.json"), metrics)
    print(
        f"{options.model} on {len(table):,} {options.split} images of {data.name}: {options.precision}, {rate:.0f}/s"
    )
    for tta, metrics in ways.items():
        print_scores(tta, metrics[options.split])


def print_scores(tta: str, scores: dict) -> None:
    """Accuracy, then precision, recall and F1 on average and per class, then the confusion matrix."""
    print(f"\naccuracy {format_estimate(scores['accuracy'])}; test-time augmentation: {tta}")
    for name, row in {"macro": scores["macro"], "weighted": scores["weighted"], **scores["per_class"]}.items():
        cells = (f"{score} {format_estimate(row[score])}" for score in ("precision", "recall", "f1"))
        print(f"{name:<12}{'  '.join(cells)}")
    print("confusion matrix (rows: true)")
    for name, row in zip(scores["per_class"], scores["confusion_matrix"], strict=True):
        print(f"{name:<12}" + "".join(f"{count:6d}" for count in row))


if __name__ == "__main__":
    main()
