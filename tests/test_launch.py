"""Training under accelerate launch."""

import json
import signal

import pytest
import torch
from accelerate.commands.launch import launch_command, launch_command_parser
from safetensors.torch import load_file

from hf_cifar.evaluation.results import read_results

from .conftest import ROOT

MODEL = {"stem": "whitening", "hidden_sizes": [8, 8], "depths": [1, 1], "classifier_hidden_sizes": []}
OPTIONS = [
    "--dataset=sample",
    f"--model_config={json.dumps(MODEL | {'final_pooling': 'average'})}",
    "--augmentation=strong",
    "--translate=3",
    "--optimizer=sgd",
    "--whitening_bias_epochs=1",
    '--progressive_resizing={"0": 24, "0.5": 32}',
    '--hard_examples={"share": 0.6}',
    "--ema_decay=0.9",
    "--learning_rate=0.05",
    "--num_train_epochs=2",
    "--bf16=false",
    "--use_cpu=true",
    "--disable_tqdm=true",
]


@pytest.fixture
def launch(monkeypatch, capfd):
    """`accelerate launch`, which starts its processes from this one: `launch(*arguments)` gives what they printed."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}  # torchrun sets its own
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*arguments: str) -> str:
        capfd.readouterr()
        launch_command(launch_command_parser().parse_args(arguments))  # raises where a process fails
        return capfd.readouterr().out

    yield run
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def test_two_processes_train_the_same_model_as_one_and_one_writes(recipe, launch, tmp_path):
    """Half the batch in each of two processes is the whole batch in one: same images, augmentation and gradients."""
    code, _, err = recipe("train.py", *OPTIONS, "--per_device_train_batch_size=90", f"--output_dir={tmp_path}/one")
    assert code == 0, err
    command = ["--config_file", "recipes/launch/cpu.yaml", "recipes/train.py", *OPTIONS]
    out = launch(*command, "--per_device_train_batch_size=45", f"--output_dir={tmp_path}/two")
    assert out.count("2 process(es)") == out.count("Test accuracy") == 1
    one, two = (read_results(tmp_path / name) for name in ("one", "two"))
    assert two["environment"]["world_size"] == 2
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=1e-3, msg=name)
    assert two["metrics"]["test"]["accuracy"]["value"] == pytest.approx(
        one["metrics"]["test"]["accuracy"]["value"], abs=0.01
    )
