"""Frozen features: computed once, filed by everything they depend on, resumed, repaired; the head is the model's."""

import functools
import logging
import threading

import pytest
import torch

from hf_cifar.arguments import ModelArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.store import read_images
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.errors import UserError
from hf_cifar.models.loading import load_for_fine_tuning
from hf_cifar.training import features as parts
from hf_cifar.training import frozen
from hf_cifar.training.frozen import FeatureClassifier, get_features

CPU = torch.device("cpu")


@pytest.fixture(params=["tiny_vit", "tiny_convnext"])
def backbone(request):
    torch.manual_seed(0)
    arguments = ModelArguments(str(request.getfixturevalue(request.param)))
    return load_for_fine_tuning(arguments, list(CLASS_NAMES))[:2]


@pytest.fixture
def vit(tiny_vit):
    return load_for_fine_tuning(ModelArguments(str(tiny_vit)), list(CLASS_NAMES))[:2]


@pytest.fixture
def extracted(monkeypatch) -> list[int]:
    """The sizes of what is extracted, in parts of 8 images; the one image that each call looks at is left out."""
    monkeypatch.setattr(frozen, "get_part_paths", functools.partial(parts.get_part_paths, part_size=8))
    sizes, extract = [], frozen.extract_features

    def count(model, images, rows, *rest):
        sizes.extend([len(rows)] if len(rows) > 1 else [])
        return extract(model, images, rows, *rest)

    monkeypatch.setattr(frozen, "extract_features", count)
    return sizes


def test_the_head_on_features_is_the_full_model(backbone, data, tmp_path):
    model, preprocessing = backbone
    table = data.train.select(range(50))
    features = get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    head = FeatureClassifier(model)
    with torch.no_grad():
        head.classifier.weight.add_(torch.randn_like(head.classifier.weight))  # as training would
        images = torch.from_numpy(read_images(table).copy()).permute(0, 3, 1, 2)
        expected = model(preprocessing(images)).logits
        torch.testing.assert_close(head(features)["logits"], expected, atol=1e-5, rtol=1e-4)


def test_features_are_computed_once_and_anew_when_anything_changes(backbone, data, tmp_path, extracted):
    model, preprocessing = backbone
    table = data.train.select(range(8))

    def get(table=table, preprocessing=preprocessing, precision="fp32"):
        return get_features(model, table, preprocessing, tmp_path, CPU, precision)

    first = get()
    assert torch.equal(get(), first) and extracted == [8]
    with torch.no_grad():
        frozen.find_classifier(model).weight.zero_()
    get()
    assert len(extracted) == 1  # the head is not part of the backbone
    get(table=data.train.select(range(1, 9)))
    get(preprocessing=Preprocessing(preprocessing.image_size, (0.1, 0.2, 0.3)))
    get(precision="bf16")
    with torch.no_grad():
        next(parameter for name, parameter in model.named_parameters() if "classifier" not in name).add_(0.1)
    get()
    assert len(extracted) == 5
    model.config.hidden_act = "relu"  # the same weights compute something else
    get()
    assert len(extracted) == 6


def test_a_killed_extraction_goes_on_where_it_stopped(vit, data, tmp_path, extracted, monkeypatch, capfd):
    model, preprocessing = vit
    table = data.train.select(range(20))
    whole = get_features(model, table, preprocessing, tmp_path / "whole", CPU, "fp32")
    assert extracted == [8, 8, 4]
    write = frozen.write_part

    def write_one_and_die(path, *rest):
        if path.name.startswith("0000008"):
            raise KeyboardInterrupt
        write(path, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(frozen, "write_part", write_one_and_die)
        get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    extracted.clear()
    capfd.readouterr()
    assert torch.equal(get_features(model, table, preprocessing, tmp_path, CPU, "fp32"), whole)
    assert extracted == [8, 4] and "8/20" in capfd.readouterr().err  # where the progress bar begins


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign", "short", "misplaced"])
def test_only_damaged_parts_are_computed_again(vit, data, tmp_path, caplog, damage, extracted):
    model, preprocessing = vit
    table = data.train.select(range(24))
    first = get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    paths = sorted(tmp_path.rglob("*.safetensors"))
    key = frozen.describe_features(model, table, preprocessing, "fp32")
    content = paths[0].read_bytes()
    flipped = content[:-5] + bytes([content[-5] ^ 64]) + content[-4:]
    if damage in ("foreign", "short"):
        parts.write_part(paths[0], "another" if damage == "foreign" else key, first[: 8 if damage == "foreign" else 3])
    else:
        contents = {"truncated": content[:-9], "flipped": flipped, "empty": b"", "misplaced": paths[2].read_bytes()}
        paths[0].write_bytes(contents[damage])
    extracted.clear()
    with caplog.at_level(logging.WARNING):
        again = get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    assert torch.equal(again, first) and extracted == [8]
    assert len(caplog.records) == 1 and "1 of 3 parts" in caplog.text and paths[0].name in caplog.text
    get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    assert extracted == [8]


def test_a_cache_that_cannot_be_written_is_said_once_and_done_without(vit, data, tmp_path, caplog, extracted):
    model, preprocessing = vit
    table = data.train.select(range(20))
    (tmp_path / "features").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        features = get_features(model, table, preprocessing, tmp_path, CPU, "fp32")
    assert len(caplog.records) == 1 and "cannot be kept in" in caplog.text
    assert torch.equal(features, get_features(model, table, preprocessing, tmp_path / "good", CPU, "fp32"))


def test_what_is_not_finite_is_not_cached(vit, data, tmp_path):
    model, preprocessing = vit
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="not finite in fp32"):
        get_features(model, data.train.select(range(8)), preprocessing, tmp_path, CPU, "fp32")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_features_can_be_trained_on_and_hold_no_more_than_they_are(vit, data, tmp_path):
    model, preprocessing = vit
    features = get_features(model, data.train.select(range(8)), preprocessing, tmp_path, CPU, "fp32")
    assert features.untyped_storage().nbytes() == 8 * 16 * 4  # and not all tokens of the transformer
    FeatureClassifier(model)(features)["logits"].sum().backward()


def test_two_at_the_same_time_do_no_harm(vit, data, tmp_path, extracted):
    model, preprocessing = vit
    table, results = data.train.select(range(40)), []
    # Two threads, each with its own copy of the model, race for the same files as two processes would.
    copies = [load_copy(model) for _ in range(2)]
    threads = [
        threading.Thread(
            target=lambda each=each: results.append(get_features(each, table, preprocessing, tmp_path, CPU, "fp32"))
        )
        for each in copies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and torch.equal(*results)
    extracted.clear()
    assert torch.equal(get_features(model, table, preprocessing, tmp_path, CPU, "fp32"), results[0]) and not extracted
    assert not [path for path in tmp_path.rglob(".*")]


def load_copy(model):
    copy = type(model)(model.config).eval()
    copy.load_state_dict(model.state_dict())
    return copy
