"""Look at the data.

    python recipes/explore.py [--dataset auto] [--augmentation standard] [--output_dir DIR]
    python recipes/explore.py --check [--dataset auto]

Writes one page, index.html, its figures, and a dataset card: the classes, their balance and colours, every
augmentation epoch by epoch, near-duplicates between test and training images, and a map of a frozen backbone's
features. With --reference_data also the test images whose label people dispute. --check only says whether the data
is intact.
"""

from pathlib import Path

from hf_cifar.arguments import DataArguments
from hf_cifar.data.duplicates import count_exact_duplicates, find_near_duplicates
from hf_cifar.data.reference import ReferenceData, read_reference_data
from hf_cifar.data.split import prepare_tables
from hf_cifar.data.statistics import choose_preprocessing
from hf_cifar.data.table import load_data
from hf_cifar.data.transforms import check_augmentation
from hf_cifar.data.verdict import format_verdict
from hf_cifar.errors import UserError
from hf_cifar.files import check_output_folder
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.publishing.dataset_cards import write_dataset_card
from hf_cifar.reporting.explore_page import EXPLORE_FILES, Exploration, draw_figures, write_explore_page
from hf_cifar.reporting.feature_map import check_map, compute_map


def build_parser() -> RecipeParser:
    """Every option."""
    parser = RecipeParser(DataArguments, description=__doc__)
    parser.set_defaults(augmentation="standard")
    parser.add_argument("--output_dir", default="runs/explore", help="Where the page goes.")
    parser.add_argument("--seed", type=int, default=0, help="Of the augmentation.")
    parser.add_argument("--reference_data", help="Folder with CIFAR-10H, disputed labels or ciFAIR's duplicates.")
    parser.add_argument(
        "--backbone", default="offline:efficientnet-lite0", help="Model whose features are mapped; none for no map."
    )
    parser.add_argument("--check", action="store_true", help="Print a verdict on the data and write nothing.")
    parser.add_argument("--map_images", type=int, default=2000, help="Training images on the map.")
    return parser


@run_recipe
def main() -> None:
    """Load, search, draw, write."""
    args, options = build_parser().parse()
    folder = Path(options.output_dir)
    check_map(options.backbone, options.map_images)
    if not options.check:
        check_output_folder(folder, EXPLORE_FILES)
    reference = read_reference_data(options.reference_data) if options.reference_data else ReferenceData()
    data = load_data(args)
    exact_duplicates = count_exact_duplicates(data.test, data.train)
    if options.check:
        print(format_verdict(data, exact_duplicates))
        return
    check_augmentation(args, data.image_size)
    if options.reference_data and data.name not in ("cifar10", "cifar10-sample"):
        raise UserError(f"reference_data is about CIFAR-10's test images, and dataset is {data.name!r}; leave it out")
    train, validation = prepare_tables(data.train, args)
    features, labels = compute_map(train, options.backbone, options.map_images, args.cache_dir)
    exploration = Exploration(
        data, {"train": train, "validation": validation, "test": data.test},
        find_near_duplicates(data.test, data.train), exact_duplicates,
        reference, options.backbone, features, labels,
    )  # fmt: skip
    preprocessing = choose_preprocessing(data.name, train, data.image_size)
    figures = draw_figures(exploration, preprocessing, args, options.seed)
    page = write_explore_page(folder, exploration, figures, args)
    card = write_dataset_card(folder, exploration, args)
    sizes = f"{len(train):,} train, {len(validation or ()):,} validation, {len(data.test):,} test"
    print(f"{data.name} from {data.source}: {sizes}\nPage: {page}\nDataset card: {card}")


if __name__ == "__main__":
    main()
