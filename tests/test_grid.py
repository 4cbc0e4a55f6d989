"""A sweep: all combinations, each run once by one of the processes, failures told, and a comparison."""

import json
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hf_cifar.errors import UserError
from hf_cifar.evaluation.comparison import compare_runs
from hf_cifar.files import write_json
from hf_cifar.search import grid
from hf_cifar.search.claims import claim_work, list_claims, read_claim
from hf_cifar.search.grid import FINISHED, compare_cells, open_grid, read_grid, run_grid
from hf_cifar.search.processes import identify_process

from .conftest import ROOT, run_recipe
from .made_runs import make_run
from .test_search_storage import make_dead_process

GRACE = 40.0
# Stands for train.py: writes results.json, or fails where the optimizer is sgd, and notes who ran it.
SCRIPT = """
import os, sys, time
from pathlib import Path
options = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:] if "=" in word)
folder = Path(options["output_dir"])
folder.mkdir(parents=True, exist_ok=True)
with (folder.parent.parent / "runs.txt").open("a") as file:
    file.write(f"{folder.name} {sorted(set(options) - {'config', 'output_dir'})}\\n")
time.sleep(float(os.environ.get("SECONDS", 0)))
if options["optimizer"] == "sgd" and "HEALED" not in os.environ:
    sys.exit("error: this one fails")
(folder / "results.json").write_text("{}")
"""


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def cells(tmp_path) -> list[grid.Cell]:
    return read_grid(write(tmp_path, "{optimizer: [sgd, adam], seed: [0, 1], dataset: sample}"), [])


def write(folder: Path, text: str) -> Path:
    path = folder / "grid.yaml"
    path.write_text(text)
    return path


def read_tries(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "runs.txt").read_text().splitlines()]


def test_a_grid_has_all_combinations_and_names_for_them(tmp_path):
    text = """
config: [recipes/cnn/fast.yaml, recipes/cnn/baseline.yaml]
seed: [0, 1]
model_config: [{"depths": [1, 1, 1]}, null]
num_train_epochs: 3
lora_targets:
"""
    cells = read_grid(write(tmp_path, text), ["--dataset=sample"])
    assert len(cells) == 8 == len({cell.name for cell in cells})
    first = cells[0]
    assert first.name.startswith("cnn_fast-seed0-") and "/" not in first.name
    assert "--config=recipes/cnn/fast.yaml" in first.words and "--seed=0" in first.words
    assert "--num_train_epochs=3" in first.words and first.words[-2] == "--dataset=sample"
    names = {cell.words[-1] for cell in cells if "fast" in cell.name}
    assert len(names) == 2 and all("seed" not in name for name in names)  # seeds are of one model


def test_the_example_in_the_docs_is_a_grid(tmp_path):
    block = (ROOT / "docs/searching.md").read_text().split("    config: ")[1].split("\n\n")[0]
    cells = read_grid(write(tmp_path, textwrap.dedent(f"    config: {block}")), ["--dataset=sample"])
    assert len(cells) == 12 and all("--num_train_epochs=10" in cell.words for cell in cells)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "nothing to sweep over"),
        ("seed: 1", "nothing to sweep over"),
        ("seed: []", "nothing to sweep over"),
        ("seed: [1, 1]", "a value twice"),
        ("sed: [1, 2]", "did you mean 'seed'"),
        ("output_dir: [a, b]", "output_dir is set for each run"),
        ("optimizer: [sgd, adm]", "combination adm: .*invalid choice"),
        ("{seed: [0, 1], learning_rate: -1}", "combination seed0: learning_rate=-1.0 is out of range"),
        ("config: [recipes/none.yaml]", "'recipes/none.yaml' does not exist"),
        ("config: [recipes/cnn/fast.yaml, ./recipes/cnn/fast.yaml]", "two combinations would be called"),
    ],
)
def test_a_grid_that_train_would_refuse_is_refused_before_any_run(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_grid(write(tmp_path, text), [])


def test_failures_are_told_the_rest_goes_on_and_what_is_finished_is_not_repeated(
    tmp_path, script, cells, capsys, monkeypatch
):
    folder = tmp_path / "sweep"
    open_grid(folder, cells)
    outcomes = run_grid(cells, folder, script, GRACE)
    assert outcomes["adam-seed0"] == outcomes["adam-seed1"] == FINISHED
    assert "failed with 1: error: this one fails" in outcomes["sgd-seed0"]
    assert (folder / "logs/sgd-seed1.log").read_text() == "error: this one fails\n"
    assert sorted(read_tries(folder)) == sorted(cell.name for cell in cells)
    assert "4 of 4" in capsys.readouterr().out
    monkeypatch.setenv("HEALED", "1")
    assert set(run_grid(cells, folder, script, GRACE).values()) == {FINISHED}
    assert read_tries(folder)[4:] == ["sgd-seed0", "sgd-seed1"]  # the failed ones alone


def test_processes_share_a_grid(tmp_path, script, cells, monkeypatch):
    folder = tmp_path / "sweep"
    open_grid(folder, cells)
    monkeypatch.setenv("SECONDS", "0.3")
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda _: run_grid(cells, folder, script, 4), range(3)))
    assert sorted(read_tries(folder)) == sorted(cell.name for cell in cells)  # each once, failures too
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_a_claim_has_one_holder_until_its_process_is_gone(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(lambda _: claim_work(tmp_path, "a", GRACE), range(8)) if claim]
    assert len(claims) == 1
    (tmp_path / "a.claim-0").write_text(json.dumps(make_dead_process()))
    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(lambda _: claim_work(tmp_path, "a", GRACE), range(8)) if claim]
    assert [claim.path.name for claim in claims] == ["a.claim-1"]
    assert claim_work(tmp_path, "b", GRACE).path.name == "b.claim-0"


def test_a_claim_of_another_machine_is_stale_when_it_was_not_touched(tmp_path):
    path = tmp_path / "a.claim-0"
    path.write_text(json.dumps(identify_process() | {"machine": "another"}))
    assert claim_work(tmp_path, "a", GRACE) is None
    before = time.time() - GRACE - 5
    os.utime(path, (before, before))
    claim = claim_work(tmp_path, "a", GRACE)
    assert claim.path.name == "a.claim-1"
    os.utime(claim.path, (before, before))
    claim.beaten -= 100
    claim.beat(10)
    assert claim_work(tmp_path, "a", GRACE) is None  # its own process lives, and has touched it


@pytest.mark.slow
def test_a_killed_sweep_leaves_no_process_and_is_gone_on_with(tmp_path, script, cells):
    folder = tmp_path / "sweep"
    open_grid(folder, cells)
    program = (
        "import sys; from pathlib import Path; from hf_cifar.search.grid import Cell, run_grid\n"
        "cell = Cell('adam-seed0', ('--optimizer=adam',))\n"
        f"run_grid([cell], Path({str(folder)!r}), Path({str(script)!r}), 40)\n"
    )
    environment = os.environ | {"SECONDS": "600"}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (folder / "runs.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(0.2)
    running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(script).encode() in read_bytes(path)]
    assert not running
    outcomes = run_grid([cell for cell in cells if cell.name == "adam-seed0"], folder, script, GRACE)
    assert outcomes == {"adam-seed0": FINISHED}
    claims = list_claims(folder / "claims", "adam-seed0")
    assert len(claims) == 2 and read_claim(claims[1])["outcome"] == FINISHED


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_folder_of_another_grid_is_refused_and_a_larger_grid_goes_on(tmp_path, cells):
    folder = tmp_path / "sweep"
    open_grid(folder, cells[:2])
    open_grid(folder, cells)
    other = read_grid(write(tmp_path, "{optimizer: [sgd], seed: [0], dataset: auto}"), [])
    with pytest.raises(UserError, match="holds sgd-seed0 of another grid"):
        open_grid(folder, other)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        open_grid(folder, cells)


def test_the_finished_runs_are_compared_seeds_together(tmp_path, monkeypatch):
    def report(runs, data, folder, load_models) -> tuple:  # without pages and pictures
        write_json(folder / "comparison.json", compare_runs(runs))
        return compare_runs(runs), {"html": folder / "report.html"}

    monkeypatch.setattr(grid, "report_runs", report)
    folder, outcomes = tmp_path / "sweep", {"lost-seed0": "failed with 1: no"}
    for name, accuracy in (("muon", 0.9), ("adam", 0.6)):
        for seed in (0, 1):
            make_run(folder / f"runs/{name}-seed{seed}", name, accuracy=accuracy, seed=seed)
            outcomes[f"{name}-seed{seed}"] = FINISHED
    text = compare_cells(outcomes, folder, GRACE, load_models=False)
    comparison = json.loads((folder / "comparison/comparison.json").read_text())
    assert [model["name"] for model in comparison["models"]] == ["muon", "adam"] and "muon is better than adam" in text
    assert "no finished run" in compare_cells({"a": "failed"}, folder, GRACE)
    claim_work(folder / "claims", "comparison", GRACE)
    assert "Another process compares" in compare_cells(outcomes, folder, GRACE, load_models=False)


@pytest.mark.slow
def test_a_sweep_of_real_runs(tiny_config, tmp_path):
    path, folder = (
        write(tmp_path, f"{{config: [{tiny_config}], optimizer: [muon, sgd], seed: [0, 1]}}"),
        tmp_path / "s",
    )
    arguments = ["--grid", path, f"--output_dir={folder}", "--num_train_epochs=1"]
    assert run_recipe("search.py", *arguments, "--parameter_groups={}") == 0
    comparison = json.loads((folder / "comparison/comparison.json").read_text())
    assert sorted(model["name"] for model in comparison["models"]) == [
        "Tiny CNN, optimizer muon", "Tiny CNN, optimizer sgd",
    ]  # fmt: skip
    assert all(model["seeds"] == 2 for model in comparison["models"])
    assert {run.name for run in (folder / "runs").iterdir()} == {
        f"{tiny_config.parent.name}_tiny-{name}-seed{seed}" for name in ("muon", "sgd") for seed in (0, 1)
    }
