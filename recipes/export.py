"""Export a model to ONNX and torch.export, check each against PyTorch, time them.

    python recipes/export.py MODEL [--formats onnx torch_export] [--output_dir DIR]

MODEL is a run folder, or any image classifier on disk or on the Hub. A run gets onnx/model.onnx, which push.py
publishes, and torch_export/model.pt2, which stays here; sizes and times are kept in its results.json and card.
For any other model give --output_dir. What is written takes preprocessed images, (any number, 3, H, W), fp32.
"""

from pathlib import Path

from hf_cifar.arguments import SourceArguments
from hf_cifar.data.store import read_images
from hf_cifar.data.table import load_data
from hf_cifar.errors import UserError
from hf_cifar.evaluation.measure import keep_section
from hf_cifar.evaluation.results import FILE_NAME, follow_run, read_results
from hf_cifar.files import check_output_folder
from hf_cifar.models.loading import load_model
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.publishing.cards import write_card
from hf_cifar.publishing.export import FILES, check_formats, export_model
from hf_cifar.reporting.formatting import format_exports


@run_recipe
def main() -> None:
    """Load, export, compare, time, keep."""
    parser = RecipeParser(SourceArguments, description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="Run folder, other folder, or Hub id.")
    parser.add_argument("--formats", nargs="+", choices=tuple(FILES), default=list(FILES), help="Which; default: all.")
    parser.add_argument("--num_images", type=int, default=1000, help="Test images to compare with PyTorch on.")
    parser.add_argument("--output_dir", help="New folder; default: the run's own.")
    parser.add_argument("--trust_remote_code", action="store_true", help="Run Python files that come with MODEL.")
    source, options = parser.parse()
    if options.num_images < 1:
        raise UserError(f"num_images={options.num_images} is out of range; allowed: 1 or more")
    model_folder = Path(options.model)
    is_run = options.output_dir is None
    if is_run and not (model_folder / FILE_NAME).is_file():
        raise UserError(f"{options.model!r} is no run folder; give --output_dir")
    if not is_run:
        check_output_folder(Path(options.output_dir))
    check_formats(options.formats)
    model, processor = load_model(
        options.model, cache_dir=source.cache_dir, trust_remote_code=options.trust_remote_code
    )
    data = load_data(follow_run(model_folder, source))
    images = read_images(data.test.select(range(min(options.num_images, len(data.test)))))
    folder = model_folder if is_run else Path(options.output_dir)
    exports = export_model(model, processor, images, folder, options.formats)
    print(format_exports(exports))
    if is_run and keep_section(model_folder, data, model, "exports", exports):
        write_card(model_folder, read_results(model_folder))
        print(f"kept in {options.model}/{FILE_NAME}")


if __name__ == "__main__":
    main()
