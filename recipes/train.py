"""Train one model and measure it.

    python recipes/train.py --config recipes/cnn/fast.yaml [--option value ...]
    accelerate launch --config_file recipes/launch/ddp.yaml recipes/train.py --config recipes/cnn/fast.yaml

A YAML sets options, the command line wins. Writes a complete run folder: weights, config, image processor,
results.json, predictions, figures and model card.
"""

import shlex
import sys
from pathlib import Path

from transformers import set_seed
from transformers.utils.logging import disable_progress_bar

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
from hf_cifar.data.split import prepare_tables
from hf_cifar.data.table import load_data
from hf_cifar.evaluation.cost import describe_environment
from hf_cifar.evaluation.measure import describe_inputs, measure_run
from hf_cifar.evaluation.metrics import build_compute_metrics
from hf_cifar.evaluation.results import write_results
from hf_cifar.files import get_cache_dir
from hf_cifar.hardware import keep_freed_memory
from hf_cifar.models.loading import load_or_build
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.publishing.cards import write_card
from hf_cifar.publishing.publish import drop_hub_options, publish_run, take_hub_options
from hf_cifar.reporting.figures import write_run_figures
from hf_cifar.reporting.formatting import describe_start, format_estimate
from hf_cifar.training.fit import fit, get_precision
from hf_cifar.training.run_folder import check_run_folder, clear_run_folder, save_model
from hf_cifar.training.tracking import TrackedArguments, flatten
from hf_cifar.training.trainer import check_model, check_options, get_training_defaults


@run_recipe
def main() -> None:
    """Parse, load, train, save, measure."""
    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrackedArguments, description=__doc__)
    parser.set_defaults(**get_training_defaults())
    data_args, model_args, recipe, args, _ = parser.parse()
    hub_options = take_hub_options(args)
    if args.process_index > 0:
        disable_progress_bar()
    folder = Path(args.output_dir)
    checkpoint = check_run_folder(folder, recipe.overwrite_run, args.resume_from_checkpoint)
    check_options(args, recipe, has_validation=data_args.validation_size > 0)
    args.output_dir = str(folder / "checkpoints")
    with args.main_process_first(desc="preparing data and model"):
        data = load_data(data_args)
        train, validation = prepare_tables(data.train, data_args)
        set_seed(args.seed)
        model, preprocessing, base_model = load_or_build(model_args, data, train, data_args.cache_dir)
    head_only = model_args.finetune == "head"
    check_model(model, preprocessing, args, data_args, recipe, data.image_size, head_only, model_args)
    environment, is_main = describe_environment(get_precision(args), args.world_size), args.process_index == 0
    if is_main:
        clear_run_folder(folder, keep_checkpoints=checkpoint is not None)
        print(describe_start(data, len(train), len(validation or ()), environment))
    command = shlex.join(["python", "recipes/train.py", *drop_hub_options(sys.argv[1:])])
    args.run_name, options = args.run_name or folder.name, (data_args, model_args, recipe)
    args.facts = flatten(describe_inputs(data, train, validation, args, options, command, environment))
    keep_freed_memory()  # not before: what decoding frees is worth giving back
    outcome = fit(
        model, preprocessing, train, validation, args, data_args, recipe,
        build_compute_metrics(len(data.class_names)), get_cache_dir(data_args.cache_dir),
        head_only=head_only, checkpoint=checkpoint, from_scratch=base_model is None, model_args=model_args,
    )  # fmt: skip
    if not is_main:
        return
    save_model(model, preprocessing, folder)
    results = measure_run(
        folder, data, train, validation, args, options, command, environment, outcome, base_model,
        trust_remote_code=model_args.trust_remote_code,
    )  # fmt: skip
    write_run_figures(folder, results)
    write_card(folder, results)
    write_results(folder, results)  # last: its presence means that the run is complete
    print(f"Test accuracy {format_estimate(results['metrics']['test']['accuracy'])} after {outcome.epochs:g} epochs "
          f"in {outcome.train_seconds + outcome.feature_seconds:.0f} s; run folder: {folder}")  # fmt: skip
    for line in publish_run(folder, source=data_args, **hub_options) if hub_options else ():
        print(line)


if __name__ == "__main__":
    main()
