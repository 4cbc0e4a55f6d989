"""Options check themselves."""

import pytest

from hf_cifar.arguments import (
    PRESETS,
    AugmentationArguments,
    DataArguments,
    ModelArguments,
    RecipeArguments,
    parse_mapping,
)
from hf_cifar.errors import UserError


def test_mappings_come_as_json_or_as_they_are():
    assert parse_mapping("x", '{"a": [1]}') == parse_mapping("x", {"a": [1]}) == {"a": [1]}
    assert parse_mapping("x", None) == {}
    for bad in ("{a: 1}", "[1]", "3"):
        with pytest.raises(UserError, match="x="):
            parse_mapping("x", bad)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (DataArguments, {"translate": -1}),
        (DataArguments, {"translate": 2.5}),
        (DataArguments, {"cutout": float("nan")}),
        (DataArguments, {"random_erasing": 2}),
        (DataArguments, {"randaugment_magnitude": 31}),
        (DataArguments, {"storage_size": 4}),
        (DataArguments, {"train_fraction": 0}),
        (DataArguments, {"images_per_class": 0}),
        (ModelArguments, {"model_name_or_path": "m", "image_size": 4}),
        (RecipeArguments, {"momentum": 1.0}),
        (RecipeArguments, {"early_stopping_patience": -1}),
    ],
)
def test_values_out_of_range_are_refused_by_name(arguments, options):
    with pytest.raises(UserError, match=f"{list(options)[-1]}={list(options.values())[-1]}"):
        arguments(**options)


def test_presets_grow_and_single_options_win():
    assert not AugmentationArguments().is_augmenting
    for weaker, stronger in (("none", "light"), ("light", "standard"), ("standard", "strong")):
        assert PRESETS[weaker].items() < PRESETS[stronger].items()
        assert AugmentationArguments(augmentation=stronger).is_augmenting
    strong = AugmentationArguments(augmentation="strong", mixup=0, flip="alternating")
    assert (strong.mixup, strong.cutmix, strong.flip, strong.auto_augment) == (0, 1.0, "alternating", "trivialaugment")


def test_a_subset_has_one_measure():
    with pytest.raises(UserError, match="train_fraction and images_per_class exclude each other"):
        DataArguments(train_fraction=0.5, images_per_class=5)
