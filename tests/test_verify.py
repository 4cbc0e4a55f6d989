"""Checking a published model: what is as it was published passes, and whatever was altered is named."""

import errno
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from hf_cifar.arguments import SourceArguments
from hf_cifar.errors import HubError
from hf_cifar.evaluation.results import read_results
from hf_cifar.models.loading import hash_weights, load_model
from hf_cifar.publishing import stranger
from hf_cifar.publishing.agreement import compare_metrics, compare_predictions, find_failures, format_checks
from hf_cifar.publishing.checks import list_files
from hf_cifar.publishing.verify import match_place, verify_model

from .hub_server import WRITE, Fault, connect, start_hub

NAME = "user/cnn"


@pytest.fixture(scope="module")
def run(cnn_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "run"
    shutil.copytree(cnn_run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


@pytest.fixture(scope="module")
def server(run):
    with start_hub({NAME: run}) as server:
        yield server


@pytest.fixture
def hub(server):
    server.faults.clear()
    with connect(server) as waits:
        yield server, waits


def edit_json(path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def alter_weights(folder) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.startswith("classifier"))
    weights[name] = weights[name] + np.float32(1e-4)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def alter_accuracy(folder) -> None:
    edit_json(folder / "results.json", lambda value: value["metrics"]["test"]["accuracy"].update(value=0.99))


def alter_class(folder) -> None:
    def change(value: dict) -> None:
        value["metrics"]["test"]["per_class"]["cat"]["f1"]["high"] += 0.001

    edit_json(folder / "results.json", change)


def alter_card_text(folder) -> None:
    card = (folder / "README.md").read_text()
    accuracy = 100 * read_results(folder)["metrics"]["test"]["accuracy"]["value"]
    (folder / "README.md").write_text(card.replace(f"{accuracy:.2f} %", "98.75 %"))


def alter_card_index(folder) -> None:
    card = (folder / "README.md").read_text()
    index = """model-index:
- name: x
  results:
  - task: {type: image-classification}
    dataset: {name: CIFAR-10, type: uoft-cs/cifar10}
    metrics: [{type: f1, name: macro f1, value: 0.9875}]
"""
    (folder / "README.md").write_text(card.replace("---\n", f"---\n{index}", 1))


def alter_code(folder) -> None:
    with (folder / "modeling_cifar_cnn.py").open("a") as file:
        file.write("\nraise SystemExit('this ran')\n")


def alter_code_name(folder) -> None:
    edit_json(folder / "config.json", lambda value: value["auto_map"].update(AutoConfig="other/repo--code.Config"))


def alter_predictions(folder) -> None:
    path = folder / "predictions" / "test.parquet"
    frame = pd.read_parquet(path)
    columns = [name for name in frame if name.startswith("probability_")]
    frame.loc[7, columns] = np.roll(frame.loc[7, columns].to_numpy(), 1)
    frame.to_parquet(path, index=False)


def alter_labels(folder) -> None:
    path = folder / "predictions" / "test.parquet"
    frame = pd.read_parquet(path)
    frame.assign(label=frame["label"].replace(3, 5)).to_parquet(path, index=False)


def alter_hash(folder) -> None:
    edit_json(folder / "results.json", lambda value: value["data"]["hashes"]["test"].update(images="0" * 64))


@pytest.mark.parametrize(
    ("alter", "pattern"),
    [
        (alter_weights, "^model.safetensors, SHA-256 of the weights: "),
        (alter_accuracy, r"metrics.test from its predictions.accuracy.value: 0.990000 published, 0\.\d+ found"),
        (alter_class, "from its predictions.per_class.cat.f1.high: "),
        (alter_card_text, "^README.md: a valid card published, README.md: its text does not say .*the accuracy"),
        (alter_card_index, "^README.md: .*its model-index says macro f1 0.9875, results.json 0"),
        (alter_code, "^Python files: .* modeling_cifar_cnn.py is not this version's own found"),
        (alter_code_name, "^Python files: .*config.json names other Python code than "),
        (alter_predictions, "^metrics.test from its predictions"),
        (alter_labels, "^predictions of metrics: label: as the test images' published, 50 differ found"),
        (alter_hash, "^test images, SHA-256: 0000000000000000... published"),
    ],
)
def test_what_was_altered_is_named(alter, pattern, copy, hub):
    alter(copy)
    assert re.search(pattern, find_failures(verify_model(str(copy), subset=20)))


def test_a_fresh_copy_is_reproduced_exactly_and_its_table_says_so(recipe, hub):
    code, out, err = recipe("verify.py", NAME)
    assert code == 0, err
    assert re.search(r"metrics\.test\.accuracy\.value +0\.\d{6} +0\.\d{6} +1e-09 +yes", out)
    assert re.search("images with another class, of 500 +0 ", out) and "checks are reproduced" in out
    assert WRITE not in out + err


def test_an_altered_copy_is_exit_code_1_and_bad_input_2(recipe, copy, hub):
    alter_weights(copy)
    code, out, err = recipe("verify.py", copy, "--subset=10")
    assert code == 1 and "NO" in out and "model.safetensors" in err.strip().splitlines()[-1]
    for arguments in ([copy, "--subset=0"], [copy, "--revision=v1"], ["a/b/c"], [copy / "figures"]):
        code, _, err = recipe("verify.py", *arguments)
        assert code == 2 and len(err.strip().splitlines()) == 1
    (copy / "pytorch_model.bin").write_bytes(b"pickle")
    code, _, err = recipe("verify.py", copy)
    assert code == 2 and "pytorch_model.bin, a kind of file that can run code" in err


@pytest.mark.parametrize(
    ("fault", "pattern"),
    [
        (Fault("GET .*/resolve/.*safetensors", corrupt=True, times=9), "model.safetensors came with another checksum"),
        (Fault("/resolve/.*results.json", stall=True, times=99), "downloading: no answer in time"),
        (Fault("/resolve/", status=403, times=99), "downloading: 403: the token is not allowed to read 'user/cnn'"),
        (Fault("GET .*/tree/", status=500, times=99), "reading: 500: the Hub has a problem, after retries"),
    ],
)
def test_a_copy_that_does_not_come_is_one_line(fault, pattern, hub, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download._ETAG_RETRY_TIMEOUT", 0.3)  # the client's own second try
    hub[0].faults.append(Fault(**vars(fault)))
    with pytest.raises(HubError, match=pattern) as caught:
        verify_model(NAME, timeout=1 if fault.stall else 20)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_what_passes_is_waited_for(hub):
    hub[0].faults.append(Fault("GET .*/tree/", status=429, headers={"Retry-After": "17"}))
    assert not find_failures(verify_model(NAME, subset=5)) and 18 in hub[1]  # the client adds one


def test_a_full_disk_is_one_line_and_nothing_stays(recipe, hub, monkeypatch, tmp_path):
    def fail(*arguments, **options) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, _, err = recipe("verify.py", NAME)
    assert code == 2 and "No space left on device" in err.strip().splitlines()[-1] and not list(tmp_path.iterdir())


def test_the_process_has_no_package_no_token_and_no_code_without_leave(copy, monkeypatch):
    made, popen = [], subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *words, **options: made.append((words, options)) or popen(*words, **options)
    )
    monkeypatch.setenv("HF_TOKEN", WRITE)
    with (copy / "modeling_cifar_cnn.py").open("a") as file:
        file.write("""
try:
    import hf_cifar
except ImportError:
    import os, sys
    raise RuntimeError(f"no package; token {os.environ.get('HF_TOKEN')}; cwd {os.getcwd() in sys.path}")
""")
    with (
        pytest.raises(stranger.StrangerError, match="no package; token None; cwd False"),
        stranger.open_stranger(copy, run_code=True),
    ):
        pass
    assert WRITE not in str(made)


def test_the_weights_hash_is_the_one_that_runs_record(copy):
    model, _ = load_model(str(copy))
    assert stranger.hash_weights(model) == hash_weights(model) == read_results(copy)["model"]["weights_sha256"]


def test_other_hardware_is_given_what_rounding_moves_and_no_more(copy):
    results = read_results(copy)
    metrics = results["metrics"]["test"]
    assert match_place(results["environment"])[1] and not match_place(results["environment"] | {"hardware": "x"})[1]
    moved = json.loads(json.dumps(metrics))
    moved["accuracy"]["value"] += 3 / 500
    assert find_failures(compare_metrics("test", metrics, moved, exact=True))
    assert not find_failures(compare_metrics("test", metrics, moved, exact=False))
    moved["accuracy"]["value"] += 3 / 500
    assert "test.accuracy.value" in find_failures(compare_metrics("test", metrics, moved, exact=False))
    moved["num_images"] += 1
    failed = find_failures(compare_metrics("test", metrics, moved, exact=False))
    assert "num_images" in failed and "num_images" in format_checks(
        compare_metrics("test", metrics, moved, exact=False)
    )
    frame = pd.read_parquet(copy / "predictions" / "test.parquet")
    shifted = frame.copy()
    columns = [name for name in frame if name.startswith("probability_")]
    shifted.loc[:4, columns] = 1 - shifted.loc[:4, columns]
    assert not find_failures(list(compare_predictions("metrics", frame, shifted, exact=False)))
    assert find_failures(list(compare_predictions("metrics", frame, shifted, exact=True)))


def test_predictions_are_not_needed(copy, hub):
    shutil.rmtree(copy / "predictions")
    assert "predictions/test.parquet" not in list_files(copy)
    checks = verify_model(str(copy), source=SourceArguments("sample"), exactness="rounded")
    assert not find_failures(checks) and any(check.name == "metrics.test.macro.f1.value" for check in checks)
