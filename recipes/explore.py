"""Look at the data.

    python recipes/explore.py [--dataset auto] [--flip random] [--translate 4] [--output_dir DIR]

Writes figures: a labelled grid per class, the same images under augmentation epoch by epoch, and the class balance
of each split.
"""

from pathlib import Path

from hf_cifar.arguments import DataArguments
from hf_cifar.data.split import split_table
from hf_cifar.data.table import load_cifar10
from hf_cifar.data.transforms import ImageTransform, Preprocessing
from hf_cifar.files import check_output_folder
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.reporting.explore import draw_augmentations, draw_balance, draw_classes
from hf_cifar.reporting.figures import save_figure

FIGURES = ("classes", "augmentations", "class_balance")


@run_recipe
def main() -> None:
    """Load, draw, save."""
    parser = RecipeParser(DataArguments, description=__doc__)
    parser.set_defaults(flip="random", translate=4)
    parser.add_argument("--output_dir", default="runs/explore", help="Where the figures go.")
    parser.add_argument("--seed", type=int, default=0, help="Of the augmentation.")
    args, options = parser.parse()
    folder = Path(options.output_dir)
    check_output_folder(folder, [f"{name}.png" for name in FIGURES])
    data = load_cifar10(args.dataset, args.cache_dir)
    train, validation = split_table(data.train, args.validation_size, args.split_seed)
    transform = ImageTransform(Preprocessing(), args.flip, args.translate, options.seed)
    tables = {"train": train, "validation": validation, "test": data.test}
    drawings = (draw_classes(train), draw_augmentations(train, transform), draw_balance(tables))
    for name, figure in zip(FIGURES, drawings, strict=True):
        save_figure(figure, folder / f"{name}.png")
    sizes = f"{len(train):,} train, {len(validation or ()):,} validation, {len(data.test):,} test"
    print(f"{data.name} from {data.source}: {sizes}")
    print(f"Figures: {', '.join(str(folder / f'{name}.png') for name in FIGURES)}")


if __name__ == "__main__":
    main()
