"""Experiment tracking: what each tracker is told, and what is said where its package is missing."""

import importlib.util
import json
import sys
import types

import pytest

from hf_cifar.errors import UserError
from hf_cifar.evaluation.results import read_results
from hf_cifar.training import tracking
from hf_cifar.training.tracking import TrackedArguments, check_trackers, flatten

TRACKERS = ("trackio", "tensorboard", "wandb", "mlflow")


class Told(dict):
    """What a stand-in for a tracker was told: parameters, as the real ones take them, and logged metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.logged = []

    def update(self, values, allow_val_change=False, **more) -> None:
        super().update(values, **more)

    def log(self, values, *args, **more) -> None:
        self.logged.append(values)


def make_module(monkeypatch, name: str, **members) -> types.ModuleType:
    """A module that `import` and `find_spec` find."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    module.__path__ = []
    module.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.fixture
def told(monkeypatch) -> dict[str, Told]:
    """Minimal stand-ins for the four packages, with the functions that the Trainer calls; none is installed here."""
    told = {name: Told() for name in TRACKERS}
    space = types.SimpleNamespace(current_space_id=types.SimpleNamespace(get=lambda: None))
    make_module(
        monkeypatch, "trackio", __version__="0.21.1", init=lambda **options: None, config=told["trackio"],
        context_vars=space, log=told["trackio"].log, finish=lambda: None,
    )  # fmt: skip

    class SummaryWriter:
        def __init__(self, log_dir=None) -> None:
            pass

        def add_text(self, name, text, *step) -> None:
            if name == "args":
                told["tensorboard"].update(json.loads(text))

        def add_scalar(self, name, value, step) -> None:
            told["tensorboard"].log({name: value})

        def flush(self) -> None:
            pass

        close = flush

    make_module(monkeypatch, "tensorboardX", SummaryWriter=SummaryWriter)
    make_module(monkeypatch, "torch.utils.tensorboard", SummaryWriter=SummaryWriter)
    run = types.SimpleNamespace(_label=lambda **options: None, id="1", run_id="1", name="run", summary={})
    for name in ("wandb.sdk", "wandb.sdk.lib"):
        make_module(monkeypatch, name)
    make_module(monkeypatch, "wandb.sdk.lib.config_util", ConfigError=type("ConfigError", (Exception,), {}))
    make_module(
        monkeypatch, "wandb", run=run, init=lambda **options: None, config=told["wandb"], log=told["wandb"].log,
        finish=lambda: None,
    )  # fmt: skip
    limits = types.SimpleNamespace(MAX_PARAM_VAL_LENGTH=6000, MAX_PARAMS_TAGS_PER_BATCH=100)
    make_module(
        monkeypatch, "mlflow", __version__="3.0.0", utils=types.SimpleNamespace(validation=limits),
        is_tracking_uri_set=lambda: True, get_tracking_uri=lambda: "x", start_run=lambda **options: None,
        active_run=lambda: types.SimpleNamespace(info=run),
        log_params=lambda values, **options: told["mlflow"].update(values),
        log_metrics=lambda metrics, step, **options: told["mlflow"].log(metrics), end_run=lambda: None,
    )  # fmt: skip
    return told


def test_trackers_get_recipe_data_and_environment(told, recipe, tiny_config, tmp_path):
    arguments = ["--config", tiny_config, "--num_train_epochs=1", f"--output_dir={tmp_path}/run"]
    code, _, err = recipe("train.py", *arguments, f"--report_to={','.join(TRACKERS)}")
    assert code == 0, err
    results = read_results(tmp_path / "run")
    for name, parameters in told.items():
        assert parameters["recipe/options/optimizer"] == "muon", name
        assert parameters["recipe/options/parameter_groups/head/lr"] == 0.1
        assert parameters["recipe/command"] == results["recipe"]["command"]
        assert parameters["data/hashes/train/images"] == results["data"]["hashes"]["train"]["images"]
        assert parameters["data/validation_sha256"] == results["data"]["validation_sha256"]
        assert parameters["environment/packages/torch"] == results["environment"]["packages"]["torch"]
        assert parameters["environment/hardware"] == results["environment"]["hardware"]
        assert parameters["learning_rate"] == 0.05  # the Trainer's own
        assert any("accuracy" in key for metrics in parameters.logged for key in metrics), name
    # What trackers are told is no option of the run.
    assert not [key for key in results["recipe"]["options"] if "/" in key]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named_with_the_remedy(name, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda package: None)
    with pytest.raises(
        UserError, match=f"report_to='{name}': the package {name} is not installed; pip install {name}"
    ):
        check_trackers([name])


def test_an_unknown_tracker_is_refused_before_the_run_begins(recipe, tmp_path):
    code, _, err = recipe("train.py", "--dataset=sample", f"--output_dir={tmp_path}/run", "--report_to=tensorbord")
    assert code == 2 and "report_to='tensorbord'; allowed: none, all, or some of" in err and "tensorboard" in err
    assert not (tmp_path / "run").exists()


def test_facts_are_flat_and_no_option():
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a/b/c": 1, "a/d": {}, "e": [1]}
    args = TrackedArguments("x", use_cpu=True)
    plain = args.to_dict()
    args.facts = {"data/name": "cifar10"}
    assert args.to_dict() == plain | {"data/name": "cifar10"} and json.loads(args.to_json_string())["data/name"]
    assert TrackedArguments.facts == {} and "facts" not in plain
