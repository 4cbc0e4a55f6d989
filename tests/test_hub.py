"""Reaching the Hub: asked once, offline means no; what a loopback server answers to requests for models and data."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from transformers import BertConfig

from hf_cifar.data.sources import HUB_ID, SAMPLE_FOLDER
from hf_cifar.hub import is_hub_reachable

from .hub_server import COMMIT, serve_hub

# Calls the function that each line of standard input names and prints what it returns or how it fails, all as JSON.
PROGRAM = """
import json, sys
from hf_cifar.arguments import ModelArguments
from hf_cifar.data.sources import fetch_from_hub, read_parquet_folder
from hf_cifar.hub import is_hub_reachable
from hf_cifar.models.loading import load_for_fine_tuning

def load(name, revision):
    return load_for_fine_tuning(ModelArguments(name, model_revision=revision), ["a", "b"])[2]["revision"]

def fetch():
    splits = read_parquet_folder(fetch_from_hub(), "cifar10").splits
    return [is_hub_reachable(), {name: len(raw.labels) for name, raw in splits.items()}]

for line in sys.stdin:
    name, *arguments = json.loads(line)
    is_hub_reachable.cache_clear()
    try:
        answer = globals()[name](*arguments)
    except ValueError as error:
        answer = f"{type(error).__name__}: {error}"
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def repositories(tiny_vit, tmp_path_factory):
    pickled, bert = (tmp_path_factory.mktemp(name) for name in ("pickled", "bert"))
    shutil.copytree(tiny_vit, pickled, dirs_exist_ok=True)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    BertConfig().save_pretrained(bert)
    return {"us/vit": tiny_vit, "us/pickle": pickled, "us/bert": bert, HUB_ID: SAMPLE_FOLDER}


@pytest.fixture(scope="module")
def hub(repositories):
    """A loopback Hub: its endpoint, and a function that takes it off the network."""
    with serve_hub(repositories, gated=("us/gated",)) as (endpoint, stop):
        yield endpoint, stop


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ask(hub, home):
    """Call a function of PROGRAM, in one process whose libraries have been told of the loopback Hub from the start."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    variables |= {"HF_ENDPOINT": hub[0], "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    command, pipe, log = [sys.executable, "-c", PROGRAM], subprocess.PIPE, home / "stderr"
    with (
        log.open("w") as errors,
        subprocess.Popen(command, env=variables, text=True, stdin=pipe, stdout=pipe, stderr=errors) as process,
    ):

        def call(*request: str | None) -> object:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer, log.read_text()[-1500:]
            return json.loads(answer)

        yield call


@pytest.mark.parametrize(
    ("name", "revision", "pattern"),
    [
        ("us/vit", None, COMMIT),
        ("us/gated", None, "UserError: model 'us/gated' is gated: ask for access at http.*/us/gated, then log in"),
        ("us/nothing", None, "UserError: model 'us/nothing' is not on the Hub, or is private; .*hf auth login"),
        ("us/vit", "v2", "UserError: model_revision='v2': model 'us/vit' has no such branch, tag or commit"),
        ("us/bert", None, "UserError: model 'us/bert' is a 'bert', of which transformers has no image classifier"),
        ("us/pickle", None, "UserError: model 'us/pickle' has no model.safetensors; allowed: safetensors"),
    ],
)
def test_what_is_said_of_a_model(ask, name, revision, pattern):
    assert re.match(pattern, ask("load", name, revision))


def test_the_hubs_dataset_is_downloaded_then_found_in_its_cache(ask, hub, home):
    expected = {"train": 1000, "test": 500}
    assert ask("fetch") == [True, expected]
    hub[1]()
    assert ask("fetch") == [False, expected]
    shutil.rmtree(home / "hub")
    assert "no answer, and no copy in its cache" in ask("fetch")


def test_offline_is_not_reachable():
    is_hub_reachable.cache_clear()
    assert is_hub_reachable() is False


@pytest.fixture(autouse=True)
def forget_the_answer():
    yield
    is_hub_reachable.cache_clear()
