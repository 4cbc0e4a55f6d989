"""Owns what a model card says of how its model was trained: settings, all options, the command."""

import shlex
from collections.abc import Iterable

import yaml

from ..reporting.comparison_text import Rows
from ..reporting.formatting import format_seconds

AUGMENTATIONS = (
    "flip", "translate", "random_resized_crop", "auto_augment", "color_jitter", "cutout", "random_erasing", "mixup",
    "cutmix",
)  # fmt: skip
OFF = (None, 0, False, "none")


def make_setting_rows(results: dict) -> Rows:
    """The procedure in a few lines; see `list_options` for all of it."""
    recipe, cost, environment = results["recipe"], results["cost"], results["environment"]
    options, world_size = recipe["options"], environment["world_size"]
    batch = options.get("per_device_train_batch_size")
    size = batch and batch * world_size * options.get("gradient_accumulation_steps", 1)
    features = f", of which {format_seconds(cost['feature_seconds'])} for features" if cost["feature_seconds"] else ""
    seconds, rate = cost["train_seconds"] + cost["feature_seconds"], cost["train_images_per_second"]
    augmentation = join_settings((name.replace("_", " "), options.get(name)) for name in AUGMENTATIONS)
    processes = f"; {world_size} processes" if world_size > 1 else ""
    rows = [
        ["fine-tuning", options.get("finetune") if results["model"]["base_model"] else None],
        ["epochs", f"{cost['epochs']:g}" + (f", batches of {size:,}" if size else "")],
        ["optimizer", describe_optimizer(options)],
        ["augmentation", augmentation or "none"],
        ["input", describe_input(results)],
        ["hard examples", describe_hard_examples(options)],
        ["published weights", recipe["selection"]],
        ["seed", str(recipe["seed"])],
        ["hardware", f"{environment['hardware']}; {environment['precision']}{processes}"],
        ["time", f"{format_seconds(seconds)}{features}; {rate:,.0f} images/s"],
        ["peak memory", f"{cost['peak_memory_bytes'] / 2**30:.2f} GiB"],
        ["date", environment["date"][:10]],
    ]
    return [["setting", "value"], *([name, value] for name, value in rows if value)]


def describe_optimizer(options: dict) -> str:
    """Algorithm, rates, schedule and the loss's smoothing, as far as they are on."""
    groups = (options.get("parameter_groups") or {}).items()
    rates = join_settings((name, group.get("lr")) for name, group in groups)
    name, rate = options.get("optimizer"), options.get("learning_rate")
    settings = (
        ("learning rate", f"{rate} ({rates})" if rates else rate),
        ("momentum", options.get("momentum") if name in ("sgd", "muon") else None),
        ("weight decay", options.get("weight_decay")),
        ("schedule", options.get("lr_scheduler_type")),
        ("warm-up", options.get("warmup_steps")),
        ("layer-wise decay", None if options.get("layer_decay") == 1 else options.get("layer_decay")),
        ("moving average of weights", options.get("ema_decay")),
        ("label smoothing", options.get("label_smoothing_factor")),
    )
    return ", ".join(filter(None, (name, join_settings(settings))))


def describe_input(results: dict) -> str:
    """Input sizes, by the share of training from which they hold."""
    steps = results["recipe"]["options"].get("progressive_resizing") or {"0": results["model"]["image_size"]}
    return ", ".join(
        f"{size} px" + (f" from {100 * float(start):g} % of training on" if float(start) else "")
        for start, size in steps.items()
    )


def describe_hard_examples(options: dict) -> str | None:
    """The share of each batch that is trained on; None where it is all."""
    hard = options.get("hard_examples")
    return f"the hardest {100 * hard['share']:g} % of each batch, by a small network" if hard else None


def join_settings(settings: Iterable[tuple[str, object]]) -> str:
    """As in "momentum 0.9, weight decay 0.1"; without those that are off."""
    return ", ".join(f"{name} {value}" for name, value in settings if value not in OFF)


def list_options(results: dict) -> str:
    """All options of a run as YAML."""
    options = {name: value for name, value in results["recipe"]["options"].items() if "token" not in name}
    return yaml.safe_dump(options, sort_keys=True, allow_unicode=True).strip()


def make_command(recipe: dict) -> str:
    """The command that made a run, with its seed."""
    words = shlex.split(recipe["command"])
    has_seed = any(word == "--seed" or word.startswith("--seed=") for word in words)
    return recipe["command"] if has_seed else f"{recipe['command']} --seed {recipe['seed']}"
