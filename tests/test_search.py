"""A search as a user runs it: on validation images alone, to a recipe that gives what was measured, never twice."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hf_cifar.data import table
from hf_cifar.search import result, trials
from hf_cifar.search.options import build_train_parser, parse_options

from .conftest import ROOT, run_recipe

SPACE = """
learning_rate: {low: 0.01, high: 0.2, log: true}
parameter_groups.head.lr: {low: 0.01, high: 0.2, log: true}
per_device_train_batch_size: [90, 180]
model_config.hidden_sizes: [[8, 16], [16, 16]]
"""
SHORT = ["--num_train_epochs=1", "--train_fraction=0.3"]


class Untouched:
    """Stands for test images; whoever looks at them fails."""

    def __getattribute__(self, name: str):
        raise AssertionError(f"the test images were looked at ({name})")

    def __len__(self) -> int:
        raise AssertionError("the test images were counted")

    def __iter__(self):
        raise AssertionError("the test images were read")


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(result, "save_figure", lambda figure, path: None)


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="module")
def finished(tiny_config, space, tmp_path_factory) -> Path:
    """The folder of a finished search of three trials, without any test image."""
    folder = tmp_path_factory.mktemp("search") / "search"
    with pytest.MonkeyPatch.context() as patch:
        load = table.load_data
        patch.setattr(table, "load_data", lambda *args: dataclasses.replace(load(*args), test=Untouched()))
        arguments = ["--config", tiny_config, "--space", space, "--n_trials=3", f"--output_dir={folder}", *SHORT]
        assert run_recipe("search.py", *arguments) == 0
    return folder


def read_study(folder: Path) -> dict:
    return json.loads((folder / "study.json").read_text())


def test_a_search_leaves_a_recipe_its_history_and_no_test_score(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {"best.yaml", "study.json", "journal.log", "figures"}
    figures = {path.name for path in (finished / "figures").iterdir()}
    assert {"history.png", "history.svg", "values.png", "values.svg"} <= figures
    study = read_study(finished)
    assert study["n_trials"] == 3 == len(study["trials"]) and study["metric"] == "validation accuracy"
    assert study["data"]["sizes"] == {"train": 270, "validation": 100}
    complete = [trial for trial in study["trials"] if trial["state"] == "complete"]
    assert study["best"]["value"] == max(trial["value"] for trial in complete)
    assert all(trial["value"] == max(trial["reported"]) and trial["seconds"] > 0 for trial in complete)
    assert "test" not in json.dumps(study["data"])


def test_the_recipe_means_what_the_best_trial_was(finished, tiny_config):
    best, parser = read_study(finished)["best"]["values"], build_train_parser()
    text = (finished / "best.yaml").read_text()
    options = parse_options(parser, [f"--config={finished / 'best.yaml'}", "--output_dir=x"])
    assert options.args.learning_rate == best["learning_rate"]
    assert options.recipe.parameter_groups["head"]["lr"] == best["parameter_groups.head.lr"]
    assert options.recipe.parameter_groups["vectors"] == {"lr": 0.05}  # as the base recipe has it
    assert options.model.model_config["hidden_sizes"] == best["model_config.hidden_sizes"]
    assert options.args.num_train_epochs == 1 and options.data.train_fraction == 0.3  # of the command line
    base = yaml.safe_load(Path(tiny_config).read_text())
    changed = {"num_train_epochs", "train_fraction", *(key.split(".")[0] for key in best)}
    assert {key for key, value in yaml.safe_load(text).items() if base.get(key) != value} <= changed
    header = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    for words in ("recipes/search.py --config", "Measured: validation accuracy", "No test image was used", "fp32, 20"):
        assert words in header


def test_the_same_command_does_nothing_more_and_a_longer_one_the_rest(
    finished, tiny_config, space, recipe, monkeypatch, without_figures
):
    before, trained = read_study(finished)["trials"], []
    fit = trials.fit
    monkeypatch.setattr(trials, "fit", lambda *args, **options: trained.append(1) or fit(*args, **options))
    arguments = ["--config", tiny_config, "--space", space, f"--output_dir={finished}", *SHORT]
    assert recipe("search.py", *arguments, "--n_trials=3")[0] == 0
    assert not trained and read_study(finished)["trials"] == before
    assert recipe("search.py", *arguments, "--n_trials=4")[0] == 0
    assert len(trained) == 1 and read_study(finished)["trials"][:3] == before
    assert len(read_study(finished)["trials"]) == 4


def test_values_that_cannot_be_trained_are_counted_and_explained(recipe, tiny_config, tmp_path, without_figures):
    space = tmp_path / "space.yaml"
    space.write_text("{parameter_groups.head.lr: [1.0e+38, 0.05], translate: [2, 40]}")  # the images have 32 pixels
    arguments = ["--config", tiny_config, "--space", space, "--n_trials=3", f"--output_dir={tmp_path}/search", *SHORT]
    arguments += ["--sampler_seed=1"]  # draws one of each kind
    code, _, err = recipe("search.py", *arguments)
    assert code == 0, err
    study = read_study(tmp_path / "search")
    assert study["n_trials"] == len(study["trials"]) == 3 and set(study["states"]) == {"complete", "fail", "pruned"}
    for trial in study["trials"]:
        values = trial["values"]
        expected = (
            "fail" if values["translate"] == 40 else "pruned" if values["parameter_groups.head.lr"] > 1 else "complete"
        )
        assert trial["state"] == expected
        reason = {"fail": "translate", "pruned": "diverged", "complete": None}[expected]
        assert reason in trial["reason"] if reason else trial["reason"] is None
    assert study["best"]["values"] == {"parameter_groups.head.lr": 0.05, "translate": 2}


def test_a_search_in_which_nothing_trains_ends_with_the_reason(recipe, tiny_config, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("translate: [40]")
    code, _, err = recipe(
        "search.py", "--config", tiny_config, "--space", space, "--n_trials=2", f"--output_dir={tmp_path}/search"
    )
    line = err.strip().splitlines()[-1]
    assert code == 2 and "none of the 2 trials could be trained to its end (translate=40" in line
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --space SPACE.yaml for a search, or --grid GRID.yaml"),
        (["--space={space}", "--grid={space}"], "not both"),
        (["--space=none.yaml"], "'none.yaml' does not exist"),
        (["--space={space}", "--n_trials=0"], "n_trials=0 is out of range"),
        (["--space={space}", "--pruner=best"], "invalid choice: 'best'"),
        (["--space={space}", "--validation_size=0"], "no validation"),
        (["--space={space}", "--eval_strategy=no", "--early_stopping_patience=0", "--load_best_model_at_end=false"],
         "no validation"),
        (["--space={space}", "--learning_rat=1"], "did you mean 'learning_rate'"),
        (["--space={space}", "--storage=study.db"], "allowed: journal:FILE"),
        (["--space={space}", "--storage=sqlite:////no/such/study.db"], "cannot be reached"),
        (["--space={space}", "--storage=postgresql://me:secret@127.0.0.1:1/x"], "me:***@127.0.0.1"),
        (["--space={folder}/bad.yaml"], "with learning_rate=-1.0: learning_rate=-1.0 is out of range"),
        (["--space={folder}/typo.yaml"], "did you mean 'momentum'"),
        (["--space={folder}/group.yaml"], "parameter_groups"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(recipe, tiny_config, space, tmp_path, arguments, message):
    (tmp_path / "bad.yaml").write_text("learning_rate: {low: -1, high: 1}")
    (tmp_path / "typo.yaml").write_text("momentom: [0.9]")
    (tmp_path / "group.yaml").write_text("parameter_groups.haed.lr: [0.9]")
    arguments = [argument.format(space=space, folder=tmp_path) for argument in arguments]
    code, _, err = recipe("search.py", "--config", tiny_config, f"--output_dir={tmp_path}/search", *arguments)
    assert code == 2 and "Traceback" not in err
    line = err.strip().splitlines()[-1]
    assert line.startswith("error: ") and message in line and "secret" not in err
    assert not (tmp_path / "search").exists() or not list((tmp_path / "search").glob("study.json"))


def test_a_study_of_another_space_is_not_gone_on_with(finished, recipe, tiny_config, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.replace("0.2", "0.3", 1))
    arguments = ["--config", tiny_config, "--n_trials=4", f"--output_dir={finished}"]
    code, _, err = recipe("search.py", *arguments, "--space", space, *SHORT)
    assert code == 2 and "differs in its space (learning_rate" in err
    space.write_text(SPACE)
    code, _, err = recipe("search.py", *arguments, "--space", space, "--num_train_epochs=2")
    assert code == 2 and "differs in its options (num_train_epochs: 2.0" in err


@pytest.mark.slow
def test_a_killed_workers_trial_is_done_by_the_other_and_counted_once(tiny_config, space, tmp_path):
    command = [
        sys.executable,
        "recipes/search.py",
        "--config",
        str(tiny_config),
        "--space",
        str(space),
        "--n_trials=8",
    ]
    command += [f"--storage=journal:{tmp_path}/study.log", "--num_train_epochs=4"]
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    workers = []
    for log in logs:
        with log.open("w") as file:
            folder = tmp_path / log.stem
            workers.append(
                subprocess.Popen([*command, f"--output_dir={folder}"], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
            )
    deadline = time.monotonic() + 120
    while logs[1].read_text().count("Trial ") < 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    workers[1].send_signal(signal.SIGKILL)
    assert workers[0].wait(180) == 0, logs[0].read_text()
    study = read_study(tmp_path / "first")
    assert study["n_trials"] == 8 == sum(trial["counts"] for trial in study["trials"])
    assert len(study["importances"]) == 4 and (tmp_path / "first/figures/importances.svg").is_file()
    lost = [trial for trial in study["trials"] if not trial["counts"]]
    assert len(lost) == 1 and lost[0]["state"] == "fail"
    again = next(trial for trial in study["trials"] if trial["replaces"] == lost[0]["number"])
    assert again["worker"]["pid"] == workers[0].pid and again["counts"]
    assert run_recipe("train.py", "--config", tmp_path / "first/best.yaml", f"--output_dir={tmp_path}/run") == 0
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["metrics"]["validation"]["accuracy"]["value"] == pytest.approx(study["best"]["value"])
