"""Understanding: facts and figures of any runs, also of degenerate ones; models that are not there are named."""

import io
import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from hf_cifar.data.store import read_column, write_table
from hf_cifar.data.table import ImageData
from hf_cifar.errors import UserError
from hf_cifar.evaluation.comparison import Run, load_runs
from hf_cifar.evaluation.predictions import PREFIX
from hf_cifar.reporting import mistake_figures
from hf_cifar.reporting.understanding import understand

from .made_runs import make_data, make_probabilities

CALIBRATION = {"calibration_error": {"value": 0.031, "low": 0.02, "high": 0.04}}
PICTURES = ["confusion_matrices", "confident_mistakes", "confused_pairs"]


def make_image_data(tmp_path, num_images: int, num_classes: int) -> ImageData:
    """Images of noise with the labels that `make_run` gives such a test set."""
    index, labels, section = make_data(num_images, num_classes)
    images = np.random.default_rng(0).integers(256, size=(num_images, 8, 8, 3), dtype=np.uint8)
    write_table(tmp_path / "test.arrow", [(images, labels, index)], section["class_names"])
    table = datasets.Dataset.from_file(str(tmp_path / "test.arrow"))
    return ImageData(section["name"], "made", section["hashes"], {}, {}, train=table, test=table)


def build_run(name: str = "CNN", accuracy: float = 0.8, shape=(500, 10), values: np.ndarray | None = None) -> Run:
    """A run in memory; with 500 images and 10 classes its test set is that of the bundled sample."""
    index, labels, section = make_data(*shape)
    if values is None:
        values = make_probabilities(labels, shape[1], accuracy, len(name))
    frame = pd.DataFrame(values, columns=[PREFIX + each for each in section["class_names"]])
    frame = pd.concat([pd.DataFrame({"index": index, "label": labels}), frame], axis=1)
    matrix = confusion_matrix(labels, values.argmax(1), labels=range(shape[1])).tolist()
    return Run(name, Path("no such folder"), {"metrics": {"test": {"confusion_matrix": matrix}}}, frame)


def render(figure: Figure) -> None:
    figure.savefig(io.BytesIO(), dpi=20)


def test_two_runs_get_every_figure_that_needs_no_model(data):
    runs = [build_run("CNN", 0.8), build_run("A ViT", 0.9)]
    result = understand(runs, data, load_models=False)
    assert list(result.figures) == [
        *PICTURES, "shared_mistakes", "label_suspects", "reliability", "roc_curves", "precision_recall_curves"
    ]  # fmt: skip
    assert list(result.captions) == list(result.figures)
    facts = result.facts
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    shared = facts["shared_mistakes"]
    wrong = [int((run.predicted != run.labels).sum()) for run in runs]
    assert [shared["all_miss"] + shared["only"][name] for name in ("CNN", "A ViT")] == wrong
    worst = facts["confident_mistakes"]["CNN"][0]
    place = int(np.flatnonzero(read_column(data.test, "index") == worst["index"])[0])
    assert worst["true"] == data.class_names[read_column(data.test, "label")[place]] != worst["predicted"]
    assert "suspects, not errors" in facts["label_suspects"]["method"]


def test_models_that_are_not_there_are_named(data):
    result = understand([build_run("Gone")], data)
    assert "Gone" in result.facts["not_looked_into"] and "activation_maps" not in result.figures


def test_a_trained_model_is_looked_into(data, cnn_run):
    result = understand(load_runs([cnn_run]), data)
    assert not result.facts["not_looked_into"] and list(result.facts["activation_layers"]) == ["Tiny CNN"]
    assert list(result.figures)[-3:] == ["activation_maps", "feature_maps", "first_filters"]
    assert "shared_mistakes" not in result.figures  # of a single run


def test_weights_that_do_not_load_cost_only_their_own_figures(data, cnn_run, tmp_path):
    shutil.copytree(cnn_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "run" / "model.safetensors").write_bytes(b"damaged")
    result = understand(load_runs([tmp_path / "run"]), data)
    assert list(result.facts["not_looked_into"]) == ["Tiny CNN"] and "reliability" in result.figures


@pytest.mark.parametrize("num_classes", [2, 100])
def test_few_and_many_classes(tmp_path, monkeypatch, num_classes):
    monkeypatch.setattr(mistake_figures, "PICTURES", 2)
    data = make_image_data(tmp_path, 200, num_classes)
    names = ["A model with a name that is much too long for any figure, seed 1", "The $other$ model"]
    runs = [build_run(name, 0.7 + 0.1 * i, (200, num_classes)) for i, name in enumerate(names)]
    result = understand(runs, data, load_models=False)
    for figure in result.figures.values():
        render(figure)


def one_class(labels: np.ndarray) -> np.ndarray:
    return np.tile([1.0] + [0.0] * 9, (len(labels), 1))


def perfect(labels: np.ndarray) -> np.ndarray:
    return np.eye(10)[labels]


def undecided(labels: np.ndarray) -> np.ndarray:
    return np.full((len(labels), 10), 0.1)


@pytest.mark.parametrize("predict", [one_class, perfect, undecided])
def test_degenerate_predictions_give_facts_without_nan(data, monkeypatch, predict):
    monkeypatch.setattr(mistake_figures, "PICTURES", 2)
    values = predict(make_data(500, 10)[1])
    runs = [build_run(name, values=values) for name in ("a", "b")]  # identical ones
    result = understand(runs, data, load_models=False)
    json.dumps(result.facts, allow_nan=False)
    assert set(result.facts["shared_mistakes"]["only"].values()) == {0}
    for figure in result.figures.values():
        render(figure)


def test_sections_of_results_are_drawn(data):
    robustness = {"clean_accuracy": 0.9, "families": {"noise": 0.5, "blur": 0.6}}
    run = build_run()
    bins = [{"confidence": 0.5, "accuracy": 0.6, "count": 500}]
    run.results |= {"robustness": robustness, "calibration": {
        "reliability": {"before": bins, "after": bins}, "test": {"before": CALIBRATION, "after": CALIBRATION}
    }}  # fmt: skip
    result = understand([run], data, load_models=False)
    assert [tick.get_text() for tick in result.figures["corruptions"].axes[0].get_xticklabels()] == [
        "clean", "noise", "blur"
    ]  # fmt: skip
    assert "3.1%, then 3.1%" in result.figures["reliability"].axes[0].get_title()


def test_reference_data_of_other_images_are_refused(tmp_path):
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "duplicates_cifar10.csv").write_text("TestID,TrainID\n0,1\n")
    data = make_image_data(tmp_path, 200, 10)
    with pytest.raises(UserError, match="about CIFAR-10's test images"):
        understand([build_run(shape=(200, 10))], data, str(folder))


def test_reference_data_give_agreement_with_people(data, tmp_path):
    folder = tmp_path / "reference"
    folder.mkdir()
    indices, labels = read_column(data.test, "index"), read_column(data.test, "label")
    shares = np.full((10_000, 10), 0.01)
    shares[:, 0] = 0.91
    shares[indices] = 0.01 + 0.9 * np.eye(10)[labels]
    np.save(folder / "cifar10h-probs.npy", shares)
    rows = "".join(f"{index},0\n" for index in indices[:100])
    (folder / "duplicates_cifar10.csv").write_text("TestID,TrainID\n" + rows)
    run = build_run()
    result = understand([run], data, str(folder), load_models=False)
    facts = result.facts["reference"]
    kept = (run.predicted == labels)[100:]
    assert facts["subsets"]["without_duplicates"]["accuracy"]["CNN"]["value"] == pytest.approx(kept.mean())
    assert facts["agreement"]["CNN"]["majority_accuracy"]["value"] == pytest.approx((run.predicted == labels).mean())
    assert facts["agreement"]["CNN"]["entropy_correlation"] is None  # people are as sure of each image
    assert facts["by_share_of_people"][0]["images"] == 500 and "human_agreement" in result.figures
