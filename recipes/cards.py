"""Write the model cards under model_cards/ and the README's table again from their results.json.

    make cards            (or python recipes/cards.py)

model_cards/NAME/results.json is a published run, model_cards/NAME/seeds/seed<N>.json its recipe's other seeds.
"""

from pathlib import Path

from hf_cifar.evaluation.results import read_results
from hf_cifar.evaluation.seeds import read_seeds
from hf_cifar.files import write_text
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.publishing.cards import put_between_marks, render_card, render_table

ROOT = Path(__file__).parents[1]


@run_recipe
def main() -> None:
    """Read, render, write."""
    RecipeParser(description=__doc__).parse()
    folders = [path.parent for path in sorted((ROOT / "model_cards").glob("*/results.json"))]
    runs = {folder.name: read_seeds(folder, read_results(folder)) for folder in folders}
    for folder in folders:
        write_text(folder / "README.md", render_card(runs[folder.name][0], runs[folder.name]))
    readme = ROOT / "README.md"
    write_text(readme, put_between_marks(readme.read_text(encoding="utf-8"), "results", render_table(runs)))
    print(f"Wrote {len(folders)} cards and the README's table")


if __name__ == "__main__":
    main()
