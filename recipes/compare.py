"""Compare finished runs on the same test set.

    python recipes/compare.py RUN RUN [RUN ...] [--output_dir DIR]

Writes report.md, report.html and figures: metrics with intervals, paired differences, learning curves, confusion
matrices, sample predictions, cost, and a discussion built from these numbers.
"""

from pathlib import Path

from hf_cifar.arguments import SourceArguments
from hf_cifar.evaluation.comparison import load_data_of, load_runs
from hf_cifar.files import check_output_folder
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.reporting.report import REPORT_FILES, format_table, write_comparison


@run_recipe
def main() -> None:
    """Read, compare, write."""
    parser = RecipeParser(SourceArguments, description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="Folder of a finished run.")
    parser.add_argument("--output_dir", default="runs/comparison", help="Where the report goes.")
    source, options = parser.parse()
    folder = Path(options.output_dir)
    check_output_folder(folder, REPORT_FILES)
    runs = load_runs(options.runs)
    paths = write_comparison(runs, load_data_of(runs, source), folder)
    print(format_table(runs))
    print(f"Report: {paths['html']} (and {paths['markdown'].name})")


if __name__ == "__main__":
    main()
