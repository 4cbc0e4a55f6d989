"""Cards: valid metadata, numbers from results.json."""

import pytest
from huggingface_hub import ModelCard

from hf_cifar.evaluation.results import read_results
from hf_cifar.publishing.cards import render_card


@pytest.mark.parametrize("run", ["cnn_run", "frozen_run"])
def test_metadata_and_text_say_what_was_measured(run, request):
    folder = request.getfixturevalue(run)
    results = read_results(folder)
    text = (folder / "README.md").read_text()
    assert text == render_card(results)
    card = ModelCard(text)
    metrics = {result.metric_type: result.metric_value for result in card.data.eval_results}
    test = results["metrics"]["test"]
    assert metrics["accuracy"] == test["accuracy"]["value"] and metrics["f1"] == test["macro"]["f1"]["value"]
    assert card.data.pipeline_tag == "image-classification" and card.data.library_name == "transformers"
    assert f"{100 * test['accuracy']['value']:.2f} %" in card.text
    assert "small sample of CIFAR-10" in card.text
    assert ("trust_remote_code=True" in card.text) == (results["model"]["type"] == "cifar_cnn")
