"""Measure the project's own speed.

    python recipes/benchmark.py data  [--config recipes/cnn/fast.yaml] [--json FILE]
    python recipes/benchmark.py train [--config recipes/cnn/fast.yaml] [--json FILE] [--profile]

data: the input pipeline against the usual one (PNG column, a transform per image, default collator) at 32 and 224
pixels; its share of a training step of the recipe in --config; the memory that a training set adds.
train: the recipe through the Trainer, against bare loops of the same network, and against the usual Trainer way
(a transform per image, fp32, batches of 8); TFLOP/s, and their share of what a matrix product reaches here.

All ways of one subject are measured in alternation. Absolute rates are this machine's at this moment: compare ratios.
"""

import os
import sys
from pathlib import Path

from transformers import TrainingArguments, set_seed

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
from hf_cifar.benchmarks.data import measure_data
from hf_cifar.benchmarks.summaries import describe_data, describe_training
from hf_cifar.benchmarks.training import Setting, check_setting, compare_training, profile_step
from hf_cifar.data.split import prepare_tables
from hf_cifar.data.statistics import choose_preprocessing
from hf_cifar.data.table import load_data
from hf_cifar.errors import UserError
from hf_cifar.evaluation.cost import describe_environment
from hf_cifar.files import check_output_folder, write_json
from hf_cifar.hardware import keep_freed_memory
from hf_cifar.models.loading import build_cifar_cnn
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.training.fit import get_precision, init_whitening
from hf_cifar.training.trainer import check_model, check_options, get_training_defaults

FAST = Path(os.path.relpath(Path(__file__).parent)) / "cnn/fast.yaml"


@run_recipe
def main() -> None:
    """Parse, measure, print."""
    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrainingArguments, description=__doc__)
    parser.set_defaults(**get_training_defaults())
    parser.add_argument("subject", choices=("data", "train"), help="What to measure.")
    parser.add_argument("--json", metavar="FILE", help="Also write the figures there.")
    parser.add_argument("--rounds", type=int, default=7, help="How often each way is measured.")
    parser.add_argument(
        "--steps", type=int, default=4, help="train: steps per round, of which the first is not counted."
    )
    parser.add_argument("--scale", type=float, default=1.0, help="data: of the images per round; less is quicker.")
    parser.add_argument("--profile", action="store_true", help="train: a table of a step's operators, and no more.")
    data_args, model_args, recipe, args, options = parser.parse([f"--config={FAST}", *sys.argv[1:]])
    if options.rounds < 1 or options.steps < 2 or not 0.01 <= options.scale <= 100:
        raise UserError(
            f"rounds={options.rounds}, steps={options.steps}, scale={options.scale:g}: allowed are 1 or more, 2 or "
            "more, and 0.01 to 100"
        )
    if model_args.model_name_or_path is not None:
        raise UserError("model_name_or_path: the benchmark measures a CifarCnn; leave it out")
    check_options(args, recipe, has_validation=False)
    if options.json:
        check_output_folder(Path(options.json).parent, [path.name for path in Path(options.json).parent.glob("*")])
    environment = describe_environment(get_precision(args))
    if options.subject == "data":
        results = measure_data(data_args, model_args, recipe, args, options.rounds, options.scale)
    else:
        data = load_data(data_args)
        keep_freed_memory()
        train, _ = prepare_tables(data.train, data_args)
        set_seed(args.seed)
        model = build_cifar_cnn(model_args.model_config, data.class_names, data.image_size)
        preprocessing = choose_preprocessing(data.name, train, model.config.image_size)
        check_model(model, preprocessing, args, data_args, recipe, data.image_size, head_only=False)
        if model.config.stem == "whitening":
            init_whitening(model, preprocessing, train)
        setting = Setting(model, train, preprocessing, args, data_args, recipe)
        check_setting(setting)
        if options.profile:
            print(profile_step(setting))
            return
        results = {"dataset": data.name, "config": options.config} | compare_training(
            setting, options.rounds, options.steps
        )
    print((describe_data if options.subject == "data" else describe_training)(environment, results))
    if options.json:
        write_json(options.json, {"environment": environment} | results)


if __name__ == "__main__":
    main()
