"""Choosing a backbone as a user does: a result, its reasons, no test images; interrupted, it goes on."""

import json
from types import SimpleNamespace

import pytest

from hf_cifar.data.split import hash_indices, split_table
from hf_cifar.data.store import read_column
from hf_cifar.evaluation import finalists, trials
from hf_cifar.evaluation.selection import SelectionArguments
from hf_cifar.reporting import selection as reporting

from .conftest import ROOT

FILES = {"selection.json", "selection.md", "figures"}


@pytest.fixture
def command(tiny_vit, tiny_convnext, tmp_path):
    options = ["choose_backbone.py", "--dataset=sample", "--subset=200", "--epochs=1", "--finalists=1"]
    options += ["--candidates", tiny_vit, "no/such", tiny_convnext, f"--output_dir={tmp_path}/choice"]
    return [*options, f"--cache_dir={tmp_path}/cache"]


def read(tmp_path) -> dict:
    return json.loads((tmp_path / "choice/selection.json").read_text())


def test_the_best_is_chosen_and_said_why(recipe, command, tiny_vit, tiny_convnext, data, tmp_path):
    code, out, err = recipe(*command)
    assert code == 0, err
    result = read(tmp_path)
    assert {path.name for path in (tmp_path / "choice").iterdir()} == FILES
    assert (tmp_path / "choice/figures/selection.png").read_bytes().startswith(b"\x89PNG")
    assert set(result["candidates"]) == {str(tiny_vit), str(tiny_convnext)}
    assert "not in the Hub's cache" in result["left_out"]["no/such"] and "no/such went no further" in out
    assert result["stage"] == "fine_tuning" and result["choice"] in result["candidates"]
    assert f"Chosen: {result['choice']}" in out and "latency" in out
    train, validation = split_table(data.train)
    assert result["validation_sha256"] == hash_indices(read_column(validation, "index"))
    for each in result["candidates"].values():
        assert each["probe"]["images"] == 200 and 0 <= each["probe"]["accuracy"] <= 1
        assert len(each["base_model"]["weights_sha256"]) == 64
        assert {"latency_seconds", "images_per_second", "feature_seconds", "load_seconds"} <= set(each["cost"])
    tuned = result["candidates"][result["choice"]]
    assert tuned["fine_tuning"]["validation_images"] == 100 and tuned["cost"]["fine_tuning_seconds"] > 0
    assert result["seconds"] < 60 * result["options"]["budget_minutes"] and result["environment"]["packages"]
    page = (tmp_path / "choice/selection.md").read_text()
    assert "bundled sample" in page and "McNemar" in page and "no/such" in page and "{{" not in page
    code, _, err = recipe(*command)
    assert code == 2 and "holds a finished selection" in err
    code, _, err = recipe(*command, "--overwrite=true", "--finalists=0")
    assert code == 0 and read(tmp_path)["stage"] == "probe", err


def test_an_interrupted_selection_goes_on(recipe, command, tmp_path, monkeypatch):
    probe, probed = trials.probe_features, []

    def count(*arguments, **options):
        probed.append(1)
        return probe(*arguments, **options)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "probe_features", count)
    with monkeypatch.context() as patch:
        patch.setattr(finalists, "fine_tune", interrupt)
        code, _, err = recipe(*command)
    assert code == 130 and "the same command goes on" in err and len(probed) == 2
    assert {path.name for path in (tmp_path / "choice").iterdir()} == {"progress.json"}
    spent = json.loads((tmp_path / "choice/progress.json").read_text())["seconds"]
    code, _, err = recipe(*command, "--seed=1")
    assert code == 2 and "an unfinished selection with other options" in err
    code, _, err = recipe(*command)
    assert code == 0, err
    assert len(probed) == 2 and read(tmp_path)["stage"] == "fine_tuning" and read(tmp_path)["seconds"] > spent > 0
    assert {path.name for path in (tmp_path / "choice").iterdir()} == FILES


def test_none_left_is_one_line(recipe, tmp_path):
    options = ["--dataset=sample", f"--output_dir={tmp_path}/choice", "--candidates", "no/such", "nor/this"]
    code, _, err = recipe("choose_backbone.py", *options)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1 and "none of the candidates can be used (no/such: " in lines[0]
    assert "Traceback" not in err and not (tmp_path / "choice").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget_minutes=0"], "budget_minutes=0.0 is out of range"),
        (["--candidates", "a", "a"], "each of them once"),
        (["--validation_size=0"], "validation_size=0"),
        (["--translate=32"], "translate=32 pixels is out of range"),
        (["--cheaper_by=luck"], "invalid choice: 'luck'"),
        (["--budget=3"], "unknown option 'budget'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(recipe, tmp_path, options, message):
    code, _, err = recipe("choose_backbone.py", "--dataset=sample", f"--output_dir={tmp_path}/choice", *options)
    assert code == 2 and message in err and "Traceback" not in err and not (tmp_path / "choice").exists()


def test_a_foreign_folder_is_left_alone(recipe, tmp_path):
    (tmp_path / "mine.txt").write_text("")
    code, _, err = recipe("choose_backbone.py", "--dataset=sample", f"--output_dir={tmp_path}", "--overwrite=true")
    assert code == 2 and "holds other files" in err


def test_a_budget_that_is_too_small_still_gives_a_result(recipe, command, tmp_path):
    code, _, err = recipe(*command, "--subset=900", "--budget_minutes=0.011")
    assert code == 0, err
    result = read(tmp_path)
    assert result["stage"] == "probe" and result["notes"] and len(result["plans"]["probe"]["names"]) == 1
    assert result["candidates"][result["choice"]]["probe"]["images"] < 300


def test_slow_finalists_are_left_out(monkeypatch):
    record = {
        "candidates": {
            name: {"cost": {"images_per_second": rate, "load_seconds": 1.0}}
            for name, rate in (("a", 100.0), ("b", 0.1))
        },
        "plans": {"probe": {"images": 1000}},
    }
    said = []
    setting = SimpleNamespace(
        options=SelectionArguments(["a", "b"], epochs=2), record=record, left=200.0, least=200, device=None,
        precision="fp32", note=said.append, leave_out=lambda name, reason: said.append(f"{name}: {reason}"),
    )  # fmt: skip
    monkeypatch.setattr(finalists, "load_candidate", lambda *_: (None, SimpleNamespace(image_size=8), None))
    monkeypatch.setattr(finalists, "measure_training_step", lambda *_, limit: 0.1)
    planned = finalists.plan_fine_tuning(setting, ["b", "a"])
    assert planned["names"] == ["a"] and 700 < planned["images"] < 1000 and planned["seconds"]["a"] < 200
    assert said[0].startswith("b: a few training steps") and said[1].startswith("the budget allows fine-tuning on")


def make_result(count: int) -> dict:
    candidates = {}
    for position in range(count):
        scores = {"accuracy": 0.9 - 0.02 * position, "standard_error": 0.004}
        cost = {
            "images_per_second": 1000.0 / (position + 1), "latency_seconds": 0.004, "flops_per_image": 4e8,
            "parameters": 5e6, "training_memory_bytes": 2**30, "throughput_batch_size": 64, "feature_seconds": 12.0,
        }  # fmt: skip
        each = {"cost": cost, "image_size": 224, "probe": scores}
        if position < 2:
            each["fine_tuning"] = scores | {"accuracy": scores["accuracy"] + 0.05}
            cost["fine_tuning_seconds"] = 100.0
        candidates[f"owner/a-model-with-a-long-name-{position}"] = each
    return {"candidates": candidates, "choice": "owner/a-model-with-a-long-name-1"}


def test_the_chosen_one_comes_first_and_the_rest_in_order():
    result = make_result(8)
    names = list(result["candidates"])
    assert reporting.rank(result) == [names[1], names[0], *names[2:]]
    rows = reporting.make_rows(result)
    assert rows[1][:3] == (f"{names[1]} (chosen)", "88.0 ± 0.4 %", "93.0 ± 0.4 %") and rows[3][2] == "–"
    assert all(len(line) < 130 for line in reporting.format_selection(result).splitlines())


def test_each_candidate_has_a_style_of_its_own(tmp_path):
    figure = reporting.draw_selection(make_result(8))
    handles = figure.axes[0].get_legend_handles_labels()[0]
    assert len({(handle.get_color(), handle.get_marker()) for handle in handles}) == len(handles) == 8
    reporting.save_figure(figure, tmp_path / "selection.png")


def test_help_explains_and_the_recipe_stays_thin(recipe):
    code, out, _ = recipe("choose_backbone.py", "--help")
    assert code == 0 and "python recipes/choose_backbone.py" in out and "--cheaper_by" in out
    assert len((ROOT / "recipes/choose_backbone.py").read_text().splitlines()) <= 90
