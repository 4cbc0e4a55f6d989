"""The folder of a Space: what is in it, and that it starts with nothing of this repository beside it."""

import ast
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from PIL import Image

from hf_cifar.arguments import SourceArguments
from hf_cifar.demo.examples import load_examples
from hf_cifar.publishing.space import EXAMPLES, make_space

from .conftest import ROOT, run_recipe
from .test_demo import make_model_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space")
    first = make_model_run(folder / "first", 'CNN """quoted"""', "cifar_cnn", accuracy=0.9)
    (first / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return first, make_model_run(folder / "second", "ViT", "vit", kind="transfer", accuracy=0.8)


@pytest.fixture(scope="module")
def space(runs, tmp_path_factory):
    """Made through the recipe, its models copied into it."""
    folder = tmp_path_factory.mktemp("spaces") / "new"
    assert run_recipe("push.py", *runs, f"--space={folder}") == 0
    return folder


def read_metadata(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])


def test_a_space_says_what_the_hub_needs_to_run_it(space):
    metadata = read_metadata(space)
    assert metadata["sdk"] == "gradio" and metadata["app_file"] == "app.py" and metadata["license"] == "apache-2.0"
    assert re.fullmatch(r"6\.\d+\.\d+", metadata["sdk_version"]) and metadata["python_version"] >= "3.11"
    found = {}
    for line in (space / "requirements.txt").read_text().splitlines():
        requirement = Requirement(line)
        assert {each.operator for each in requirement.specifier} == {">=", "<"}, line
        found[requirement.name] = requirement.specifier
    assert {"gradio", "torch", "torchvision", "transformers", "timm", "pillow"} <= set(found)
    assert found["gradio"].contains(metadata["sdk_version"])
    assert not [name for name in found if name in ("pytest", "peft", "cleanlab", "python-pptx")]


def test_all_that_its_code_imports_is_in_it(space):
    modules = sorted((space / "hf_cifar").rglob("*.py"))
    assert (space / "hf_cifar" / "evaluation" / "results.schema.json").is_file()
    for path in modules:
        assert path.read_bytes() == (ROOT / path.relative_to(space)).read_bytes()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                folder = path.parents[node.level - 1]
                place = folder.joinpath(*(node.module or "").split("."))
                assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), (
                    f"{path}: {node.module}"
                )
    assert not [path for path in modules if path.parent.name in ("training", "publishing", "benchmarks")]


def test_examples_are_the_test_images(space, data):
    groups = load_examples(space / "examples")
    assert list(groups)[:10] == data.class_names and list(groups)[10].startswith("the models disagree")
    assert {len(group) for group in groups.values()} == {EXAMPLES}
    example = groups["cat"][0]
    row = data.test["index"][:].index(int(example.title.removeprefix("Test image ")))
    assert np.array_equal(example.pixels.tobytes(), data.test[row]["pixels"]) and example.label == "cat"
    assert Image.open(next((space / "examples").glob("*.png"))).size == (32, 32)


def test_models_on_the_hub_are_named_and_not_copied(recipe, runs, tmp_path):
    code, out, err = recipe("push.py", *runs, f"--space={tmp_path}/new", "--repo_id", "user/cnn", "user/vit")
    assert code == 0, err
    assert read_metadata(tmp_path / "new")["models"] == ["user/cnn", "user/vit"]
    assert "['user/cnn', 'user/vit']" in (tmp_path / "new" / "app.py").read_text()
    assert not list((tmp_path / "new").rglob("*.safetensors")) and "nothing was sent" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--space={tmp}/new", "--repo_id=user/cnn"], "2 runs and 1 repo_ids"),
        (["--space={tmp}/new", "--repo_id", "cnn", "user/vit"], "allowed: USER/NAME"),
        (["--space={tmp}"], "holds other files"),
        ([], "one RUN and one --repo_id USER/NAME are needed, or --space DIR"),
    ],
)
def test_bad_input_writes_nothing(recipe, runs, options, message, tmp_path):
    (tmp_path / "mine.txt").touch()
    code, _, err = recipe("push.py", *runs, *(option.format(tmp=tmp_path) for option in options))
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_secret_in_a_run_is_not_copied(runs, tmp_path):
    (runs[1] / "README.md").write_text("hf_" + "a" * 34)
    try:
        with pytest.raises(ValueError, match="README.md, line 1: looks like a Hugging Face token"):
            make_space(tmp_path / "new", list(runs), [], SourceArguments("sample"))
    finally:
        (runs[1] / "README.md").unlink()
    assert not (tmp_path / "new").exists() and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_starts_from_its_folder_alone(space, tmp_path):
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "GRADIO"))}
    variables |= {"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "GRADIO_TEMP_DIR": str(tmp_path / "files")}
    command = [sys.executable, "-u", "app.py"]
    with subprocess.Popen(
        command, cwd=space, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("Open "):
                    break
            else:
                pytest.fail("".join(lines))
            address = lines[-1].split()[1]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address) as answer:
                assert "What is in the picture?" in answer.read().decode()
        finally:
            process.kill()
