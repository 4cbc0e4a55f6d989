"""CifarCnn does what transformers asks of every image classifier: outputs, determinism, precision, copies."""

import copy
import inspect
import pickle

import pytest
import torch
from torch.nn import functional
from transformers.utils import ModelOutput

from hf_cifar.models import CifarCnnConfig, CifarCnnForImageClassification, CifarCnnModel

from .conftest import TINY_CNN

TEXTBOOK_CNN = {
    "hidden_sizes": [8, 8, 16],
    "depths": [1, 1, 2],
    "classifier_hidden_sizes": [16],
    "hidden_dropout": 0.2,
    "classifier_dropout": 0.5,
}
BEST_CNN = {**TINY_CNN, "depths": [3, 3], "residual": True, "batch_norm_scale": False}
CONFIGS = {"textbook": TEXTBOOK_CNN, "fast": TINY_CNN, "best": BEST_CNN}
CLASSES = [CifarCnnModel, CifarCnnForImageClassification]

each_config = pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
each_class = pytest.mark.parametrize("model_class", CLASSES)


def make_model(options: dict, model_class=CifarCnnForImageClassification, **more):
    """A model in evaluation mode, with running statistics and shifts that are not those of a fresh one."""
    torch.manual_seed(0)
    model = model_class(CifarCnnConfig(**{"num_labels": 10, **options, **more})).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.bias, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            module.num_batches_tracked.fill_(5)
    return model


def make_images(count: int = 4, size: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@each_class
def test_pixel_values_come_first(model_class):
    names = list(inspect.signature(model_class.forward).parameters)
    assert names[:2] == ["self", "pixel_values"] and model_class.main_input_name == "pixel_values"
    assert ("labels" in names) == (model_class is CifarCnnForImageClassification)


@each_config
def test_device_maps_split_between_stages_only(options):
    model = make_model(options)
    stages = [type(module).__name__ for module in model.modules() if type(module).__name__ in model._no_split_modules]
    assert stages == ["CifarCnnStage"] * len(options["depths"])


@each_class
@each_config
def test_hidden_states_on_request_and_by_config(options, model_class):
    model = make_model(options, model_class)
    with torch.no_grad():
        asked = model(make_images(), output_hidden_states=True).hidden_states
        assert model(make_images()).hidden_states is None
        model.config.output_hidden_states = True
        by_config = model(make_images()).hidden_states
        assert model(make_images(), output_hidden_states=False).hidden_states is None
    size, channels = (31, 24) if options.get("stem") == "whitening" else (32, 3)
    shapes = [(4, channels, size, size)]
    for channels in options["hidden_sizes"]:
        size //= 2
        shapes.append((4, channels, size, size))
    assert [tuple(state.shape) for state in asked] == shapes
    assert all(torch.equal(a, b) for a, b in zip(asked, by_config, strict=True))


@pytest.mark.parametrize(
    ("depths", "pooling", "residual"),
    [
        ([1, 3], "after_first_convolution", False),
        ([1, 3], "after_last_convolution", False),
        ([2, 3], "after_first_convolution", True),
    ],
)
@each_config
def test_a_stage_computes_what_its_config_says(options, depths, pooling, residual):
    more = {"hidden_sizes": [8, 8], "depths": depths, "pooling": pooling, "residual": residual}
    model = make_model({**options, **more})
    activation = {"gelu": functional.gelu, "relu": functional.relu}[model.config.hidden_act]
    weights = model.cifar_cnn.state_dict()
    with torch.no_grad():
        states = model(make_images(), output_hidden_states=True).hidden_states
        for i, depth in enumerate(depths):
            layers = [states[i]]
            for j in range(depth):
                layer = f"stages.{i}.layers.{j}."
                kernel, bias = weights[f"{layer}convolution.weight"], weights.get(f"{layer}convolution.bias")
                state = functional.conv2d(layers[-1], kernel, bias, padding=1)
                if j == (0 if pooling == "after_first_convolution" else depth - 1):
                    state = functional.max_pool2d(state, 2)
                if model.config.normalization == "batch":
                    names = ("running_mean", "running_var", "weight", "bias")
                    state = functional.batch_norm(state, *(weights[f"{layer}normalization.{name}"] for name in names))
                layers.append(activation(state + layers[1] if residual and j == depth - 1 else state))
            torch.testing.assert_close(states[i + 1], layers[-1])


@each_config
def test_gradients_reach_every_hidden_state(options):
    model = make_model(options).train()
    output = model(make_images().requires_grad_(), labels=torch.arange(4), output_hidden_states=True)
    for state in output.hidden_states:
        state.retain_grad()
    output.loss.backward()
    assert all(state.grad is not None and state.grad.any() for state in output.hidden_states)


@pytest.mark.parametrize("hidden", [False, True])
@each_class
@each_config
def test_tuple_and_dict_outputs_agree(options, model_class, hidden):
    model = make_model(options, model_class)
    options = {"output_hidden_states": hidden}
    if model_class is CifarCnnForImageClassification:
        options["labels"] = torch.arange(4)
    as_dict = model(make_images(), **options)
    as_tuple = model(make_images(), return_dict=False, **options)
    model.config.return_dict = False
    by_config = model(make_images(), **options)
    assert isinstance(as_dict, ModelOutput) and type(as_tuple) is tuple and type(by_config) is tuple
    names = ["loss", "logits"] if "labels" in options else ["last_hidden_state", "pooler_output"]
    assert list(as_dict) == names + ["hidden_states"] * hidden
    for each in (as_tuple, by_config):
        torch.testing.assert_close(each, as_dict.to_tuple(), rtol=0, atol=0)


@each_config
def test_one_image_alone_equals_the_same_in_a_batch(options):
    model, images = make_model(options), make_images(5)
    with torch.no_grad():
        whole = model(images, output_hidden_states=True)
        for i in range(5):
            alone = model(images[i : i + 1], output_hidden_states=True)
            torch.testing.assert_close(alone.logits[0], whole.logits[i], atol=1e-5, rtol=0)
            for a, b in zip(alone.hidden_states, whole.hidden_states, strict=True):
                torch.testing.assert_close(a[0], b[i], atol=1e-5, rtol=0)
    assert (whole.logits[0] - whole.logits[1]).abs().max() > 1e-4  # so the above says something


@each_config
def test_evaluation_is_deterministic_and_changes_nothing(options):
    model, images = make_model(options), make_images()
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images).logits, model(images).logits)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each_config
def test_a_half_model_takes_float32_images(options, dtype):
    model = make_model(options)
    with torch.no_grad():
        expected = model(make_images(), labels=torch.arange(4))
        output = model.to(dtype)(make_images(), labels=torch.arange(4))
    assert output.logits.dtype == dtype and output.loss.dtype == torch.float32
    torch.testing.assert_close(output.logits.float(), expected.logits, atol=0.05, rtol=0.05)


@each_config
def test_copies_and_pickles_are_equal_and_apart(options):
    model = make_model(options).train()
    model.gradient_checkpointing_enable()  # leaves functions that know the model in it
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            assert torch.equal(twin.eval()(make_images()).logits, model.eval()(make_images()).logits)
        assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in model.parameters()]
        assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in model.parameters()}


@each_config
def test_the_head_has_as_many_classes_as_the_config(options):
    names = {0: "cat", 1: "dog", 2: "frog"}
    model = make_model({**options, "id2label": names, "label2id": {v: k for k, v in names.items()}, "num_labels": 3})
    assert model.config.id2label == names and model.config.num_labels == model.num_labels == 3
    assert model(make_images()).logits.shape == (4, 3)
    unnamed = make_model(options, num_labels=7)
    assert unnamed(make_images()).logits.shape == (4, 7)
    assert len(unnamed.config.id2label) == len(unnamed.config.label2id) == 7
