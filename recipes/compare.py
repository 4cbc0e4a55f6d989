"""Compare finished runs on the same test set.

    python recipes/compare.py RUN [RUN ...] [--curve RUN RUN ...] [--reference_data DIR] [--output_dir DIR]

Writes comparison.json, report.md, report.html, slides.pptx and figures: metrics with intervals, a verdict on each
pair, cost, mistakes, and a discussion built from these numbers. Seeds of one recipe are put together. --curve adds
accuracy against the number of labels, from runs with other --train_fraction or --images_per_class.
docs/comparing.md says how a verdict is made.
"""

from pathlib import Path

from hf_cifar.arguments import SourceArguments
from hf_cifar.evaluation.comparison import load_data_of, load_runs
from hf_cifar.files import check_output_folder
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.reporting.report import REPORT_FILES, format_table, report_runs


@run_recipe
def main() -> None:
    """Read, compare, write."""
    parser = RecipeParser(SourceArguments, description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="Folder of a finished run.")
    parser.add_argument("--curve", nargs="+", metavar="RUN", default=[], help="Runs with fewer labels, and with all.")
    parser.add_argument("--reference_data", help="Folder with CIFAR-10H, disputed labels or ciFAIR's duplicates.")
    parser.add_argument(
        "--no_models", action="store_true",
        help="Do not load the models: no latency, throughput and memory, no activation maps and filters.",
    )  # fmt: skip
    parser.add_argument("--output_dir", default="runs/comparison", help="Where the report goes.")
    source, options = parser.parse()
    folder = Path(options.output_dir)
    check_output_folder(folder, REPORT_FILES)
    runs = load_runs(options.runs)
    curve = load_runs(options.curve, like=runs[0]) if options.curve else None
    comparison, paths = report_runs(
        runs, load_data_of(runs, source), folder, curve, options.reference_data, load_models=not options.no_models
    )
    print(format_table(comparison))
    print(
        f"Report: {paths['html']} (and {', '.join(paths[key].name for key in ('markdown', 'slides', 'comparison'))})"
    )


if __name__ == "__main__":
    main()
