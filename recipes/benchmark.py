"""Measure the project's own speed.

    python recipes/benchmark.py data  [--config recipes/cnn/fast.yaml] [--json FILE]
    python recipes/benchmark.py train [--config recipes/cnn/fast.yaml] [--json FILE] [--profile]
    python recipes/benchmark.py transfer [--architectures vit-base resnet-50] [--json FILE]

data: the input pipeline against the usual one (PNG column, a transform per image, default collator) at 32 and 224
pixels; its share of a training step of the recipe in --config; the memory that a training set adds.
train: the recipe through the Trainer, against bare loops of the same network, and against the usual Trainer way
(a transform per image, fp32, batches of 8); TFLOP/s, and their share of what a matrix product reaches here.
transfer: for several architectures, features against bare inference, a head on cached features and full fine-tuning
against the usual Trainer way. Their weights are random, which changes no speed; precision and device are the config's.

All ways of one subject are measured in alternation. Absolute rates are this machine's at this moment: compare ratios.
"""

import os
import sys
from pathlib import Path

from transformers import TrainingArguments

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
from hf_cifar.benchmarks.data import measure_data
from hf_cifar.benchmarks.summaries import describe_data, describe_training, describe_transfer
from hf_cifar.benchmarks.training import compare_training, make_setting, profile_step
from hf_cifar.benchmarks.transfer import ARCHITECTURES, measure_transfer
from hf_cifar.errors import UserError
from hf_cifar.evaluation.cost import describe_environment
from hf_cifar.files import check_output_folder, write_json
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.training.fit import get_precision
from hf_cifar.training.trainer import check_options, get_training_defaults

FAST = Path(os.path.relpath(Path(__file__).parent)) / "cnn/fast.yaml"


@run_recipe
def main() -> None:
    """Parse, measure, print."""
    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrainingArguments, description=__doc__)
    parser.set_defaults(**get_training_defaults())
    parser.add_argument("subject", choices=("data", "train", "transfer"), help="What to measure.")
    parser.add_argument("--json", metavar="FILE", help="Also write the figures there.")
    parser.add_argument("--rounds", type=int, default=7, help="How often each way is measured.")
    parser.add_argument(
        "--steps", type=int, default=4, help="train, transfer: steps per round, of which the first is not counted."
    )
    parser.add_argument("--scale", type=float, default=1.0, help="data: of the images per round; less is quicker.")
    parser.add_argument("--profile", action="store_true", help="train: a table of a step's operators, and no more.")
    parser.add_argument(
        "--architectures", nargs="+", default=list(ARCHITECTURES), help=f"transfer: of {', '.join(ARCHITECTURES)}."
    )
    data_args, model_args, recipe, args, options = parser.parse([f"--config={FAST}", *sys.argv[1:]])
    if options.rounds < 1 or options.steps < 2 or not 0.01 <= options.scale <= 100:
        raise UserError(
            f"rounds={options.rounds}, steps={options.steps}, scale={options.scale:g}: allowed are 1 or more, 2 or "
            "more, and 0.01 to 100"
        )
    check_options(args, recipe, has_validation=False)
    if options.json:
        check_output_folder(Path(options.json).parent, [path.name for path in Path(options.json).parent.glob("*")])
    environment = describe_environment(get_precision(args))
    if options.subject == "data":
        results = measure_data(data_args, model_args, recipe, args, options.rounds, options.scale)
        print(describe_data(environment, results))
    elif options.subject == "transfer":
        results = measure_transfer(data_args, model_args, args, options.architectures, options.rounds, options.steps)
        print(describe_transfer(environment, results))
    else:
        setting = make_setting(data_args, model_args, recipe, args)
        if options.profile:
            print(profile_step(setting))
            return
        results = {"config": options.config} | compare_training(setting, options.rounds, options.steps)
        print(describe_training(environment, results))
    if options.json:
        write_json(options.json, {"environment": environment} | results)


if __name__ == "__main__":
    main()
