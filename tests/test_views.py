"""Test-time augmentation: the views are the reference's, and every number is also given without."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from hf_cifar.data.store import read_images
from hf_cifar.evaluation.predictions import get_probabilities, predict_probabilities
from hf_cifar.evaluation.results import read_results
from hf_cifar.evaluation.views import make_views
from hf_cifar.models.loading import load_model

CPU = torch.device("cpu")


def predict_reference(model, pixel_values: torch.Tensor, tta: str) -> torch.Tensor:
    """Logits as airbench94's `infer` has them, from normalised float images (B, C, H, W)."""

    def mirror(inputs: torch.Tensor) -> torch.Tensor:
        return 0.5 * model(inputs).logits + 0.5 * model(inputs.flip(-1)).logits

    if tta == "mirror":
        return mirror(pixel_values)
    padded = functional.pad(pixel_values, (1, 1, 1, 1), mode="reflect")
    moved = mirror(padded[:, :, 0:32, 0:32]) + mirror(padded[:, :, 2:34, 2:34])
    return 0.5 * mirror(pixel_values) + 0.25 * moved


@pytest.mark.parametrize(
    ("tta", "weights"),
    [("none", [1]), ("mirror", [0.5, 0.5]), ("mirror_translate", [0.25, 0.25, *4 * [0.125]])],
)
def test_weights_add_up_and_the_image_itself_comes_first(tta, weights):
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    views = list(make_views(images, tta))
    assert [weight for weight, _ in views] == weights and sum(weights) == 1
    assert np.array_equal(views[0][1], images)
    assert all(view.shape == images.shape and view.dtype == np.uint8 for _, view in views)


def test_a_moved_view_brings_in_the_second_line_of_pixels():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    moved = [view[0, :, :, 0] for _, view in make_views(image, "mirror_translate")][2:]
    # Down and to the right by one pixel, then up and to the left; the border itself is not repeated.
    assert moved[0].tolist() == [[5, 4, 5, 6], [1, 0, 1, 2], [5, 4, 5, 6], [9, 8, 9, 10]]
    assert moved[2].tolist() == [[5, 6, 7, 6], [9, 10, 11, 10], [13, 14, 15, 14], [9, 10, 11, 10]]
    assert np.array_equal(moved[1], moved[0][:, ::-1]) and np.array_equal(moved[3], moved[2][:, ::-1])


@pytest.mark.parametrize("tta", ["mirror", "mirror_translate"])
def test_probabilities_are_those_of_the_reference(cnn_run, data, tta):
    model, processor = load_model(str(cnn_run))
    images = read_images(data.test)[:20].copy()
    ours = predict_probabilities(model, processor, images, CPU, batch_size=8, tta=tta)
    pixel_values = processor(images=torch.from_numpy(images).permute(0, 3, 1, 2), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = predict_reference(model.eval(), pixel_values, tta).softmax(-1).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert np.abs(ours - predict_probabilities(model, processor, images, CPU)).max() > 1e-3


def test_processors_that_take_pillow_images_get_every_view(frozen_run, data):
    model, processor = load_model(str(frozen_run))
    assert hasattr(processor, "data_config")
    images = read_images(data.test)[:4]
    ours = predict_probabilities(model, processor, images, CPU, tta="mirror")
    logits = [np.log(predict_probabilities(model, processor, view, CPU)) for view in (images, images[:, :, ::-1])]
    expected = torch.from_numpy(sum(logits) / 2).softmax(-1).numpy()  # a logarithm differs from logits by a constant
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_a_run_and_its_evaluation_give_every_number_with_and_without(recipe, tiny_config, cnn_run, tmp_path):
    run = tmp_path / "run"
    code, _, err = recipe("train.py", "--config", tiny_config, f"--output_dir={run}", "--tta=mirror_translate")
    assert code == 0, err
    check_run(run, cnn_run)
    options = ["--tta=mirror_translate", "--precision=fp32", "--dataset=sample", f"--output_dir={tmp_path}/new"]
    code, out, err = recipe("eval.py", run, *options)
    assert code == 0, err
    results = read_results(run)
    for section, tta in (("metrics", "none"), ("metrics_tta", "mirror_translate")):
        accuracy = results[section]["test"]["accuracy"]["value"]
        line = next(line for line in out.splitlines() if line.endswith(f"test-time augmentation: {tta}"))
        assert line.startswith(f"accuracy {100 * accuracy:.2f} %")
        written = json.loads((tmp_path / f"new/{section}.json").read_text())
        assert written["test"]["accuracy"]["value"] == pytest.approx(accuracy)
    names = {path.name for path in (tmp_path / "new/predictions").iterdir()}
    assert names == {"test.parquet", "test_tta.parquet"}


def check_run(run, plain_run) -> None:
    results, plain = read_results(run), read_results(plain_run)
    assert results["recipe"]["tta"] == "mirror_translate" and plain["recipe"]["tta"] == "none"
    assert results["metrics"] == plain["metrics"] and "metrics_tta" not in plain
    assert results["model"]["weights_sha256"] == plain["model"]["weights_sha256"]
    for split in ("validation", "test"):
        frames = [pd.read_parquet(run / f"predictions/{split}{end}.parquet") for end in ("", "_tta")]
        assert frames[0][["index", "label"]].equals(frames[1][["index", "label"]])
        assert not frames[0].equals(frames[1])
        for frame, section in zip(frames, ("metrics", "metrics_tta"), strict=True):
            accuracy = (get_probabilities(frame).argmax(1) == frame["label"]).mean()
            assert results[section][split]["accuracy"]["value"] == pytest.approx(accuracy)
    assert not list(plain_run.glob("predictions/*_tta.parquet"))


def test_eval_refuses_other_ways(recipe, cnn_run):
    code, _, err = recipe("eval.py", cnn_run, "--tta=rotate")
    assert code == 2 and "invalid choice: 'rotate'" in err


def test_an_unknown_augmentation_is_no_augmentation_at_all():
    with pytest.raises(ValueError, match="tta='flip'; allowed: none, mirror, mirror_translate"):
        next(make_views(np.zeros((1, 4, 4, 3), dtype=np.uint8), "flip"))
