"""Measure the project's own speed.

    python recipes/benchmark.py data [--json FILE] [--config recipes/cnn/fast.yaml]

data: the input pipeline against the usual one (PNG column, a transform per image, default collator) at 32 and 224
pixels, in alternation in one process; its share of a training step of the recipe in --config; the memory that a
training set adds. Absolute rates are this machine's at this moment: compare the ratios.
"""

import os
import sys
from pathlib import Path

from transformers import TrainingArguments

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
from hf_cifar.benchmarks.data import compare_pipelines, measure_share, track_memory
from hf_cifar.data.batches import ImageBatches
from hf_cifar.data.statistics import choose_preprocessing
from hf_cifar.data.table import load_data
from hf_cifar.data.transforms import ImageTransform
from hf_cifar.errors import UserError
from hf_cifar.evaluation.cost import describe_environment
from hf_cifar.files import check_output_folder, write_json
from hf_cifar.models.loading import build_cifar_cnn
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.training.fit import choose_data_device, get_precision
from hf_cifar.training.hardware import keep_freed_memory
from hf_cifar.training.trainer import build_recipe_optimizer, get_training_defaults

FAST = Path(os.path.relpath(Path(__file__).parent)) / "cnn/fast.yaml"


@run_recipe
def main() -> None:
    """Parse, measure, print."""
    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrainingArguments, description=__doc__)
    parser.set_defaults(**get_training_defaults())
    parser.add_argument("subject", choices=("data",), help="What to measure.")
    parser.add_argument("--json", metavar="FILE", help="Also write the figures there.")
    parser.add_argument("--rounds", type=int, default=7, help="How often each pipeline is measured.")
    parser.add_argument("--scale", type=float, default=1.0, help="Of the images per round; less is quicker.")
    data_args, model_args, recipe, args, options = parser.parse([f"--config={FAST}", *sys.argv[1:]])
    if options.rounds < 1 or not 0.01 <= options.scale <= 100:
        raise UserError(f"rounds={options.rounds}, scale={options.scale:g}: allowed are 1 or more, and 0.01 to 100")
    if options.json:
        check_output_folder(Path(options.json).parent, [path.name for path in Path(options.json).parent.glob("*")])
    with track_memory() as get_memory:
        data = load_data(data_args)
        keep_freed_memory()
        model = build_cifar_cnn(model_args.model_config, data.class_names, data.image_size)
        preprocessing = choose_preprocessing(data.name, data.train, model.config.image_size)
        device = choose_data_device(args, [data.train])
        dataset = ImageBatches(data.train, ImageTransform(preprocessing, data_args, args.seed), device)
        size = min(args.per_device_train_batch_size, len(dataset))
        for start in range(0, len(dataset), size):
            dataset.__getitems__(list(range(start, min(start + size, len(dataset)))))
        memory = get_memory()
    results = {"environment": describe_environment(get_precision(args)), "dataset": data.name}
    results["pipelines"] = compare_pipelines(data.train, options.rounds, options.scale)
    optimizer = build_recipe_optimizer(model, model.classifier, args, recipe)
    step = measure_share(model, optimizer, dataset, size, args.device, get_precision(args))
    results |= {"training_step": {"batch_size": size, **step}, "memory": {"added_bytes": memory}}
    print("{hardware}, {date}; medians (min to max)".format(**results["environment"]))
    for name, case in results["pipelines"].items():
        usual, ours, speedup = ([each[key] for key in ("median", "min", "max")] for each in case.values())
        print(f"{name:<36} usual {usual[0]:>7,.0f}/s ({usual[1]:,.0f} to {usual[2]:,.0f})  "
              f"ours {ours[0]:>8,.0f}/s ({ours[1]:,.0f} to {ours[2]:,.0f})  "
              f"{speedup[0]:.1f} times ({speedup[1]:.1f} to {speedup[2]:.1f})")  # fmt: skip
    print(f"share of a training step ({size} images): {step['share']['median']:.1%} "
          f"({step['share']['min']:.1%} to {step['share']['max']:.1%})")  # fmt: skip
    print(f"memory added by loading {len(data.train):,} images and reading all of them: {memory / 1e6:.0f} MB")
    if options.json:
        write_json(options.json, results)


if __name__ == "__main__":
    main()
