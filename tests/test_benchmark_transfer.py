"""The transfer benchmark measures every way on a tiny network, and says what it measured."""

import json

import pytest
from transformers import ConvNextConfig, ConvNextForImageClassification

from hf_cifar.benchmarks import transfer
from hf_cifar.benchmarks.summaries import describe_transfer
from hf_cifar.benchmarks.transfer import ARCHITECTURES, Architecture, summarize_rounds
from hf_cifar.models.loading import find_classifier

WAYS = {"inference", "features", "head_seconds", "usual_head_seconds", "full", "usual_full"}


def build_tiny(labels):
    config = ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], **labels)
    return ConvNextForImageClassification(config)


def test_it_measures_every_way_and_writes_json(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(transfer.ARCHITECTURES, "tiny", Architecture(build_tiny, 32, 20, 50))
    file = tmp_path / "figures/transfer.json"
    options = ["--dataset=sample", "--architectures", "tiny", "--rounds=2", "--steps=2", f"--json={file}"]
    code, out, err = recipe("benchmark.py", "transfer", *options)
    assert code == 0, err
    figures = json.loads(file.read_text())
    case = figures["architectures"]["tiny"]
    assert set(case["ways"]) == WAYS and (case["image_size"], case["batch_size"]) == (32, 20)
    for summary in [*case["ways"].values(), case["features"], case["head"], case["full"]]:
        assert 0 < summary["min"] <= summary["median"] <= summary["max"]
    assert figures["dataset"] == "cifar10-sample"
    assert "tiny, 32 px:" in out and "head, 10 epochs" in out and "'loss'" not in out


def test_ratios_are_taken_within_rounds_and_the_first_round_is_dropped():
    rounds = [
        dict(inference=i, features=f, head_seconds=1.0, usual_head_seconds=20.0, full=4.0, usual_full=2.0)
        for i, f in ((1.0, 100.0), (10.0, 9.0), (20.0, 20.0), (40.0, 44.0))
    ]
    summary = summarize_rounds(rounds)
    assert summary["features"] == {"median": 1.0, "min": 0.9, "max": 1.1}
    assert summary["head"]["median"] == 20 and summary["full"]["median"] == 2
    assert summary["ways"]["inference"] == {"median": 20.0, "min": 10.0, "max": 40.0}
    environment = {"hardware": "a CPU", "precision": "bf16", "date": "2026-01-01"}
    text = describe_transfer(environment, {"architectures": {"net": summary | {"image_size": 64}}})
    assert "1.00 (0.90 to 1.10) of it" in text and "2.0 (2.0 to 2.0) times as fast" in text


@pytest.mark.parametrize("name", ["resnet-50", "efficientnet-lite0"])
def test_its_architectures_have_a_head_for_the_classes(name):
    model = ARCHITECTURES[name].build({"num_labels": 10, "id2label": dict(enumerate("abcdefghij"))})
    head = find_classifier(model)
    assert [value.shape[0] for value in head.parameters()] == [10, 10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--architectures", "vgg99"], "'vgg99' is unknown; allowed: vit-base"),
        (["--model_config={}", "--model_name_or_path=a/b"], "random weights; leave it out"),
        (["--gradient_accumulation_steps=2"], "does not accumulate; leave it out"),
    ],
)
def test_what_it_would_ignore_is_refused(recipe, options, message):
    code, _, err = recipe("benchmark.py", "transfer", "--dataset=sample", *options)
    assert code == 2 and message in err
