"""Loading: any classifier by one function, labels and sizes set right, and clear refusals."""

import json

import pytest
import torch
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    ViTImageProcessor,
)

from hf_cifar.arguments import ModelArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.errors import UserError
from hf_cifar.models.image_size import get_image_size
from hf_cifar.models.loading import (
    build_cifar_cnn,
    describe_base_model,
    find_classifier,
    hash_weights,
    load_for_fine_tuning,
    load_model,
)

from .conftest import TINY_CNN
from .tiny_models import FAMILIES, VIT_32, build_timm, build_tiny, save_tiny

NAMES = list(CLASS_NAMES)


@pytest.mark.parametrize("checkpoint", ["tiny_vit", "tiny_convnext"])
def test_a_checkpoint_gets_a_new_head_and_keeps_the_rest(checkpoint, request):
    folder = request.getfixturevalue(checkpoint)
    original, _ = load_model(str(folder))
    model, preprocessing, _ = load_for_fine_tuning(ModelArguments(str(folder)), NAMES)
    assert model.config.num_labels == 10 and model.config.id2label[9] == "truck"
    assert find_classifier(model).out_features == 10 and find_classifier(original).out_features == 7
    assert preprocessing.image_size == original.config.image_size
    assert hash_weights(model, find_classifier(model)) == hash_weights(original, find_classifier(original))
    assert hash_weights(model) != hash_weights(original)


def test_the_offline_backbone_gets_our_labels_and_preprocessing(tmp_path):
    args = ModelArguments("offline:efficientnet-lite0", image_size=96)
    model, preprocessing, _ = load_for_fine_tuning(args, NAMES)
    assert preprocessing.image_size == 96 and preprocessing.mean == (0.5, 0.5, 0.5)
    model.save_pretrained(tmp_path)
    _, processor = load_model(str(tmp_path))
    assert processor.data_config["input_size"][-1] == 96 and processor.data_config["crop_pct"] == 1.0
    assert json.loads((tmp_path / "config.json").read_text())["label_names"] == NAMES


@pytest.mark.parametrize("family", [*FAMILIES, "timm inception"])
def test_the_classifier_makes_the_logits_of_what_goes_into_it(family):
    model = build_timm("inception_v3").eval() if family == "timm inception" else build_tiny(family)
    inputs = []
    classifier = find_classifier(model)
    hook = classifier.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    size = 96 if "inception" in family else get_image_size(model.config)
    with torch.inference_mode():
        logits = model(torch.randn(2, 3, size, size)).logits
        hook.remove()
        assert len(inputs) == 1 and torch.equal(classifier(inputs[0]), logits)
    assert logits.shape == (2, 5)
    if family == "timm inception":
        assert model.timm_model.AuxLogits is None  # whose logits the Trainer would not know what to do with


def test_a_classifier_in_two_parts_is_none_and_fine_tuning_takes_one(tmp_path):
    config = DeiTConfig(**VIT_32, num_labels=5)
    with_teacher = DeiTForImageClassificationWithTeacher(config)
    with_teacher.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model, _ = load_model(str(tmp_path))
    assert type(model) is DeiTForImageClassificationWithTeacher and find_classifier(model) is None
    model, _ = load_model(str(tmp_path), NAMES)  # transformers cannot train the one with a teacher
    assert type(model) is DeiTForImageClassification and find_classifier(model).out_features == 10
    assert torch.equal(model.deit.layernorm.weight, with_teacher.deit.layernorm.weight)
    assert find_classifier(build_timm("deit_tiny_distilled_patch16_224", embed_dim=24, depth=1, num_heads=2)) is None


def test_a_timm_checkpoint_with_its_classes_in_model_args(tmp_path):
    save_tiny("timm vit", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"]["num_classes"] = 5  # as timm's save_for_hf writes
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, _ = load_model(str(tmp_path), NAMES)
    assert find_classifier(model).out_features == 10 and "num_classes" not in model.config.model_args


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("offline:vgg", "unknown; allowed offline backbones: offline:efficientnet-lite0"),
        ("./nowhere", "is not a folder"),
        ("google/no-such-model", "not in the Hub's cache, and the Hub cannot be reached"),
    ],
)
def test_unknown_models_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        load_model(name)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="model folder .* cannot be loaded"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("change", [{"hidden_size": "abc"}, {"patch_size": None}, {"model_type": "nope"}, None])
def test_a_damaged_config_is_refused(tiny_vit, tmp_path, change):
    for path in tiny_vit.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(change and config | change))
    with pytest.raises(UserError, match="model folder .* cannot be loaded"):
        load_model(str(tmp_path))


def test_equal_seeds_give_equal_heads_whether_or_not_the_backbone_is_cached(tmp_path):
    hashes = []
    for _ in range(2):  # the first load converts the weights
        torch.manual_seed(0)
        model, _, _ = load_for_fine_tuning(ModelArguments("offline:efficientnet-lite0"), NAMES, tmp_path)
        hashes.append(hash_weights(model))
    assert hashes[0] == hashes[1]


def test_truncated_weights_are_refused(tiny_vit, tmp_path):
    for path in tiny_vit.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[:-100] if path.suffix == ".safetensors" else content)
    with pytest.raises(UserError, match="model folder .* cannot be loaded"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [1]}, "unknown field 'widths'; allowed: batch_norm_eps"),
        ({"depths": [1]}, "must be of one length"),
        ({"stem": "whitening", "stem_kernel_size": 0}, "stem_kernel_size=0 must be from 1"),
        ({"num_channels": 1}, "does not fit RGB images"),
        ({"stem": "big"}, "expected one of"),
        ({"hidden_sizes": "wide"}, "hidden_sizes"),
    ],
)
def test_bad_model_config_is_one_clear_line(options, message):
    with pytest.raises(UserError, match=message):
        build_cifar_cnn(options, NAMES)


def test_equal_seeds_give_equal_networks():
    hashes = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        hashes.append(hash_weights(build_cifar_cnn(TINY_CNN, NAMES)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_base_folder_is_named_without_its_path(tiny_vit):
    model, _ = load_model(str(tiny_vit))
    assert describe_base_model(model, str(tiny_vit), None)["name"] == tiny_vit.name
