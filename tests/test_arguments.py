"""Options check themselves."""

import pytest
import yaml

from hf_cifar.arguments import (
    PRESETS,
    AugmentationArguments,
    DataArguments,
    ModelArguments,
    RecipeArguments,
    parse_mapping,
)
from hf_cifar.errors import UserError
from hf_cifar.models.loading import load_for_fine_tuning
from hf_cifar.parser import RecipeParser


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


FINE_TUNING = {
    "finetune": "lora", "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.1, "lora_targets": ["q_proj", "v_proj"],
    "drop_path": 0.1,
}  # fmt: skip


def test_fine_tuning_is_parsed_from_yaml_and_the_command_line_wins(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(FINE_TUNING | {"model_name_or_path": "m"}))
    parse = RecipeParser(ModelArguments).parse
    arguments, _ = parse(["--config", str(tmp_path / "a.yaml")])
    assert {name: getattr(arguments, name) for name in FINE_TUNING} == FINE_TUNING
    arguments, _ = parse(["--config", str(tmp_path / "a.yaml"), "--lora_targets", "fc1", "--lora_rank=2"])
    assert arguments.lora_targets == ["fc1"] and arguments.lora_rank == 2 and arguments.lora_alpha == 8
    options = ["--model_name_or_path=m", "--finetune=gradual", "--unfreeze_epochs=0.5", "--layer_decay=0.7"]
    arguments, _ = parse([*options, "--freeze_bn=true"])
    assert (arguments.unfreeze_epochs, arguments.layer_decay, arguments.freeze_bn) == (0.5, 0.7, True)
    with pytest.raises(UserError, match="invalid choice: 'all'"):
        parse(["--model_name_or_path=m", "--finetune=all"])


@pytest.mark.parametrize(
    ("way", "options", "message"),
    [
        ("full", {"trained_stages": 2}, "trained_stages=2 would be ignored in finetune=full; .*finetune: last_stages"),
        ("full", {"unfreeze_epochs": 2.0}, "unfreeze_epochs=2.0 would be ignored"),
        ("gradual", {"lora_rank": 4}, "lora_rank=4 would be ignored in finetune=gradual"),
        ("full", {"lora_targets": ["a"]}, "lora_targets=.* would be ignored"),
        ("lora", {"layer_decay": 0.9}, "layer_decay=0.9 would be ignored in finetune=lora"),
        ("lora", {"freeze_bn": True}, "freeze_bn=True would be ignored in finetune=lora"),
        ("head", {"freeze_bn": True}, "freeze_bn=True would be ignored in finetune=head"),
        ("head", {"drop_path": 0.0}, "drop_path=0.0 would be ignored in finetune=head"),
        ("last_stages", {"trained_stages": 0}, "trained_stages=0 is out of range; allowed: 1 to 1000"),
        ("gradual", {"unfreeze_epochs": 0.0}, "unfreeze_epochs=0.0 is out of range; allowed: above 0, up to 1000"),
        ("full", {"layer_decay": 0.0}, "layer_decay=0.0 is out of range; allowed: above 0, up to 1"),
        ("full", {"layer_decay": float("nan")}, "layer_decay=nan is out of range"),
        ("full", {"drop_path": 0.95}, "drop_path=0.95 is out of range; allowed: 0 to 0.9"),
        ("lora", {"lora_alpha": 0.0}, "lora_alpha=0.0 is out of range; allowed: above 0"),
        ("lora", {"lora_dropout": 1.0}, "lora_dropout=1.0 is out of range; allowed: 0 to 0.9"),
        ("lora", {"lora_targets": []}, "lora_targets is empty; "),
    ],
)
def test_what_a_way_of_fine_tuning_would_ignore_is_refused(way, options, message):
    with pytest.raises(UserError, match=message):
        ModelArguments("m", finetune=way, **options)


@pytest.mark.parametrize("options", [{"layer_decay": 0.9}, {"freeze_bn": True}])
def test_from_scratch_there_is_nothing_to_fine_tune(options):
    with pytest.raises(UserError, match="would be ignored in training from scratch"):
        ModelArguments(**options)
    with pytest.raises(UserError, match="finetune=lora needs a pretrained model"):
        ModelArguments(finetune="lora")


def test_only_a_hub_id_has_revisions(tiny_vit):
    for name in (None, "offline:resnet50"):
        with pytest.raises(UserError, match="model_revision='v2' is of a Hub id; leave it out"):
            ModelArguments(name, model_revision="v2")
    with pytest.raises(UserError, match="model_revision='v2' is of a Hub id, and .* is a folder; leave it out"):
        load_for_fine_tuning(ModelArguments(str(tiny_vit), model_revision="v2"), ["a", "b"])
