"""What cannot be loaded is refused in one line with the remedy: wrong kinds, parts and files."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, CLIPTextConfig, TimmWrapperConfig, TimmWrapperForImageClassification

from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.errors import UserError
from hf_cifar.models.loading import load_model

NAMES = list(CLASS_NAMES)


@pytest.fixture
def copied(tiny_vit, tmp_path):
    """A checkpoint that a test may damage."""
    for path in tiny_vit.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change_weights(folder, change) -> None:
    """Save a checkpoint's weights as `change` returns them."""
    weights = change(load_file(folder / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder, **fields) -> None:
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(("config", "kind"), [(BertConfig(), "bert"), (CLIPTextConfig(), "clip_text_model")])
def test_what_is_no_image_classifier(tmp_path, config, kind):
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"is a '{kind}', of which transformers has no image classifier; allowed"):
        load_model(str(tmp_path), NAMES)


def test_no_image_processor(copied):
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match="no image processor that can be loaded .*put a preprocessor_config.json"):
        load_model(str(copied), NAMES)


def test_a_body_of_another_shape(copied):
    change_config(copied, intermediate_size=48)
    with pytest.raises(UserError, match=r"weights have vit.*bias of shape \(32,\), not \(48,\) \(and 2 more do not"):
        load_model(str(copied), NAMES)


def test_a_body_that_lacks_a_part(copied):
    change_weights(copied, lambda weights: {key: value for key, value in weights.items() if "cls_token" not in key})
    with pytest.raises(UserError, match="its weights lack vit.embeddings.cls_token, so they are not those of a ViT"):
        load_model(str(copied), NAMES)


def test_weights_of_another_architecture(copied, tiny_convnext):
    (copied / "model.safetensors").write_bytes((tiny_convnext / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"its weights lack vit.* \(and \d+ more do not fit\)"):
        load_model(str(copied), NAMES)


def test_more_layers_than_the_config_has(copied):
    change_weights(copied, lambda old: {re.sub(r"\.\d+\.", ".9.", key): old[key].clone() for key in old} | old)
    with pytest.raises(UserError, match=r"have vit.*\.9\..* beyond what its config.json describes.*more layers"):
        load_model(str(copied), NAMES)


def test_a_missing_head_is_for_fine_tuning_only(copied):
    change_weights(copied, lambda weights: {key: value for key, value in weights.items() if "classifier" not in key})
    model, _ = load_model(str(copied), NAMES)
    assert model.classifier.out_features == 10
    with pytest.raises(UserError, match="has no trained classifier .*fine-tune it first"):
        load_model(str(copied))


def test_a_missing_head_of_a_timm_model(tmp_path):
    config = TimmWrapperConfig(architecture="test_vit", num_labels=3, pretrained_cfg={"input_size": [3, 160, 160]})
    TimmWrapperForImageClassification(config).save_pretrained(tmp_path)
    change_weights(tmp_path, lambda weights: {key: value for key, value in weights.items() if ".head." not in key})
    assert load_model(str(tmp_path), NAMES)[0].config.num_labels == 10
    with pytest.raises(UserError, match="has no trained classifier"):
        load_model(str(tmp_path))
    change_weights(tmp_path, lambda weights: {key: value for key, value in weights.items() if "norm1" not in key})
    with pytest.raises(UserError, match="its weights lack timm_model.blocks.0.norm1.bias"):
        load_model(str(tmp_path), NAMES)


def test_pickled_weights(copied):
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no model.safetensors; allowed: safetensors, as pickled .* save_pretrained"):
        load_model(str(copied), NAMES)


@pytest.mark.parametrize("what", ["config and model", "model"])
def test_remote_code_needs_consent(copied, what):
    files = {"AutoModelForImageClassification": "theirs.Model"}
    kind = "vit"
    if what == "config and model":
        files["AutoConfig"], kind = "theirs.Config", "theirs"
    change_config(copied, auto_map=files, model_type=kind)
    ran = copied / "ran"
    code = f"open({str(ran)!r}, 'w')\nfrom transformers import ViTConfig, ViTForImageClassification\n"
    code += "class Config(ViTConfig):\n    model_type = 'theirs'\n"
    code += "class Model(ViTForImageClassification):\n    config_class = Config\n"
    (copied / "theirs.py").write_text(code)
    if what == "model":  # transformers has a class of its own, which is taken
        load_model(str(copied))
    else:
        with pytest.raises(UserError, match="run with all your rights; .* --trust_remote_code true"):
            load_model(str(copied))
    assert not ran.exists()
    if what == "config and model":
        assert type(load_model(str(copied), trust_remote_code=True)[0]).__name__ == "Model" and ran.exists()
