"""Cards: valid metadata, numbers from results.json."""

import ast
import json

import pytest
from huggingface_hub import ModelCard

from hf_cifar.benchmarks.summaries import format_size_trade, format_transfer_benchmark
from hf_cifar.errors import UserError
from hf_cifar.evaluation.results import read_results
from hf_cifar.evaluation.seeds import read_seeds
from hf_cifar.publishing.card_metadata import EVAL_FOLDER, list_eval_files
from hf_cifar.publishing.cards import put_between_marks, render_card, render_table
from hf_cifar.publishing.checks import find_card_problems
from hf_cifar.publishing.siblings import compare_by_intervals
from hf_cifar.reporting.formatting import format_benchmark, format_training_benchmark
from hf_cifar.reporting.recipe_list import format_recipes, format_scripts, read_header

from . import strangers
from .conftest import ROOT


@pytest.mark.parametrize("run", ["cnn_run", "frozen_run"])
def test_metadata_and_text_say_what_was_measured(run, request):
    folder = request.getfixturevalue(run)
    results = read_results(folder)
    text = (folder / "README.md").read_text()
    assert text == render_card(results)
    card = ModelCard(text)
    test = results["metrics"]["test"]
    assert card.data.eval_results is None  # the Hub would list a sample's numbers as CIFAR-10's
    real = ModelCard(render_card({**results, "data": {**results["data"], "name": "cifar10"}}))
    metrics = {result.metric_type: result.metric_value for result in real.data.eval_results}
    assert metrics["accuracy"] == test["accuracy"]["value"] and metrics["f1"] == test["macro"]["f1"]["value"]
    assert "small sample" not in real.text
    assert card.data.pipeline_tag == "image-classification" and card.data.library_name == "transformers"
    assert f"{100 * test['accuracy']['value']:.2f} %" in card.text
    assert "small sample of CIFAR-10" in card.text
    assert ("trust_remote_code=True" in card.text) == (results["model"]["type"] == "cifar_cnn")


def test_committed_cards_and_readme_say_what_their_results_say():
    runs = {
        path.parent.name: read_seeds(path.parent, read_results(path.parent))
        for path in sorted((ROOT / "model_cards").glob("*/results.json"))
    }
    assert runs
    for name, seeds in runs.items():
        folder = ROOT / "model_cards" / name
        comparison = compare_by_intervals(seeds[0], [other[0] for other in runs.values()])
        assert (folder / "README.md").read_text() == render_card(seeds[0], seeds, comparison)
        assert not list(find_card_problems(folder, seeds[0]))
        assert {path.name for path in (folder / EVAL_FOLDER).iterdir()} == set(list_eval_files(seeds[0]))
        for results in seeds:
            assert results["data"]["name"] == "cifar10" and not results["environment"]["commit"].endswith("-dirty")
    assert render_table(runs) in (ROOT / "README.md").read_text()


def test_the_list_of_recipes_is_what_they_say():
    text = (ROOT / "recipes/README.md").read_text()
    assert format_scripts(ROOT / "recipes") in text and format_recipes(ROOT / "recipes") in text
    for path in (ROOT / "recipes").rglob("*.yaml"):
        assert path.parent.name == "launch" or f"]({path.relative_to(ROOT / 'recipes')})" in text
    header = read_header(ROOT / "recipes/cnn/fast.yaml")
    assert list(header) == ["", "Command", "Measured", "Source"] and "model_cards/cnn-fast" in header["Measured"]


def test_generated_text_replaces_what_stands_between_its_marks():
    text = "before\n<!-- results -->\nold\n<!-- end of results -->\nafter"
    assert put_between_marks(text, "results", "new") == text.replace("old", "new")
    for damaged in (text.replace("<!-- results -->", ""), text.replace("end of", "")):
        with pytest.raises(UserError, match="there are no marks <!-- results -->"):
            put_between_marks(damaged, "results", "new")


def test_the_readmes_benchmark_is_the_committed_one():
    figures = json.loads((ROOT / "docs/benchmarks/data.json").read_text())
    assert format_benchmark(figures) in (ROOT / "README.md").read_text()
    assert not figures["environment"]["commit"].endswith("-dirty")


@pytest.mark.parametrize(
    ("subject", "page", "render"),
    [
        ("train", "speed", format_training_benchmark),
        ("transfer", "transfer", format_transfer_benchmark),
        ("image_size", "transfer", format_size_trade),
    ],
)
def test_a_pages_benchmark_is_the_committed_one(subject, page, render):
    figures = json.loads((ROOT / f"docs/benchmarks/{subject}.json").read_text())
    assert render(figures) in (ROOT / f"docs/{page}.md").read_text()
    assert not figures["environment"]["commit"].endswith("-dirty")


@pytest.mark.parametrize("run", ["cnn_run", "frozen_run"])
def test_what_a_card_says_of_loading_works_for_strangers(run, request, stranger):
    folder = request.getfixturevalue(run)
    card, image = (folder / "README.md").read_text(), folder / "figures" / "example_truck.png"
    piped, alone = stranger(strangers.run_blocks, card, str(folder), str(image))
    best = ast.literal_eval(piped)[0]["label"]
    assert alone.strip() == best and best in read_results(folder)["data"]["class_names"]
