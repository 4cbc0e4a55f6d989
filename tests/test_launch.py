"""Training under accelerate launch."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from hf_cifar.evaluation.results import read_results

from .conftest import ROOT


def test_two_processes_train_the_same_model_as_one_and_one_writes(recipe, tmp_path):
    """Half the batch in each of two processes is the whole batch in one: same images, augmentation and gradients."""
    model = {"stem": "whitening", "hidden_sizes": [8, 8], "depths": [1, 1], "classifier_hidden_sizes": []}
    model = json.dumps(model | {"final_pooling": "average"})
    options = [
        "--dataset=sample",
        f"--model_config={model}",
        "--augmentation=strong",
        "--translate=3",
        "--optimizer=sgd",
        "--whitening_bias_epochs=1",
        '--progressive_resizing={"0": 24, "0.5": 32}',
        "--ema_decay=0.9",
    ]
    options += [
        "--learning_rate=0.05",
        "--num_train_epochs=2",
        "--bf16=false",
        "--use_cpu=true",
        "--disable_tqdm=true",
    ]
    code, _, err = recipe("train.py", *options, "--per_device_train_batch_size=90", f"--output_dir={tmp_path}/one")
    assert code == 0, err
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "recipes/launch/cpu.yaml"]
    command += ["recipes/train.py", *options, "--per_device_train_batch_size=45", f"--output_dir={tmp_path}/two"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("2 process(es)") == result.stdout.count("Test accuracy") == 1
    one, two = (read_results(tmp_path / name) for name in ("one", "two"))
    assert two["environment"]["world_size"] == 2
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=1e-3, msg=name)
    assert two["metrics"]["test"]["accuracy"]["value"] == pytest.approx(
        one["metrics"]["test"]["accuracy"]["value"], abs=0.01
    )
