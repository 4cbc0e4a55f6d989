"""The models whose weights are in this repository: whole, loaded by a stranger, as good as stated."""

import pytest
from transformers import AutoImageProcessor

from hf_cifar.data.store import read_column, read_images
from hf_cifar.evaluation.predictions import get_probabilities, make_pixel_values, read_predictions
from hf_cifar.evaluation.results import read_results
from hf_cifar.publishing.checks import compare_exports, find_card_problems, find_code_problem

from . import strangers
from .conftest import ROOT

FOLDERS = [path.parent for path in sorted(ROOT.glob("model_cards/*/model.safetensors"))]


def test_there_is_one():
    assert [folder.name for folder in FOLDERS] == ["cnn-fast"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_its_card_and_code_are_right(folder):
    results = read_results(folder)
    assert not list(find_card_problems(folder, results)) and find_code_problem(folder) is None
    assert all(expected == found for _, expected, found in compare_exports(folder, results))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_stranger_gets_the_published_predictions(folder, data, stranger):
    pixel_values = make_pixel_values(AutoImageProcessor.from_pretrained(folder), read_images(data.test))
    found = stranger(strangers.compute_logits, str(folder), pixel_values.numpy()).argmax(1)
    indices = read_column(data.test, "index")
    published = read_predictions(folder / "predictions/test.parquet").set_index("index").loc[indices]
    expected = get_probabilities(published).argmax(1)
    assert (found != expected).sum() <= 3  # bf16 there, fp32 here
    assert (published["label"].to_numpy() == read_column(data.test, "label")).all()
    assert (found == read_column(data.test, "label")).mean() > 0.9
