"""Command lines: YAML sets defaults, the command line wins, and bad input is one clear line."""

from pathlib import Path

import pytest
from safetensors import SafetensorError
from transformers import TrainingArguments

from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
from hf_cifar.errors import UserError
from hf_cifar.models.loading import build_cifar_cnn
from hf_cifar.parser import RecipeParser, run_recipe
from hf_cifar.training.optimizers import check_overrides
from hf_cifar.training.trainer import get_training_defaults

RECIPES = Path(__file__).parents[1] / "recipes"
YAMLS = sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name != "launch")


def parse(tmp_path, text: str, *arguments: str):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrainingArguments, prog="train.py")
    parser.set_defaults(**get_training_defaults())
    return parser.parse(["--config", str(path), *arguments])


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_parses_and_says_what_it_is(path):
    text = path.read_text()
    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrainingArguments)
    parser.set_defaults(**get_training_defaults())
    _, model_args, recipe, args, _ = parser.parse(["--config", str(path)])
    check_overrides(recipe.parameter_groups, recipe.optimizer)
    if model_args.model_name_or_path is None:
        build_cifar_cnn(model_args.model_config, list("abcdefghij"))
    assert args.run_name and args.output_dir.startswith("runs/")
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert f"--config recipes/{path.relative_to(RECIPES)}" in header[1] and header[2].startswith("# Measured: ")
    if "not run here" in header[2]:  # a figure of others' is then given, or that there is none
        assert header[3].startswith("# Published: ")


def test_yaml_sets_defaults_and_the_command_line_wins(tmp_path):
    data, model, _, args, _ = parse(
        tmp_path,
        "learning_rate: 1e-3\neval_strategy: no\nload_best_model_at_end: false\nflip: random\n"
        "model_config: {depths: [1, 1, 1]}\nseed: 7\nbf16: false\nweight_decay:\n",
        "--seed=9", "--translate", "3",
    )  # fmt: skip
    assert args.learning_rate == 0.001  # YAML 1.1 reads 1e-3 as a string
    assert args.eval_strategy == "no"  # YAML 1.1 reads no as false
    assert (data.flip, data.translate, args.seed) == ("random", 3, 9)
    assert model.model_config == {"depths": [1, 1, 1]} and args.bf16 is False and args.weight_decay == 0.0


def test_a_preset_on_the_command_line_is_not_changed_by_the_yaml(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("flip: alternating\ntranslate: 2\nvalidation_size: 0.2\n")
    for arguments, expected in (
        ([], ("alternating", 2)),
        (["--augmentation=none"], ("none", 0)),
        (["--augmentation", "standard"], ("random", 0.125)),
        (["--augmentation=none", "--flip=random"], ("random", 0)),
    ):
        data, _ = RecipeParser(DataArguments).parse([f"--config={path}", *arguments])
        assert (data.flip, data.translate) == expected and data.validation_size == 0.2


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("learning_rat: 1", (), r"unknown option 'learning_rat' in .*config.yaml; did you mean 'learning_rate'"),
        ("", ("--flipp=random",), "is not a mapping"),
        ("flip: random", ("--flipp=random",), "unknown option 'flipp' in the command line; did you mean 'flip'"),
        ("learning_rate: fast", (), "learning.rate: invalid float value: 'fast'"),
        ("learning_rate: [1, 2]", (), "unknown option '2'"),
        ("flip: sideways", (), "invalid choice: '?sideways'?.*none"),
        ("num_train_epochs: {a: 1}", (), "num.train.epochs: invalid float value"),
        ("translate: -1", (), "translate=-1 is out of range; allowed: 0 to 1023"),
        ("model_config: 3", (), "model_config=3 is not a mapping"),
        ("momentum: 1.5", (), "momentum=1.5 is out of range"),
        ("finetune: head", (), "finetune=head needs a pretrained model"),
        ("model_name_or_path: x\nmodel_config: {stem: none}", (), "model_config describes a CifarCnn"),
        ("image_size: 64", (), "image_size is for pretrained models"),
        ("eval_strategy: sometimes", (), "invalid choice: '?sometimes'?.*'?no'?"),
        ("bf16: maybe", (), "got maybe"),
        ("flip: random", ("--config",), "--config: expected one argument"),
        ("- a\n- b", (), "is not a mapping"),
        ("a: [", (), "is not YAML"),
        ("config: other.yaml", (), "unknown option 'config'"),
    ],
)
def test_bad_input_is_refused_with_value_and_remedy(tmp_path, text, arguments, message):
    with pytest.raises(UserError, match=message):
        parse(tmp_path, text, *arguments)


def test_a_missing_config_is_said(tmp_path):
    with pytest.raises(UserError, match="'nowhere.yaml' does not exist"):
        RecipeParser(DataArguments).parse(["--config", "nowhere.yaml"])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("flip='x'\n is wrong"), 2, "error: flip='x' is wrong\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; train.py goes on from its last checkpoint"),
        (OSError(28, "No space", "runs/x"), 2, "error: cannot write: No space left on device (runs/x); free space"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), 2, "error: cannot write: No space left"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), 2, "error: cannot write: No space left"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_an_exit_code(capsys, error, code, line):
    @run_recipe
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code
    output = capsys.readouterr().err
    assert output.startswith(line) and output.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError("a bug"), FileNotFoundError(2, "a bug")])
def test_a_bug_keeps_its_traceback(error):
    @run_recipe
    def main() -> None:
        raise error

    with pytest.raises(type(error), match="a bug"):
        main()
