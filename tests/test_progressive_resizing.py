"""Progressive resizing: an epoch's images have its size, in any process and after a resume; validation's never."""

import pytest
import torch
from transformers import TrainingArguments

from hf_cifar.arguments import AugmentationArguments, DataArguments, RecipeArguments, parse_sizes
from hf_cifar.data.batches import ImageBatches, KeyedSampler
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.transforms import ImageTransform, Preprocessing, ProgressiveResizing, collate_whole_batch
from hf_cifar.errors import UserError
from hf_cifar.models.loading import build_cifar_cnn, hash_weights, load_model
from hf_cifar.training.fit import make_resizing
from hf_cifar.training.trainer import check_model, get_training_defaults

from .conftest import TINY_CNN
from .test_trainer import MUON, make_trainer

SIZES = {"0": 16, "0.3": 24, "0.6": 32}  # of 3 epochs: one each
RECIPE = {**MUON, "progressive_resizing": SIZES}


@pytest.mark.parametrize(
    ("sizes", "epochs", "expected"),
    [
        (((0.0, 20), (0.35, 24), (0.65, 32)), 10, [20] * 4 + [24] * 3 + [32] * 3),
        (((0.0, 20), (0.31, 24), (0.63, 32)), 22, [20] * 7 + [24] * 7 + [32] * 8),
        (((0.0, 16), (0.5, 32)), 2, [16, 32]),
        (((0.0, 16), (0.07, 32)), 100, [16] * 7 + [32] * 93),  # 0.07 * 100 is a little above 7 in floating point
        (((0.0, 16), (0.5, 32)), 2.5, [16, 16, 32]),
        (((0.5, 16),), 4, [32, 32, 16, 32]),
        (((0.0, 16), (0.9, 32)), 3, [16, 16, 32]),  # the last epoch is full-sized, whatever the shares
        (((0.0, 16), (0.9, 32)), 1, [32]),
    ],
)
def test_an_epoch_has_the_size_of_the_last_share_it_has_reached(sizes, epochs, expected):
    resizing = ProgressiveResizing(sizes, epochs)
    assert [resizing.get_size(epoch, 32) for epoch in range(len(expected))] == expected


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"num_train_epochs": 2.5}, 2.5),
        ({"max_steps": 20}, 2),
        ({"max_steps": 24, "per_device_train_batch_size": 400}, 8),  # 3 steps an epoch, the last one smaller
        ({"max_steps": 12, "gradient_accumulation_steps": 4}, 4),
    ],
)
def test_shares_are_of_the_epochs_that_are_trained(tmp_path, options, epochs):
    settings = get_training_defaults() | {"output_dir": str(tmp_path), "per_device_train_batch_size": 90}
    args = TrainingArguments(**settings | {"bf16": False, "use_cpu": True} | options)
    resizing = make_resizing(RecipeArguments(**RECIPE), args, 900)
    assert resizing == ProgressiveResizing(((0.0, 16), (0.3, 24), (0.6, 32)), pytest.approx(epochs))
    assert make_resizing(RecipeArguments(), args, 900) is None


def record_sizes(model) -> dict[bool, list[int]]:
    """Heights and widths that a model will see, by whether it is training."""
    sizes = {True: [], False: []}

    def note(module, args, kwargs):
        shape = kwargs["pixel_values"].shape
        assert shape[2] == shape[3]
        sizes[module.training].append(shape[2])

    model.register_forward_pre_hook(note, with_kwargs=True)
    return sizes


@pytest.mark.parametrize(
    "options", [{"num_train_epochs": 3}, {"max_steps": 30}, {"dataloader_num_workers": 1}], ids=str
)
def test_batches_have_their_epochs_size_and_validation_the_full_one(data, tmp_path, options):
    options = {"save_strategy": "no", "load_best_model_at_end": False, **options}
    trainer = make_trainer(data, tmp_path, RECIPE, **options)
    sizes = record_sizes(trainer.model)
    trainer.train()
    assert sizes[True] == [16] * 10 + [24] * 10 + [32] * 10
    assert set(sizes[False]) == {32}


def test_a_resumed_run_goes_on_at_its_epochs_size_to_the_same_weights(data, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 14, "eval_strategy": "no", "load_best_model_at_end": False}
    whole = make_trainer(data, tmp_path / "whole", RECIPE, validate=False, **options)
    whole.train()
    resumed = make_trainer(data, tmp_path / "resumed", RECIPE, validate=False, **options)
    sizes = record_sizes(resumed.model)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole/checkpoint-14"))
    assert sizes[True] == [24] * 6 + [32] * 10
    assert hash_weights(resumed.model) == hash_weights(whole.model)


def test_pixels_are_those_of_the_resized_augmented_image_also_in_workers(data):
    augmentation = AugmentationArguments(flip="random", translate=4, cutout=8)
    resizing = ProgressiveResizing(((0.0, 16), (0.5, 32)), 2)
    dataset = ImageBatches(data.train, ImageTransform(Preprocessing(), augmentation, 0, resizing))
    sampler = KeyedSampler(len(dataset), 0)
    batches = []
    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(
            dataset, 200, sampler=sampler, num_workers=workers, collate_fn=collate_whole_batch,
            persistent_workers=workers > 0,
        )  # fmt: skip
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches.append(next(iter(loader))["pixel_values"])
    assert [batch.shape[-1] for batch in batches] == [16, 32, 16, 32]
    assert torch.equal(batches[0], batches[2]) and torch.equal(batches[1], batches[3])
    # The small image is the large one of that epoch, resized: the draws do not depend on the size.
    full = ImageBatches(data.train, ImageTransform(Preprocessing(), augmentation))
    sampler.set_epoch(0)
    large = full.__getitems__(list(sampler)[:200])["pixel_values"]
    small = torch.nn.functional.interpolate(large, (16, 16), mode="bicubic", antialias=True)
    assert (small - batches[0]).abs().mean() < 0.01  # resized as bytes, hence rounded and clipped


@pytest.mark.parametrize(
    "value",
    [
        '{"0": 20, "0.5": 24, "0.3": 32}',
        '{"0.5": 20, "0.8": 32}',
        '{"0": 20, "0.0": 32}',
        '{"0": 20, "1": 32}',
        '{"0": 20, "0.5": 32.0}',
        '{"0": true}',
        '{"0": 7, "0.5": 32}',
        '{"0": 20, "late": 32}',
        '{"0": 20, "nan": 32}',
    ],
)
def test_what_is_no_ascending_mapping_is_refused(value):
    with pytest.raises(UserError, match=r"^progressive_resizing=\{.*allowed: as in .*ascending from 0.* 8 to 1024$"):
        RecipeArguments(progressive_resizing=value)


def test_what_is_no_mapping_is_refused():
    for value in ("[20, 32]", "20"):
        with pytest.raises(UserError, match="progressive_resizing=.* is not a mapping"):
            RecipeArguments(progressive_resizing=value)


def test_shares_may_come_from_yaml_or_the_command_line():
    expected = {"0": 20, "0.5": 32}
    assert parse_sizes("sizes", {0: 20, 0.5: 32}) == parse_sizes("sizes", '{"0": 20, "0.5": 32}') == expected
    assert parse_sizes("sizes", None) == {}


@pytest.mark.parametrize(
    ("sizes", "head_only", "message"),
    [
        ({"0": 20, "0.5": 24}, False, "progressive_resizing ends at 24 pixels; the last must be .* input size, 32"),
        ({"0": 8, "0.5": 32}, False, "progressive_resizing.* 4 stages of halving need 17 or more"),
        ({"0": 20, "0.5": 32}, True, "progressive_resizing: frozen features have one size; leave it out"),
    ],
)
def test_sizes_that_do_not_fit_the_model_are_refused(tmp_path, sizes, head_only, message):
    model = build_cifar_cnn({**TINY_CNN, "hidden_sizes": [4] * 4, "depths": [1] * 4}, list(CLASS_NAMES))
    args = TrainingArguments(**get_training_defaults() | {"output_dir": str(tmp_path), "bf16": False})
    recipe = RecipeArguments(progressive_resizing=sizes)
    with pytest.raises(UserError, match=message):
        check_model(model, Preprocessing(), args, DataArguments(), recipe, 32, head_only)


def test_fixed_position_embeddings_take_one_size(tmp_path, tiny_vit):
    model, _ = load_model(str(tiny_vit), list(CLASS_NAMES))
    args = TrainingArguments(**get_training_defaults() | {"output_dir": str(tmp_path), "bf16": False})
    recipe = RecipeArguments(progressive_resizing={"0": 16, "0.5": 32})
    with pytest.raises(UserError, match="progressive_resizing"):
        check_model(model, Preprocessing(), args, DataArguments(), recipe, 32, head_only=False)


def test_the_recipe_refuses_in_one_line(recipe, tiny_config, tmp_path):
    command = ["train.py", "--config", tiny_config, f"--output_dir={tmp_path}/out"]
    code, _, err = recipe(*command, '--progressive_resizing={"0": 20, "0.5": 24}')
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1 and "ends at 24 pixels" in lines[0]
    assert "Traceback" not in err and not (tmp_path / "out").exists()
