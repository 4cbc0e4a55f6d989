"""Write again what is generated: model cards, the README's table, the docs' benchmarks, the list of recipes.

    make cards            (or python recipes/cards.py)
    python recipes/cards.py RUN RUN ...

With run folders, their cards and nothing else, each compared with the other runs.
model_cards/NAME/results.json is a published run, model_cards/NAME/seeds/seed<N>.json its recipe's other seeds;
docs/benchmarks/{train,transfer}.json are written by `benchmark.py train --json` and `transfer --json`,
image_size.json has the figures of `choose_backbone.py` at several input sizes, data_efficiency.json those of
`compare.py --curve`.
"""

import json
from pathlib import Path

from hf_cifar.benchmarks.summaries import (
    format_label_curve,
    format_label_sentence,
    format_size_trade,
    format_transfer_benchmark,
)
from hf_cifar.errors import UserError
from hf_cifar.evaluation.comparison import load_runs
from hf_cifar.evaluation.results import read_results
from hf_cifar.evaluation.seeds import read_seeds
from hf_cifar.files import write_text
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.publishing.cards import put_between_marks, render_table, write_card
from hf_cifar.publishing.siblings import compare_by_images, compare_by_intervals
from hf_cifar.reporting.formatting import format_training_benchmark
from hf_cifar.reporting.recipe_list import format_recipes, format_scripts

ROOT = Path(__file__).parents[1]


@run_recipe
def main() -> None:
    """Read, render, write."""
    parser = RecipeParser(description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="Folders of finished runs.")
    (options,) = parser.parse()
    if options.runs:
        runs = load_runs(options.runs)
        for place, run in enumerate(runs):
            write_card(run.folder, run.results, comparison=compare_by_images(runs, place))
        print(f"Wrote {len(runs)} cards")
        return
    folders = [path.parent for path in sorted((ROOT / "model_cards").glob("*/results.json"))]
    runs = {folder.name: read_seeds(folder, read_results(folder)) for folder in folders}
    for folder in folders:
        results = runs[folder.name][0]
        comparison = compare_by_intervals(results, [seeds[0] for seeds in runs.values()])
        write_card(folder, results, runs[folder.name], comparison)
    parts = (
        ("README.md", "results", render_table(runs)),
        ("README.md", "labels", format_label_sentence(read_benchmark("data_efficiency"))),
        ("docs/comparing.md", "labels", format_label_curve(read_benchmark("data_efficiency"))),
        ("docs/speed.md", "benchmark", format_training_benchmark(read_benchmark("train"))),
        ("docs/transfer.md", "benchmark", format_transfer_benchmark(read_benchmark("transfer"))),
        ("docs/transfer.md", "sizes", format_size_trade(read_benchmark("image_size"))),
        ("recipes/README.md", "scripts", format_scripts(ROOT / "recipes")),
        ("recipes/README.md", "yamls", format_recipes(ROOT / "recipes")),
    )
    for name, mark, content in parts:
        text = (ROOT / name).read_text(encoding="utf-8")
        write_text(ROOT / name, put_between_marks(text, mark, content))
    print(f"Wrote {len(folders)} cards, {', '.join(dict.fromkeys(name for name, _, _ in parts))}")


def read_benchmark(subject: str) -> dict:
    """The committed figures of `benchmark.py SUBJECT`.

    Raises:
        UserError: There are none.
    """
    path = ROOT / f"docs/benchmarks/{subject}.json"
    if not path.is_file():
        raise UserError(f"{path} is missing; make it by recipes/benchmark.py {subject} --json {path}")
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
