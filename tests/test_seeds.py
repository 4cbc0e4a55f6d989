"""Seeds of one recipe: read together or refused, mean and deviation as statistics has them."""

import copy
import json
import statistics

import pytest

from hf_cifar.errors import UserError
from hf_cifar.evaluation.results import read_results
from hf_cifar.evaluation.seeds import read_seeds, summarize_seeds


@pytest.fixture
def folder(cnn_run, tmp_path):
    """A published run with two more seeds."""
    results = read_results(cnn_run)
    (tmp_path / "seeds").mkdir()
    for seed, accuracy in ((1, 0.4), (2, 0.7)):
        other = copy.deepcopy(results)
        other["recipe"]["seed"] = other["recipe"]["options"]["seed"] = seed
        other["metrics"]["test"]["accuracy"]["value"] = accuracy
        (tmp_path / f"seeds/seed{seed}.json").write_text(json.dumps(other))
    return tmp_path


def test_mean_and_deviation(folder, cnn_run):
    results = read_results(cnn_run)
    runs = read_seeds(folder, results)
    values = [results["metrics"]["test"]["accuracy"]["value"], 0.4, 0.7]
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    margin = 4.302652729911275 * deviation / 3**0.5  # Student's t with 2 degrees of freedom
    expected = {"mean": mean, "deviation": deviation, "count": 3, "low": mean - margin, "high": mean + margin}
    assert summarize_seeds(runs) == pytest.approx(expected)
    assert summarize_seeds(runs, "metrics_tta") is None  # they have none
    assert summarize_seeds(runs[:1]) is None


def test_an_option_that_did_not_exist_yet_is_taken_for_its_default(folder, cnn_run):
    path, results = folder / "seeds/seed1.json", read_results(cnn_run)
    other = json.loads(path.read_text())
    assert {"ema_decay", "hard_examples", "lora_rank"} <= set(other["recipe"]["options"])
    for name in ("ema_decay", "hard_examples", "lora_rank"):
        del other["recipe"]["options"][name]
    path.write_text(json.dumps(other))
    assert len(read_seeds(folder, results)) == 3
    changed = copy.deepcopy(results)
    changed["recipe"]["options"]["ema_decay"] = 0.9
    with pytest.raises(UserError, match="seed1.json is of another recipe"):
        read_seeds(folder, changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda other: other["recipe"]["options"].update(learning_rate=9.0), "seed1.json is of another recipe"),
        (lambda other: other["environment"].update(precision="fp16"), "seed1.json is of another recipe"),
        (lambda other: other["data"]["hashes"]["test"].update(images="0"), "seed1.json is of another recipe"),
        (lambda other: other["recipe"].update(seed=0), "has seed 0, as another run"),
        (lambda other: other.pop("metrics"), "'metrics' is a required property"),
    ],
)
def test_what_is_no_seed_of_the_recipe_is_refused(folder, cnn_run, change, message):
    path = folder / "seeds/seed1.json"
    other = json.loads(path.read_text())
    change(other)
    path.write_text(json.dumps(other))
    with pytest.raises(UserError, match=message):
        read_seeds(folder, read_results(cnn_run))
