"""The whitening stem's bias is trained for some epochs, and then no more; all else goes on."""

import pytest
from transformers import TrainerCallback, TrainingArguments

from hf_cifar.arguments import DataArguments, RecipeArguments
from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.errors import UserError
from hf_cifar.models.loading import build_cifar_cnn, hash_weights
from hf_cifar.training.trainer import check_model, get_training_defaults

from .conftest import TINY_CNN
from .test_trainer import MUON, make_trainer


class Recorder(TrainerCallback):
    """Keeps copies of parameters after each step; "bias" is the stem's."""

    def __init__(self) -> None:
        self.steps = []

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        names = {"bias": "cifar_cnn.stem.0.bias", "filters": "cifar_cnn.stages.0.layers.0.convolution.weight"}
        names["head"] = "classifier.1.weight"
        parameters = dict(model.named_parameters())
        self.steps.append({key: parameters[name].detach().clone() for key, name in names.items()})

    def get_changes(self, name: str) -> list[bool]:
        """Whether the parameter is another after each step but the first."""
        values = [step[name] for step in self.steps]
        return [not before.equal(after) for before, after in zip(values, values[1:], strict=False)]


def train(data, folder, epochs: int | None, checkpoint=None, **options):
    recorder = Recorder()
    options = {"save_strategy": "steps", "save_steps": 14, "eval_strategy": "no", "num_train_epochs": 2, **options}
    trainer = make_trainer(
        data, folder, {**MUON, "whitening_bias_epochs": epochs}, False, load_best_model_at_end=False, **options
    )
    trainer.add_callback(recorder)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer, recorder


def test_the_bias_moves_before_and_not_after(data, tmp_path):
    trainer, recorder = train(data, tmp_path, 1)
    assert recorder.get_changes("bias") == [True] * 9 + [False] * 10
    assert all(recorder.get_changes("filters")) and all(recorder.get_changes("head"))
    stem = trainer.model.cifar_cnn.stem[0]
    assert not stem.bias.requires_grad and stem.bias.grad is None


@pytest.mark.parametrize(("epochs", "expected"), [(0, [False] * 9), (None, [True] * 9)])
def test_zero_freezes_it_at_once_and_the_default_never(data, tmp_path, epochs, expected):
    _, recorder = train(data, tmp_path, epochs, num_train_epochs=1)
    assert recorder.get_changes("bias") == expected
    assert all(recorder.get_changes("filters"))


@pytest.mark.parametrize("stop_at", [6, 14], ids=["before", "after"])
def test_a_resumed_run_freezes_it_too(data, tmp_path, stop_at):
    whole, _ = train(data, tmp_path / "whole", 1, save_steps=stop_at)
    resumed, recorder = train(
        data, tmp_path / "resumed", 1, str(tmp_path / f"whole/checkpoint-{stop_at}"), save_steps=stop_at
    )
    moving = max(0, 10 - stop_at - 1)
    assert recorder.get_changes("bias") == [True] * moving + [False] * (20 - stop_at - 1 - moving)
    assert all(recorder.get_changes("filters"))
    assert hash_weights(resumed.model) == hash_weights(whole.model)


@pytest.mark.parametrize(("stem", "head_only"), [("none", False), ("whitening", True)])
def test_without_a_stem_to_train_it_is_refused(tmp_path, stem, head_only):
    model = build_cifar_cnn({**TINY_CNN, "stem": stem}, list(CLASS_NAMES))
    args = TrainingArguments(**get_training_defaults() | {"output_dir": str(tmp_path), "bf16": False})
    recipe = RecipeArguments(whitening_bias_epochs=1)
    with pytest.raises(UserError, match="whitening_bias_epochs: no whitening stem is trained here; leave it out"):
        check_model(model, Preprocessing(), args, DataArguments(), recipe, 32, head_only)
    with pytest.raises(UserError, match="whitening_bias_epochs=-1 is negative"):
        RecipeArguments(whitening_bias_epochs=-1)
