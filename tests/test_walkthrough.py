import json
import re
import warnings
from pathlib import Path

import IPython.display
import jupytext
import nbformat
import pytest
import transformers
from nbclient import NotebookClient

from .conftest import ROOT

SCRIPT = ROOT / "recipes" / "walkthrough.py"
NOTEBOOK = SCRIPT.with_suffix(".ipynb")
# What the default test changes in the lesson, to be done in seconds.
SMALLER = {"--num_train_epochs=30": "--num_train_epochs=2", "--image_size=96": "--image_size=32"}
WORDS = re.compile(r"\b(nan|inf|None)\b")


@pytest.fixture(scope="module")
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def get_outputs(notebook) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def get_texts(notebook) -> str:
    """All that the outputs say, without their pictures."""
    texts = []
    for output in get_outputs(notebook):
        data = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
        texts += [output.get("text", ""), *data.values(), json.dumps(output.get("metadata", {}))]
    return "\n".join(texts)


def check_outputs(notebook, advice: str | None = None) -> None:
    """Every cell ran, in order, and nothing failed, complained, named a folder of this machine or is not a number.

    With `advice`, what has these words on stderr is no complaint.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs, texts = get_outputs(notebook), get_texts(notebook)
    assert not [output for output in outputs if output.output_type == "error"]
    complaints = [output.text for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in complaints if advice is None or advice not in text]
    assert not re.findall(r"(?<![\w.<])/(?:home|root|work|tmp|usr|opt|var|mnt|Users|private)\b\S*|[A-Z]:\\\S+", texts)
    assert not WORDS.findall(texts)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == sum(cell.source.count("show(") for cell in code) - 1  # its definition
    assert all(picture.metadata["image/png"]["alt"] for picture in pictures)


def test_script_and_notebook_are_in_step(notebook):
    script = jupytext.read(SCRIPT)
    assert [(cell.cell_type, cell.source) for cell in script.cells] == [
        (cell.cell_type, cell.source) for cell in notebook.cells
    ]
    assert script.metadata["kernelspec"] == notebook.metadata["kernelspec"]


def test_committed_outputs_are_clean(notebook):
    check_outputs(notebook)


def test_committed_outputs_are_of_cifar10(notebook):
    texts = get_texts(notebook)
    assert "Data: cifar10 from" in texts and "50,000 training and 10,000 test images" in texts
    assert "train 45,000, validation 5,000, test 10,000" in texts and "the published split" in texts
    assert "bundled sample" not in texts


def test_files_that_the_lesson_names_exist():
    names = re.findall(r"`(recipes/[\w/.-]+)`", SCRIPT.read_text())
    assert names and all((ROOT / name).is_file() for name in names)


def test_lesson_runs(tmp_path, monkeypatch, capsys):
    """All of its cells in this process, with a shorter training and smaller images."""
    source = SCRIPT.read_text()
    for text, replacement in SMALLER.items():
        assert text in source
        source = source.replace(text, replacement)
    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    monkeypatch.setenv("TQDM_DISABLE", "1")  # the lesson sets it, and monkeypatch takes it back
    monkeypatch.setenv("HF_CIFAR_DATASET", "sample")
    monkeypatch.setenv("HF_CIFAR_WALKTHROUGH_DIR", str(tmp_path))
    verbosity, names = transformers.logging.get_verbosity(), {"__name__": "walkthrough"}
    try:
        with warnings.catch_warnings():
            exec(compile(source, str(SCRIPT), "exec"), names)
    finally:
        transformers.logging.set_verbosity(verbosity)
    said = [each.data if isinstance(each, IPython.display.Markdown) else str(each) for each in shown]
    texts = "\n".join([capsys.readouterr().out, *said])
    assert not WORDS.findall(texts)
    assert "train 900, validation 100, test 500" in texts and "the bundled sample" in texts
    assert sum(isinstance(each, IPython.display.Image) for each in shown) == source.count("show(") - 1
    # What is said follows from what was measured.
    pair, right = names["pair"], {name: int(hits.sum()) for name, hits in names["hits"].items()}
    assert pair["only_first"] - pair["only_second"] == right["CNN"] - right["transfer"]
    assert f"{100 * (right['CNN'] - right['transfer']) / 500:+.2f} points" in texts
    assert ("A tie at this sample size" in texts) == (pair["verdict"] == "tie")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "cnn", "transfer"]


@pytest.mark.slow
def test_notebook_runs_on_the_sample(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_CIFAR_DATASET", "sample")
    monkeypatch.setenv("HF_CIFAR_WALKTHROUGH_DIR", str(tmp_path))
    copy = nbformat.from_dict(notebook)
    NotebookClient(copy, timeout=600, resources={"metadata": {"path": str(SCRIPT.parent)}}).execute()
    check_outputs(
        copy, "docs/troubleshooting.md#overfitting"
    )  # which a thousand images lead to: the companion says so
    assert "the bundled sample" in get_texts(copy)
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["cache", "cnn", "transfer"]
