"""The space of a search: what is sampled, and what is refused."""

import textwrap
from pathlib import Path

import optuna
import pytest
import yaml

from hf_cifar.errors import UserError
from hf_cifar.search.options import build_train_parser, parse_options
from hf_cifar.search.space import make_words, merge_values, read_space

from .conftest import ROOT


@pytest.fixture(scope="module")
def parser():
    return build_train_parser()


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


def test_all_kinds_of_values_are_sampled_within_their_bounds(parser, tmp_path):
    text = """
learning_rate: {low: 1e-4, high: 0.1, log: true}
weight_decay: {low: 0, high: 1}
max_steps: {low: 2, high: 9}
per_device_train_batch_size: {low: 16, high: 64, step: 16}
num_train_epochs: {low: 2, high: 6, step: 1}
optimizer: [sgd, muon]
parameter_groups.head.lr: {low: 0.5, high: 2.0}
model_config.depths: {choices: [[1, 1], [2, 1]]}
model_config.hidden_size: {low: 1, high: 3}
"""
    space = read_space(write(tmp_path, text), parser)
    drawn = {each.key: [] for each in space}
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial) -> float:
        for each in space:
            drawn[each.key].append(each.suggest(trial))
        return 0.0

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=60)
    assert all(1e-4 <= value <= 0.1 for value in drawn["learning_rate"])
    assert 15 < sum(value < 10**-2.5 for value in drawn["learning_rate"]) < 45  # half of the decades
    assert all(type(value) is float and 0 <= value <= 1 for value in drawn["weight_decay"])
    assert set(drawn["max_steps"]) == set(range(2, 10)) and type(drawn["max_steps"][0]) is int
    assert set(drawn["per_device_train_batch_size"]) == {16, 32, 48, 64}
    assert set(drawn["num_train_epochs"]) == {2.0, 3.0, 4.0, 5.0, 6.0}
    assert set(drawn["optimizer"]) == {"sgd", "muon"} and set(drawn["model_config.hidden_size"]) == {1, 2, 3}
    assert all(value in ([1, 1], [2, 1]) for value in drawn["model_config.depths"])
    last = study.trials[-1].params
    assert {each.key: each.decode(last[each.key]) for each in space} == {key: drawn[key][-1] for key in drawn}


def test_the_example_in_the_docs_is_a_space_for_the_recipe_that_it_names(parser, tmp_path):
    block = (ROOT / "docs/searching.md").read_text().split("    learning_rate: ")[1].split("\n\n")[0]
    space = read_space(write(tmp_path, textwrap.dedent(f"    learning_rate: {block}")), parser)
    assert len(space) == 8
    words = ["--config=recipes/cnn/baseline.yaml", "--output_dir=x"]
    base = parse_options(parser, words).collect()
    for corner in (0, -1):
        values = {each.key: each.corners[corner] for each in space}
        assert parse_options(parser, words + make_words(base, values)).args.learning_rate in (1e-4, 1e-2)


def test_nested_values_complete_what_the_recipe_has(parser):
    base = {"parameter_groups": {"head": {"lr": 1, "momentum": 0.5}}, "model_config": {}, "learning_rate": 1.0}
    values = {"parameter_groups.head.lr": 2.5, "model_config.depths": [1, 2], "learning_rate": 0.25}
    merged = merge_values(base, values)
    assert merged["parameter_groups"] == {"head": {"lr": 2.5, "momentum": 0.5}}
    assert base["parameter_groups"]["head"]["lr"] == 1  # the base is not changed
    assert merge_values(base, {"learning_rate": None, "model_config.depths": None}) == base  # as the recipe has it
    _, model_args, recipe, args, _ = parser.parse(["--output_dir=x", *make_words(base, values)])
    assert recipe.parameter_groups == merged["parameter_groups"]
    assert model_args.model_config == {"depths": [1, 2]} and args.learning_rate == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "space is empty"),
        ("- 1", "not a mapping"),
        ("learning_rat: [1, 2]", "unknown option 'learning_rat' in .*; did you mean 'learning_rate'"),
        ("validation_size: [0.1, 0.2]", "validation_size must not vary"),
        ("dataset: [sample, auto]", "dataset must not vary"),
        ("seed: [1, 2]", "seed must not vary"),
        ("learning_rate: {low: 1, high: 0.1}", "low must be below high"),
        ("learning_rate: {low: .nan, high: 0.1}", "low must be below high"),
        ("learning_rate: {low: 0, high: 0.1, log: true}", "has no logarithm"),
        ("learning_rate: {low: 0.1, high: 1, log: true, step: 0.1}", "exclude each other"),
        ("learning_rate: {low: 0.1, high: 1, step: 3}", "step=3 does not fit"),
        ("learning_rate: {low: a, high: 1}", "no number"),
        ("learning_rate: {low: 0.1}", "says no range"),
        ("learning_rate: 0.1", "says no range"),
        ("learning_rate: []", "no choices"),
        ("learning_rate: [1, 1.0]", "a choice twice"),
        ("max_steps: {low: 1.5, high: 3}", "whole number"),
        ("optimizer: {low: 1, high: 3}", "takes no numbers"),
        ("learning_rate.head: [1, 2]", "learning_rate is not a mapping"),
        ("{parameter_groups: [{}], parameter_groups.head.lr: [1]}", "leave one out"),
    ],
)
def test_a_space_that_cannot_be_sampled_is_refused(parser, tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_space(write(tmp_path, text), parser)


def test_what_tells_spaces_apart_is_plain_data(parser, tmp_path):
    text = "{learning_rate: {low: 0.1, high: 1}, model_config.depths: [[1, 1], [2, 1]]}"
    described = {each.key: each.describe() for each in read_space(write(tmp_path, text), parser)}
    assert yaml.safe_load(yaml.safe_dump(described)) == described
