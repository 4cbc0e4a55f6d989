"""Input sizes: every family takes a new one, its checkpoint needs no option, and what cannot be is refused."""

import json

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageClassification, SwinConfig, SwinForImageClassification

from hf_cifar.arguments import ModelArguments
from hf_cifar.errors import UserError
from hf_cifar.models.image_processors import read_preprocessing
from hf_cifar.models.image_size import check_image_size, get_image_size, resize_input
from hf_cifar.models.loading import load_for_fine_tuning, load_model
from hf_cifar.training.run_folder import save_model

from . import strangers
from .tiny_models import CLASSES, FAMILIES, SWIN, build_timm, build_tiny, save_tiny

SIZES = {"vit": (48, 64), "deit": (48, 64), "dinov2": (84, 28), "swin": (128, 256), "timm swin": (128, 256)}


def compute_expected(family: str, model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor | None:
    """Logits at a new size by the architecture's own means, where it has any."""
    size = images.shape[-1]
    if family in ("vit", "deit"):
        return model(images, interpolate_pos_encoding=True).logits
    if family == "timm vit":
        model.timm_model.set_input_size(img_size=(size, size))
    if family in ("timm swin", "swin") and size < 224:  # its windows must shrink; nothing to compare with
        return None
    if family == "timm swin":
        model.timm_model.set_input_size(img_size=(size, size), window_size=7)
    return model(images).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_size_is_saved_with_the_model(family, tmp_path):
    save_tiny(family, tmp_path / "base")
    for size in SIZES.get(family, (96, 160)):
        model, preprocessing, _ = load_for_fine_tuning(
            ModelArguments(str(tmp_path / "base"), image_size=size), CLASSES
        )
        images = torch.randn(2, 3, size, size)
        with torch.inference_mode():
            logits = model(images).logits
            expected = compute_expected(family, load_model(str(tmp_path / "base"))[0], images)
            save_model(model, preprocessing, tmp_path / "saved")
            reloaded = AutoModelForImageClassification.from_pretrained(tmp_path / "saved")
            torch.testing.assert_close(reloaded(images).logits, logits)
        if expected is not None:
            torch.testing.assert_close(logits, expected)
        assert get_image_size(reloaded.config) == size or family == "resnet"  # which records none
        assert read_preprocessing(load_model(str(tmp_path / "saved"))[1]) == preprocessing
        assert preprocessing.image_size == size


def test_a_stranger_needs_no_option(stranger, tmp_path):
    image = Image.effect_mandelbrot((32, 32), (-2, -1, 1, 1), 20).convert("RGB")
    for family, size in (("vit", 64), ("dinov2", 84), ("swin", 128), ("timm vit", 96), ("timm swin", 128)):
        save_tiny(family, tmp_path / "base" / family)
        arguments = ModelArguments(str(tmp_path / "base" / family), image_size=size)
        model, preprocessing, _ = load_for_fine_tuning(arguments, CLASSES)
        save_model(model, preprocessing, tmp_path / family)
        _, processor = load_model(str(tmp_path / family))
        with torch.inference_mode():
            scores = model(**processor(image, return_tensors="pt")).logits.softmax(-1)[0]
        expected = (size, pytest.approx(dict(zip(CLASSES, scores.tolist(), strict=True)), abs=1e-5))
        assert stranger(strangers.classify, str(tmp_path / family), image) == expected


def test_resizing_draws_no_random_numbers():
    states = []
    for family in ("vit", "timm vit"):
        model = build_tiny(family)
        torch.manual_seed(0)
        resize_input(model, 96)
        states.append(torch.rand(1).item())
    torch.manual_seed(0)
    assert states == [torch.rand(1).item()] * 2


def test_sizes_that_would_lose_pixels_are_refused():
    with pytest.raises(UserError, match="image_size=100 is not a multiple .*patches of 8 pixels; allowed: 96 or 104"):
        resize_input(build_tiny("vit"), 100)
    with pytest.raises(UserError, match="patches of 14 pixels; allowed: 14, for instance"):
        resize_input(build_tiny("dinov2"), 8)
    with pytest.raises(UserError, match="patches of 16 pixels; allowed: 96 or 112"):
        resize_input(build_tiny("timm vit"), 100)


def test_sizes_too_small_are_refused_with_the_smallest():
    with pytest.raises(UserError, match=r"image_size=16 does not fit this model \(.*\); allowed: 32 pixels or more"):
        check_image_size(build_tiny("timm vgg"), 16)
    with pytest.raises(UserError, match="allowed: 75 pixels or more"):
        check_image_size(build_timm("inception_v3"), 32)


def test_fixed_positions_take_one_size():
    for size in (16, 48):  # as progressive resizing asks
        with pytest.raises(UserError, match=r"doesn't match model .*allowed: its own size, 32 pixels"):
            check_image_size(build_tiny("vit"), size)
    for family, size in (("timm vit", 96), ("timm swin", 96)):
        with pytest.raises(UserError, match="doesn't match model .*allowed: its own size, 224 pixels"):
            check_image_size(build_tiny(family), size)
    cait = build_timm("cait_xxs24_224", embed_dim=24, depth=1, depth_token_only=1, num_heads=2)
    with pytest.raises(UserError, match="allowed: its own size, 224 pixels"):  # timm cannot resize it
        check_image_size(resize_input(cait, 96), 96)


def test_windows_that_shrink_for_good_are_refused_and_left_alone():
    model = SwinForImageClassification(SwinConfig(**SWIN, image_size=256, window_size=7)).eval()
    images = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        before = model(images).logits
        with pytest.raises(
            UserError, match="windows would shrink to fit it, and stay so.*allowed: 256 pixels or more"
        ):
            check_image_size(model, 208)
        assert torch.equal(model(images).logits, before)
    check_image_size(model, 256)
    check_image_size(model, 288)


def test_a_checkpoint_that_keeps_its_size_is_not_touched():
    for family in ("vit", "timm vit"):
        model = build_tiny(family)
        assert resize_input(model, get_image_size(model.config)) is model


def test_a_processor_that_does_not_fit_its_model_is_refused(tmp_path):
    save_tiny("vit", tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": {"height": 40, "width": 40}}))
    with pytest.raises(UserError, match="image_size=40 does not fit this model .*allowed: its own size, 32 pixels"):
        load_for_fine_tuning(ModelArguments(str(tmp_path)), CLASSES)
