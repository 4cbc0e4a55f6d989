"""Hard examples: the hardest of each batch, in the training's own order, the same after a resume."""

import pytest
import torch
from torch.nn import functional
from transformers import TrainingArguments, set_seed

from hf_cifar.arguments import DataArguments, RecipeArguments
from hf_cifar.data.batches import ImageBatches, KeyedSampler
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.split import split_table
from hf_cifar.data.transforms import ImageTransform, Preprocessing
from hf_cifar.errors import UserError
from hf_cifar.evaluation.metrics import build_compute_metrics
from hf_cifar.models.loading import build_cifar_cnn, find_classifier, hash_weights
from hf_cifar.training import fit as fit_module
from hf_cifar.training.fit import fit
from hf_cifar.training.hard_examples import (
    FILE_NAME,
    HardExamples,
    build_proxy,
    choose_hard_examples,
    load_hard_examples,
    save_hard_examples,
)
from hf_cifar.training.trainer import build_recipe_optimizer, check_model, get_training_defaults

from .conftest import TINY_CNN
from .tiny_models import build_tiny

RECIPE = {"optimizer": "muon", "hard_examples": {"share": 0.5, "proxy": {"hidden_sizes": [8, 16]}}}


def make_arguments(folder, **options) -> TrainingArguments:
    settings = get_training_defaults() | {"bf16": False, "fp16": False, "use_cpu": True, "disable_tqdm": True}
    settings |= {"output_dir": str(folder), "num_train_epochs": 3, "per_device_train_batch_size": 30}
    settings |= {"learning_rate": 0.05, "save_total_limit": None, "load_best_model_at_end": False}
    return TrainingArguments(**settings | options)


def make_dataset(data, size: int = 300) -> ImageBatches:
    transform = ImageTransform(Preprocessing(), DataArguments(flip="alternating", translate=2))
    return ImageBatches(split_table(data.train)[0].select(range(size)), transform)


def choose(dataset, args, **changes):
    """The choice of a fresh small network, and that network."""
    recipe = RecipeArguments(**RECIPE | changes)
    set_seed(0)
    proxy = build_proxy(build_cifar_cnn(TINY_CNN, list(CLASS_NAMES)), recipe)
    optimizer = build_recipe_optimizer(proxy, find_classifier(proxy), args, recipe)
    return choose_hard_examples(proxy, optimizer, dataset, args, recipe, "fp32"), proxy


def test_each_batch_is_the_half_of_a_larger_one_whose_loss_is_highest(data, tmp_path):
    dataset = make_dataset(data)
    args = make_arguments(tmp_path, num_train_epochs=2, learning_rate=0.0, label_smoothing_factor=0.2)
    rates = {"parameter_groups": {"vectors": {"lr": 0.0}, "head": {"lr": 0.0}}}
    chosen, proxy = choose(dataset, args, **rates)  # that does not learn, so that its losses can be had again
    assert chosen.rows.shape == (2, 300) and chosen.rows.sum(1).tolist() == [150, 150]
    everything, hard = KeyedSampler(300, args.seed), KeyedSampler(300, args.seed, chosen.rows)
    assert len(hard) == 150
    for epoch in range(2):
        everything.set_epoch(epoch)
        hard.set_epoch(epoch)
        large, small = torch.tensor(list(everything)).split(60), torch.tensor(list(hard)).split(30)
        assert len(large) == len(small) == 5
        for keys, kept in zip(large, small, strict=True):
            batch = dataset.__getitems__(keys.tolist())
            with torch.no_grad():
                logits = proxy.train()(batch["pixel_values"]).logits
            losses = functional.cross_entropy(logits, batch["labels"], label_smoothing=0.2, reduction="none")
            assert set(kept.tolist()) == set(keys[losses.topk(30).indices].tolist())


def test_the_small_network_learns_which_images_are_hard(data, tmp_path):
    """Images with a wrong label stay hard, so they are kept more often than others."""
    dataset = make_dataset(data, 600)
    wrong = torch.arange(600) < 60
    dataset.labels = torch.where(wrong, (dataset.labels + 1) % 10, dataset.labels)
    args = make_arguments(tmp_path, num_train_epochs=24)
    groups = {"vectors": {"lr": 0.05}, "head": {"lr": 0.1}}
    chosen, _ = choose(dataset, args, parameter_groups=groups)
    last = chosen.rows[12:].float().mean(0)
    assert last[wrong].mean() > last[~wrong].mean() + 0.15


def test_the_same_seed_chooses_the_same_images(data, tmp_path):
    dataset, args = make_dataset(data, 600), make_arguments(tmp_path, num_train_epochs=3)
    first, again = (choose(dataset, args)[0].rows for _ in range(2))
    assert torch.equal(first, again)


def test_sizes_that_do_not_divide_give_every_epoch_as_many(data, tmp_path):
    args = make_arguments(tmp_path, per_device_train_batch_size=32)
    chosen, _ = choose(make_dataset(data, 290), args, hard_examples={"share": 0.3})
    assert len(set(chosen.rows.sum(1).tolist())) == 1
    assert chosen.rows[0].sum() == 2 * 32 + round(0.3 * (290 - 2 * 107))


def train(data, folder, checkpoint=None):
    """Two epochs of 5 steps, bf16 so that kernels are on where the machine has them."""
    set_seed(0)
    model = build_cifar_cnn({**TINY_CNN, "hidden_sizes": [32, 32], "hidden_dropout": 0.1}, list(CLASS_NAMES))
    args = make_arguments(
        folder, num_train_epochs=2, bf16=True, save_strategy="steps", save_steps=3, eval_strategy="no"
    )
    table = split_table(data.train)[0].select(range(300))
    outcome = fit(
        model, Preprocessing(), table, None, args, DataArguments(flip="random", mixup=0.2),
        RecipeArguments(**RECIPE), build_compute_metrics(10), folder, checkpoint=checkpoint,
    )  # fmt: skip
    return model, outcome


def test_a_resumed_run_trains_on_the_images_that_were_chosen(data, tmp_path, monkeypatch):
    whole, outcome = train(data, tmp_path)
    assert outcome.epochs == 2 and outcome.history[-1]["loss"] > 0
    seconds = load_hard_examples(tmp_path).seconds
    assert 0 < seconds < outcome.train_seconds
    assert outcome.train_images_per_second == pytest.approx(2 * 150 / outcome.train_seconds)
    monkeypatch.setattr(fit_module, "choose_hard_examples", None)  # it must not be asked again
    for step in (3, 6):
        resumed, _ = train(data, tmp_path, checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert hash_weights(resumed) == hash_weights(whole)


def test_a_damaged_choice_is_refused(tmp_path):
    assert load_hard_examples(tmp_path) is None
    rows = torch.rand(3, 21) < 0.5
    save_hard_examples(tmp_path, HardExamples(rows, 1.5))
    loaded = load_hard_examples(tmp_path)
    assert torch.equal(loaded.rows, rows) and loaded.seconds == 1.5
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged"):
        load_hard_examples(tmp_path)


@pytest.mark.parametrize(
    "value", [{"share": 0.0}, {"share": 1}, {"share": 1.5}, {"share": "x"}, {"proxy": {}}, {"share": 0.5, "proxi": {}}]
)
def test_shares_out_of_range_are_refused(value):
    with pytest.raises(UserError, match="hard_examples=.*allowed: a share above 0 and below 1"):
        RecipeArguments(hard_examples=value)


def check(model, args, **changes):
    check_model(model, Preprocessing(), args, DataArguments(), RecipeArguments(**RECIPE | changes), 32, False)


def test_what_cannot_be_done_is_refused_before_training(tmp_path):
    model, args = build_cifar_cnn(TINY_CNN, list(CLASS_NAMES)), make_arguments(tmp_path)
    check(model, args)
    with pytest.raises(UserError, match="hard_examples: model_config has unknown field 'hidden_size'"):
        check(model, args, hard_examples={"share": 0.5, "proxy": {"hidden_size": 8}})
    with pytest.raises(UserError, match=r"num_train_epochs=1.5 is not whole"):
        check(model, make_arguments(tmp_path, num_train_epochs=1.5))
    with pytest.raises(UserError, match="hard_examples: .* leave it out"):
        check(build_tiny("vit"), args)


def test_a_small_network_that_diverges_stops_the_run(data, tmp_path):
    args = make_arguments(tmp_path, learning_rate=1e30)
    with pytest.raises(UserError, match="small network .* NaN or infinite"):
        choose(make_dataset(data), args, parameter_groups={"vectors": {"lr": 1e30}, "head": {"lr": 1e30}})
