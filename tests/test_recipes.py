"""The recipes as a user runs them: complete run folders, honest messages, nothing lost."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from transformers import AutoModelForImageClassification

from hf_cifar.evaluation.results import read_results
from hf_cifar.models.loading import hash_weights

from .conftest import ROOT

RUN_FILES = {
    "README.md", "checkpoints", "config.json", "figures", "model.safetensors", "predictions",
    "preprocessor_config.json", "results.json",
}  # fmt: skip


@pytest.mark.parametrize("run", ["cnn_run", "frozen_run"])
def test_a_run_folder_is_complete(run, request):
    folder = request.getfixturevalue(run)
    code = {path.name for path in folder.glob("*.py")}
    assert {path.name for path in folder.iterdir()} - code == RUN_FILES
    results = read_results(folder)
    assert len(code) == (2 if results["model"]["type"] == "cifar_cnn" else 0)
    assert results["data"]["sizes"] == {"train": 900, "validation": 100, "test": 500}
    assert results["model"]["weights_sha256"] == hash_weights(AutoModelForImageClassification.from_pretrained(folder))
    frame = pd.read_parquet(folder / "predictions/test.parquet")
    right = (frame.filter(like="probability_").to_numpy().argmax(1) == frame["label"]).mean()
    assert right == pytest.approx(results["metrics"]["test"]["accuracy"]["value"])
    figures = {path.name for path in (folder / "figures").iterdir()}
    examples = {name for name in figures if name.startswith("example_")}
    assert figures - examples == {"confusion_matrix.png", "learning_curves.png"} and len(examples) == 3


def test_the_frozen_backbone_learns_and_stays_frozen(frozen_run):
    results = read_results(frozen_run)
    assert results["metrics"]["test"]["accuracy"]["value"] > 0.5  # by chance: 0.1
    assert results["model"]["base_model"]["name"] == "offline:efficientnet-lite0"
    from hf_cifar.models.loading import find_classifier, load_model

    base, _ = load_model("offline:efficientnet-lite0")
    trained, _ = load_model(str(frozen_run))
    assert hash_weights(trained, find_classifier(trained)) == hash_weights(base, find_classifier(base))


@pytest.mark.parametrize("checkpoint", ["tiny_vit", "tiny_convnext"])
@pytest.mark.parametrize("finetune", ["full", "head"])
def test_vit_and_convnext_go_the_whole_path(recipe, checkpoint, finetune, request, tmp_path):
    model = request.getfixturevalue(checkpoint)
    options = ["--dataset=sample", f"--model_name_or_path={model}", f"--finetune={finetune}", "--num_train_epochs=1"]
    options += ["--bf16=false", "--learning_rate=0.001", "--disable_tqdm=true", f"--output_dir={tmp_path}/run"]
    options += ["--label_smoothing_factor=0.1"]  # the Trainer then looks into the model's config
    code, out, err = recipe("train.py", *options)
    assert code == 0, err
    assert "this is the bundled sample, not CIFAR-10" in out and "1 process(es)" in out
    code, out, err = recipe("eval.py", tmp_path / "run", "--dataset=sample", "--precision=fp32")
    assert code == 0, err
    accuracy = read_results(tmp_path / "run")["metrics"]["test"]["accuracy"]["value"]
    assert f"accuracy {100 * accuracy:.2f} %" in out
    for words in ("top-5 accuracy", "Cohen's kappa", "ROC-AUC", "Brier score", "temperature scaling", "confusion"):
        assert words in out


def test_the_same_command_gives_the_same_weights(recipe, tiny_config, cnn_run, tmp_path):
    code, _, err = recipe("train.py", "--config", tiny_config, f"--output_dir={tmp_path}/again")
    assert code == 0, err
    first, again = (read_results(folder)["model"]["weights_sha256"] for folder in (cnn_run, tmp_path / "again"))
    assert first == again


def test_a_killed_run_resumes_to_the_same_weights(recipe, tiny_config, cnn_run, tmp_path):
    folder = tmp_path / "run"
    program = (
        "import os, runpy, sys\n"
        "from transformers import Trainer\n"
        "save = Trainer._save_checkpoint\n"
        "def save_and_die(self, *arguments):\n"
        "    save(self, *arguments)\n"
        "    os._exit(9)\n"
        "Trainer._save_checkpoint = save_and_die\n"
        "sys.argv[0] = 'recipes/train.py'\n"
        "runpy.run_path('recipes/train.py', run_name='__main__')\n"
    )
    options = ["--config", str(tiny_config), f"--output_dir={folder}"]
    assert subprocess.run([sys.executable, "-c", program, *options], cwd=ROOT, capture_output=True).returncode == 9
    code, _, err = recipe("train.py", *options)
    assert code == 2 and "holds an unfinished run" in err
    code, _, err = recipe("train.py", *options, "--resume_from_checkpoint=true")
    assert code == 0, err
    state = json.loads(next(folder.glob("checkpoints/*/trainer_state.json")).read_text())
    before = state["stateful_callbacks"]["Stopwatch"]["attributes"]["seconds_before"]
    assert read_results(folder)["cost"]["train_seconds"] >= before > 0
    assert read_results(folder)["model"]["weights_sha256"] == read_results(cnn_run)["model"]["weights_sha256"]


def test_training_without_validation_is_a_final_run(recipe, tiny_config, tmp_path):
    options = [
        "--config",
        tiny_config,
        f"--output_dir={tmp_path}/final",
        "--validation_size=0",
        "--num_train_epochs=1",
    ]
    code, _, err = recipe("train.py", *options)
    assert code == 0, err
    results = read_results(tmp_path / "final")
    assert results["recipe"]["selection"] == "last epoch" and results["data"]["validation_sha256"] is None
    assert set(results["metrics"]) == {"test"} and results["data"]["sizes"]["train"] == 1000


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train.py", ["--config=recipes/none.yaml"], "'recipes/none.yaml' does not exist"),
        ("train.py", ["--dataset=cifar11"], "dataset 'cifar11' is neither"),
        ("train.py", ["--dataset=sample", "--model_name_or_path=no/such"], "not in the Hub's cache"),
        ("train.py", ["--dataset=sample", "--model_config={\"stem\": 1}"], "model_config is not valid"),
        ("train.py", ["--dataset=sample", "--metric_for_best_model=f2"], "metric_for_best_model"),
        ("train.py", ["--per_device_train_batch_size=0"], "per_device_train_batch_size=0 is out of range"),
        ("train.py", ["--num_train_epochs=0"], "num_train_epochs=0"),
        ("train.py", ["--push_to_hub=true"], "needs --hub_model_id USER/NAME"),
        ("train.py", ["--push_to_hub=true", "--hub_model_id=cnn"], "allowed: USER/NAME"),
        ("train.py", ["--push_to_hub=true", "--hub_model_id=user/cnn"], "the Hub cannot be reached, or you are not"),
        ("train.py", ["--hub_model_id=user/cnn"], "hub_model_id needs push_to_hub: true"),
        ("train.py", ["--hub_token=x"], "hub_token has no effect here; leave it out (log in by"),
        ("eval.py", ["no/such/run"], "is not a folder"),
        ("eval.py", [], "MODEL"),
        ("compare.py", ["runs/none", "runs/none2"], "'runs/none' holds no results.json"),
        ("explore.py", ["--dataset=cifar11"], "dataset 'cifar11' is neither"),
        ("explore.py", ["--dataset=sample", "--map_images=2"], "map_images=2 is too few"),
        ("explore.py", ["--dataset=sample", "--reference_data=nowhere"], "nowhere"),
        ("explore.py", ["--dataset=sample", "--translate=32"], "translate=32 pixels is out of range"),
        ("benchmark.py", ["data", "--rounds=0"], "rounds=0"),
        ("benchmark.py", ["speed"], "invalid choice: 'speed'"),
        ("quickstart.py", ["--dataset=cifar11"], "dataset 'cifar11' is neither"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(recipe, script, arguments, message, tmp_path):
    code, _, err = recipe(script, *arguments, f"--output_dir={tmp_path}/out")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1 and message in lines[0], err
    assert "Traceback" not in err and not (tmp_path / "out").exists()


def test_another_runs_folder_is_left_alone(recipe, tiny_config, cnn_run):
    before = {path: path.stat().st_mtime_ns for path in cnn_run.rglob("*")}
    code, _, err = recipe("train.py", "--config", tiny_config, f"--output_dir={cnn_run}")
    assert code == 2 and "holds a finished run" in err
    # Input that is bad for another reason does not delete the run either, though it might be replaced.
    code, _, err = recipe("train.py", f"--output_dir={cnn_run}", "--overwrite_run", "--dataset=nope")
    assert code == 2 and "dataset 'nope'" in err
    assert {path: path.stat().st_mtime_ns for path in cnn_run.rglob("*")} == before


def test_eval_writes_only_where_it_is_told(recipe, cnn_run, tmp_path):
    options = ["--dataset=sample", "--split=validation", f"--output_dir={tmp_path}/new"]
    code, out, err = recipe("eval.py", cnn_run, *options)
    assert code == 0, err
    metrics = json.loads((tmp_path / "new/metrics.json").read_text())
    assert metrics["validation"]["num_images"] == 100 and "confusion matrix" in out
    assert (tmp_path / "new/predictions/validation.parquet").is_file()
    assert "temperature" not in out  # it would be fitted and judged on the same images
    code, _, err = recipe("eval.py", cnn_run, *options)
    assert code == 2 and "holds other files" in err


def test_compare_and_explore_write_their_pages(recipe, cnn_run, frozen_run, tmp_path):
    code, out, err = recipe("compare.py", cnn_run, frozen_run, f"--output_dir={tmp_path}/comparison")
    assert code == 0, err
    assert "Tiny CNN" in out and "report.html" in out and (tmp_path / "comparison/report.html").is_file()
    code, _, err = recipe("explore.py", "--dataset=sample", f"--output_dir={tmp_path}/explore")
    assert code == 0, err
    names = {path.name for path in (tmp_path / "explore").iterdir()}
    assert names == {"index.html", "figures", "README.md"}
    card = (tmp_path / "explore/README.md").read_text()
    assert "size_categories: 1K<n<10K" in card and "1,500 images of 32 × 32 pixels in 10 classes" in card


def test_explore_checks_and_writes_nothing(recipe, tmp_path):
    code, out, err = recipe("explore.py", "--check", "--dataset=sample", f"--output_dir={tmp_path}/explore")
    assert code == 0, err
    assert "train images: SHA-256 a21d9d2b" in out and "Verdict: " in out.splitlines()[-1]
    assert not (tmp_path / "explore").exists()


def test_benchmark_alternates_and_writes_json(recipe, tmp_path):
    options = ["--dataset=sample", "--rounds=2", "--scale=0.02", "--per_device_train_batch_size=100"]
    code, out, err = recipe("benchmark.py", "data", *options, f"--json={tmp_path}/figures.json")
    assert code == 0, err
    figures = json.loads((tmp_path / "figures.json").read_text())
    for case in figures["pipelines"].values():
        assert case["speedup"]["min"] <= case["speedup"]["median"] <= case["speedup"]["max"]
    assert 0 < figures["training_step"]["share"]["median"] < 1 and figures["memory"]["added_bytes"] > 0
    assert "times" in out and "share of a training step (100 images)" in out


@pytest.mark.parametrize(
    "script",
    [
        "train.py",
        "eval.py",
        "compare.py",
        "explore.py",
        "quickstart.py",
        "benchmark.py",
        "choose_backbone.py",
        "export.py",
        "demo.py",
        "search.py",
        "push.py",
        "verify.py",
    ],
)
def test_help_explains(recipe, script):
    code, out, _ = recipe(script, "--help")
    assert code == 0 and f"python recipes/{script}" in out


def test_recipes_stay_thin():
    for path in (ROOT / "recipes").glob("*.py"):
        if path.name != "walkthrough.py":  # the lesson, mostly prose
            assert len(path.read_text().splitlines()) <= 90, path.name


def test_a_second_comparison_replaces_the_first_and_nothing_else(recipe, cnn_run, frozen_run, tmp_path):
    folder = tmp_path / "comparison"
    pages = []
    for runs in ((cnn_run, frozen_run), (frozen_run, cnn_run)):
        code, _, err = recipe("compare.py", *runs, "--no_models", f"--output_dir={folder}")
        assert code == 0, err
        pages.append((folder / "figures/confusion_matrices.png").read_bytes())
    assert pages[0] != pages[1]
    code, _, err = recipe("compare.py", cnn_run, frozen_run, f"--output_dir={cnn_run}")
    assert code == 2 and "holds other files" in err


def test_validation_images_are_those_the_run_kept(recipe, tiny_config, tmp_path):
    options = ["--config", tiny_config, "--num_train_epochs=1", "--early_stopping_patience=0"]
    code, _, err = recipe("train.py", *options, "--split_seed=5", f"--output_dir={tmp_path}/run")
    assert code == 0, err
    code, _, err = recipe(
        "eval.py", tmp_path / "run", "--dataset=sample", "--split=validation", f"--output_dir={tmp_path}/e"
    )
    assert code == 0, err
    kept, evaluated = (
        pd.read_parquet(tmp_path / name / "predictions/validation.parquet")["index"].tolist() for name in ("run", "e")
    )
    assert kept == evaluated
