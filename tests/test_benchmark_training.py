"""The training benchmark runs to its end on a tiny network, and says what it measured."""

import json

import pytest

from hf_cifar.benchmarks.summaries import describe_data, describe_training

from .conftest import TINY_CNN

WAYS = {"plain loop", "bare loop", "Trainer recipe", "usual Trainer"}
TRAINING = {
    "ways": {
        "plain loop": {"median": 1000.0, "min": 900.0, "max": 1100.0},
        "usual Trainer": {"median": 250.0, "min": 240.4, "max": 260.0},
    },
    "overhead": {"median": 0.0214, "min": -0.01, "max": 0.05},
    "speedup": {"usual Trainer": {"median": 7.987, "min": 7.5, "max": 8.25}},
    "sizes": {"20": {"median": 4321.0, "min": 4000.0, "max": 5000.0}},
    "flops_per_image": 500_000_000,
    "matmul_flops": {"median": 2e12, "min": 1e12, "max": 3e12},
}


@pytest.fixture
def options(tmp_path):
    model = {**TINY_CNN, "hidden_sizes": [8, 8]}
    return [
        "--dataset=sample", f"--model_config={json.dumps(model)}", "--per_device_train_batch_size=20",
        '--progressive_resizing={"0": 16, "0.5": 32}', "--train_fraction=0.2",
    ]  # fmt: skip


def test_it_measures_every_way_and_writes_json(recipe, options, tmp_path):
    file = tmp_path / "figures/training.json"
    code, out, err = recipe("benchmark.py", "train", *options, "--rounds=2", "--steps=2", f"--json={file}")
    assert code == 0, err
    figures = json.loads(file.read_text())
    assert set(figures["ways"]) == WAYS and set(figures["sizes"]) == {"16", "32"}
    assert set(figures["speedup"]) == {"plain loop", "usual Trainer"} and figures["batch_size"] == 20
    summaries = [*figures["ways"].values(), *figures["sizes"].values(), *figures["speedup"].values()]
    for summary in [*summaries, figures["matmul_flops"]]:
        assert 0 < summary["min"] <= summary["median"] <= summary["max"]
    assert figures["overhead"]["min"] <= figures["overhead"]["median"] <= figures["overhead"]["max"]
    assert figures["dataset"] == "cifar10-sample" and figures["environment"]["precision"] in ("bf16", "fp32", "fp16")
    # Multiply-adds count two: stem 31^2, the first convolution 31^2, the others 15^2 and 7^2, and the head; backward
    # costs as much again for weights and inputs, but for the frozen stem's weights and the images.
    stem, stages = 2 * 31**2 * 24 * 12, 2 * 9 * (31**2 * 24 * 8 + 15**2 * 8 * 8 + 15**2 * 8 * 8)
    assert figures["flops_per_image"] == stem + 3 * stages + 3 * 2 * 8 * 10
    assert all(f"{name} " in out for name in WAYS) and "bare loop at 16 px" in out


def test_a_profile_is_a_table_of_operators_and_no_more(recipe, options, tmp_path):
    code, out, err = recipe("benchmark.py", "train", *options, "--profile", f"--json={tmp_path}/new/figures.json")
    assert code == 0, err
    assert "aten::" in out and "Self CPU" in out and "convolution" in out
    assert "images/s" not in out and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--steps=1", "rounds=7, steps=1, scale=1: allowed are 1 or more, 2 or more, and 0.01 to 100"),
        ("--rounds=0", "rounds=0, steps=4"),
        ("--rounds=many", "invalid int value: 'many'"),
        ("--model_name_or_path=anything", "the benchmark measures a CifarCnn; leave it out"),
        ("--per_device_train_batch_size=201", "per_device_train_batch_size=201 is more than the 200 training images"),
        ("--gradient_accumulation_steps=2", "the bare loop does not accumulate; leave it out"),
        ('--progressive_resizing={"0": 16, "0.5": 24}', "progressive_resizing ends at 24 pixels"),
    ],
)
def test_bad_options_are_one_line(recipe, options, tmp_path, option, message):
    options = [each for each in options if not (option.startswith("--model_name") and "model_config" in each)]
    options += ["--model_config={}"] if option.startswith("--model_name") else []
    code, _, err = recipe("benchmark.py", "train", *options, option, f"--json={tmp_path}/new/figures.json")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1 and message in lines[0]
    assert "Traceback" not in err and not (tmp_path / "new").exists()


def test_the_training_summary():
    environment = {"hardware": "A CPU", "precision": "bf16", "date": "2026-11-24"}
    assert describe_training(environment, TRAINING).splitlines() == [
        "A CPU, bf16, 2026-11-24; images/s, medians (min to max)",
        "a matrix product reaches 2.00 TFLOP/s; an image's step takes 0.50 GFLOP (of direct convolution)",
        "plain loop       1,000 (900 to 1,100): 0.50 TFLOP/s, 25% of the matrix product's",
        "usual Trainer    250 (240 to 260): 0.12 TFLOP/s, 6% of the matrix product's",
        "Trainer's overhead over the bare loop: 2.1% (-1.0% to 5.0%)",
        "Trainer recipe against usual Trainer: 7.99 (7.50 to 8.25) times as fast",
        "bare loop at 20 px: 4,321 (4,000 to 5,000)",
    ]


def test_the_data_summary():
    case = {
        "usual": {"median": 100.0, "min": 90.0, "max": 110.0},
        "ours": {"median": 4000.0, "min": 3900.0, "max": 4100.0},
    }
    results = {
        "pipelines": {"32 pixels": case | {"speedup": {"median": 40.04, "min": 36.0, "max": 44.0}}},
        "training_step": {"batch_size": 1000, "share": {"median": 0.0123, "min": 0.01, "max": 0.02}},
        "memory": {"added_bytes": 12_400_000},
    }
    assert describe_data({"hardware": "A CPU", "date": "2026-11-24"}, results).splitlines() == [
        "A CPU, 2026-11-24; medians (min to max)",
        f"{'32 pixels':<36} usual 100 (90 to 110)/s  ours 4,000 (3,900 to 4,100)/s  40.0 (36.0 to 44.0) times",
        "share of a training step (1000 images): 1.2% (1.0% to 2.0%)",
        "memory added by loading the training images and reading all of them: 12 MB",
    ]
