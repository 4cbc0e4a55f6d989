"""What the Hub's machines read: strict metadata that come back the same, evaluation results, pictures, licences."""

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from PIL import Image

from hf_cifar.data.constants import CLASS_NAMES, NEAR_DUPLICATES
from hf_cifar.data.store import map_images, read_column
from hf_cifar.evaluation.results import read_results
from hf_cifar.models.offline import BACKBONES
from hf_cifar.publishing.card_metadata import EVAL_FOLDER, list_eval_files
from hf_cifar.publishing.cards import render_card, write_card
from hf_cifar.publishing.checks import find_card_problems, is_published
from hf_cifar.publishing.provenance import OFFLINE, find_base_id, find_licence, list_citations

from .conftest import ROOT
from .made_runs import make_run


@pytest.fixture
def results(tmp_path):
    """Of a run that counts as one on CIFAR-10, with test-time augmentation."""
    results = read_results(make_run(tmp_path / "made", data__name="cifar10", recipe__tta="mirror"))
    better = {**results["metrics"]["test"], "accuracy": {"value": 0.912345678901, "low": 0.9, "high": 0.92}}
    return results | {"metrics_tta": {"test": better}}


def test_metadata_come_back_as_they_were(results):
    text = render_card(results)
    card = ModelCard(text, ignore_metadata_errors=False)
    assert ModelCard(str(card), ignore_metadata_errors=False).data.to_dict() == card.data.to_dict()
    data, test = card.data.to_dict(), results["metrics"]["test"]
    assert data["datasets"] == ["uoft-cs/cifar10"] and data["license"] == "apache-2.0" and "base_model" not in data
    assert {"hf_cifar", "cifar_cnn"} <= set(data["tags"]) and "accuracy" in data["metrics"]
    scores = {entry.metric_name: entry.metric_value for entry in card.data.eval_results}
    assert scores.pop("accuracy with TTA (mirror)") == 0.912345678901
    assert scores == {"accuracy": test["accuracy"]["value"]} | {
        f"macro {name}": test["macro"][name]["value"] for name in ("precision", "recall", "f1")
    }


def test_a_hub_base_model_is_named_and_its_licence_not_claimed(results):
    results["model"]["base_model"] = {"name": "timm/resnet18.a1_in1k", "weights_sha256": "0"}
    data = ModelCard(render_card(results), ignore_metadata_errors=False).data
    assert data.base_model == "timm/resnet18.a1_in1k" and data["base_model_relation"] == "finetune"
    assert data.license == "other" and data["license_link"] == "https://huggingface.co/timm/resnet18.a1_in1k"


def test_licences_and_ids_of_other_weights():
    assert set(OFFLINE) == set(BACKBONES)
    assert find_licence({"name": "offline:efficientnet-lite0"}).metadata["license"] == "apache-2.0"
    assert find_licence({"name": "offline:resnet50"}).metadata["license"] == "other"
    assert "not recorded" in find_licence({"name": "my-folder"}).sentence
    assert find_base_id(None) is None
    assert [find_base_id({"name": name}) for name in ("a/b", "folder", "offline:x")] == ["a/b", None, None]


@pytest.mark.parametrize(
    ("kind", "architecture", "base", "paper"),
    [
        ("timm_wrapper", "tf_efficientnet_lite0", "offline:efficientnet-lite0", "tan2019efficientnet"),
        ("convnextv2", "ConvNextV2ForImageClassification", "facebook/convnextv2-atto-1k-224", "woo2023convnextv2"),
        ("vit", "ViTForImageClassification", "facebook/deit-tiny-patch16-224", "touvron2021deit"),
        ("vit", "ViTForImageClassification", "google/vit-base-patch16-224-in21k", "dosovitskiy2021vit"),
        ("timm_wrapper", "inception_v3", "timm/inception_v3.tv_in1k", "szegedy2016inceptionv3"),
        ("timm_wrapper", "levit_128", "timm/levit_128", None),
    ],
)
def test_the_architectures_paper_is_cited_where_it_is_known(kind, architecture, base, paper, results):
    results["model"] |= {"type": kind, "architecture": architecture, "base_model": {"name": base}}
    own, data, *papers = list_citations(results)
    assert own.startswith("@software{hf_cifar,") and "krizhevsky2009" in data
    assert len(papers) == (paper is not None) and all(f"{{{paper}," in entry for entry in papers)


def test_pictures_that_metadata_name_are_test_images_of_the_sample(results, data, tmp_path):
    write_card(tmp_path, results)
    widget = ModelCard.load(tmp_path / "README.md").data["widget"]
    images, labels = map_images(data.test)[0], read_column(data.test, "label")
    assert len(widget) == 3
    for entry in widget:
        picture = np.asarray(Image.open(tmp_path / entry["src"]))
        label = CLASS_NAMES.index(entry["example_title"].lower())
        assert any((picture == image).all() for image in images[labels == label])
    (tmp_path / widget[0]["src"]).unlink()
    assert "which is not there" in next(find_card_problems(tmp_path, results))
    results["data"]["name"] = "user/other"  # of which no picture is at hand
    assert "widget" not in ModelCard(render_card(results)).data


def test_evaluation_results_are_the_hubs_own_format(results, tmp_path):
    write_card(tmp_path, results)
    folder = tmp_path / EVAL_FOLDER
    plain, augmented = (
        parse_eval_result_entries(yaml.safe_load((folder / name).read_text()))
        for name in ("hf_cifar.yaml", "hf_cifar_tta.yaml")
    )
    assert [entry.dataset_id for entry in plain + augmented] == 2 * ["uoft-cs/cifar10"]
    assert plain[0].value == results["metrics"]["test"]["accuracy"]["value"] and augmented[0].value == 0.912345678901
    assert "mirror" in augmented[0].notes and plain[0].date == results["environment"]["date"]
    assert not list(find_card_problems(tmp_path, results))
    text = (folder / "hf_cifar.yaml").read_text()
    (folder / "hf_cifar.yaml").write_text(text.replace(f"value: {plain[0].value}", "value: 0.99"))
    assert list(find_card_problems(tmp_path, results)) == [
        ".eval_results/hf_cifar.yaml does not say what results.json does"
    ]


def test_a_sample_and_local_data_have_none_and_others_results_are_left_alone(results):
    for name in ("cifar10-sample", "folder"):
        results["data"]["name"] = name
        assert list_eval_files(results) == {} and ModelCard(render_card(results)).data.eval_results is None
    assert is_published(".eval_results/hf_cifar_tta.yaml")
    assert not is_published(".eval_results/other.yaml") and not is_published(".eval_results/hf_cifar.json")


def test_near_duplicates_are_those_that_the_docs_say():
    assert (
        f"{NEAR_DUPLICATES} of the 10,000 test images have one at 0.85 or more" in (ROOT / "docs/data.md").read_text()
    )
