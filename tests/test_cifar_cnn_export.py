"""CifarCnn compiled and exported gives the logits of eager mode, for batches of any size."""

import pytest
import torch

from hf_cifar.models import CifarCnnForImageClassification

from .test_cifar_cnn_common import each_config, make_images, make_model

DYNAMIC = {"pixel_values": {0: torch.export.Dim.DYNAMIC}}


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@each_config
def test_it_compiles_to_one_graph(options):
    model = make_model(options)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    labels = torch.arange(4)
    with torch.no_grad():
        expected = model(make_images(), labels=labels, output_hidden_states=True)
        output = compiled(make_images(), labels=labels, output_hidden_states=True)
    assert isinstance(compiled._orig_mod, CifarCnnForImageClassification)
    torch.testing.assert_close(dict(output), dict(expected), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@each_config
def test_inductor_gives_the_logits_and_gradients_of_eager(options, training):
    model = make_model({**options, "hidden_dropout": 0.0, "classifier_dropout": 0.0}).train(training)
    results = []
    for run in (model, torch.compile(model, fullgraph=True)):
        model.zero_grad()
        output = run(make_images(), labels=torch.arange(4))
        output.loss.backward()
        results.append((output.logits, {k: v.grad.clone() for k, v in model.named_parameters() if v.requires_grad}))
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=1e-3)


@each_config
def test_torch_export_equals_eager_for_any_batch(options):
    model = make_model(options)
    program = torch.export.export(model, (), {"pixel_values": make_images()}, dynamic_shapes=DYNAMIC)
    with torch.no_grad():
        for count in (1, 2, 4, 9):
            images = make_images(count)
            output = program.module()(pixel_values=images)
            torch.testing.assert_close(output.logits, model(images).logits, atol=1e-6, rtol=1e-5)


@each_config
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_equals_eager_for_any_batch(options, tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, path = make_model(options), tmp_path / "model.onnx"
    torch.onnx.export(
        model,
        (),
        path,
        kwargs={"pixel_values": make_images()},
        dynamo=True,
        dynamic_shapes=DYNAMIC,
        input_names=["pixel_values"],
        output_names=["logits"],
        verbose=False,
    )
    onnx.checker.check_model(path, full_check=True)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["pixel_values"]
    assert [each.name for each in session.get_outputs()] == ["logits"]
    with torch.no_grad():
        for count in (1, 2, 4, 9):
            images = make_images(count)
            (logits,) = session.run(None, {"pixel_values": images.numpy()})
            torch.testing.assert_close(torch.from_numpy(logits), model(images).logits, atol=1e-5, rtol=1e-4)
