"""results.json: validated both ways."""

import json

import pytest

from hf_cifar.errors import UserError
from hf_cifar.evaluation.results import read_results, write_results


@pytest.fixture
def results(cnn_run) -> dict:
    return read_results(cnn_run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(schema_version=0), "schema_version is 0; allowed: 1"),
        (lambda r: r.pop("metrics"), "'metrics' is a required property"),
        (lambda r: r["metrics"]["test"]["accuracy"].pop("low"), "at metrics.test.accuracy: 'low' is a required"),
        (lambda r: r["metrics"]["test"].update(accuracy=0.9), "at metrics.test.accuracy: 0.9 is not of type 'object'"),
        (lambda r: r["environment"].update(precision="int4"), "at environment.precision: 'int4' is not one of"),
        (lambda r: r.update(secret="x"), "'secret' was unexpected"),
        (lambda r: r["metrics"]["test"]["scores"]["kappa"].pop("high"), "at metrics.test.scores.kappa: 'high' is a"),
        (lambda r: r["calibration"]["test"].pop("before"), "at calibration.test: 'before' is a required"),
        (lambda r: r["calibration"].update(temperature=0), "at calibration.temperature: 0 is less than or equal"),
        (lambda r: r.update(robustness={"level": "quick"}), "at robustness: 'num_images' is a required"),
    ],
)
def test_what_breaks_the_schema_is_neither_written_nor_read(results, tmp_path, change, message):
    change(results)
    with pytest.raises(UserError, match=message):
        write_results(tmp_path, results)
    assert not list(tmp_path.iterdir())
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=message):
        read_results(tmp_path)


def test_runs_from_before_scores_and_calibration_stay_valid(results, tmp_path):
    del results["calibration"]
    for metrics in results["metrics"].values():
        del metrics["scores"], metrics["roc_auc_per_class"]
    write_results(tmp_path, results)
    assert read_results(tmp_path) == results


def test_writing_and_reading_are_inverse(results, tmp_path):
    write_results(tmp_path, results)
    assert read_results(tmp_path) == results


@pytest.mark.parametrize("content", [None, "{", "[]", "null"])
def test_no_or_broken_json_is_said(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match="results.json"):
        read_results(tmp_path)
