"""eval.py as a user runs it: any classifier, a final run, a model of one class, and input that is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.evaluation.metrics import compute_all_metrics
from hf_cifar.evaluation.predictions import get_probabilities, read_predictions

from .tiny_models import VIT_32


def save_classifier(folder, names: list[str], favourite: str | None = None) -> None:
    """A random ViT with these labels; one that gives a favourite class, where there is one, all the probability."""
    torch.manual_seed(0)
    labels = dict(enumerate(names))
    model = ViTForImageClassification(ViTConfig(**VIT_32, id2label=labels, label2id={n: k for k, n in labels.items()}))
    if favourite is not None:
        torch.nn.init.zeros_(model.classifier.weight)
        with torch.no_grad():
            model.classifier.bias.copy_(torch.tensor([500.0 * (name == favourite) for name in names]))
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def evaluate(recipe, folder, output, *options):
    code, out, err = recipe(
        "eval.py", folder, "--dataset=sample", "--precision=fp32", f"--output_dir={output}", *options
    )
    assert code == 0, err
    assert "nan" not in out and "None" not in out
    return out, json.loads((output / "metrics.json").read_text())


def test_a_strangers_model_is_matched_by_name_and_every_number_is_its_predictions(recipe, tmp_path):
    save_classifier(tmp_path / "model", ["other", *(name.upper() for name in reversed(CLASS_NAMES))])
    out, metrics = evaluate(recipe, tmp_path / "model", tmp_path / "out", "--tta=mirror")
    for name in ("test", "test_tta"):
        frame = read_predictions(tmp_path / f"out/predictions/{name}.parquet")
        expected = compute_all_metrics(get_probabilities(frame), frame["label"].to_numpy(), list(CLASS_NAMES))
        kept = json.loads((tmp_path / f"out/metrics{name.removeprefix('test')}.json").read_text())["test"]
        assert kept["confusion_matrix"] == expected["confusion_matrix"]
        assert kept["scores"]["roc_auc"]["value"] == pytest.approx(expected["scores"]["roc_auc"]["value"], abs=1e-6)
    assert metrics["calibration"]["temperature"] is None
    assert "temperature scaling: none, no validation images of a run" in out
    assert "test-time augmentation: mirror" in out and not (tmp_path / "model/results.json").exists()


@pytest.mark.parametrize("favourite", ["frog", "other"])
def test_a_model_that_predicts_one_class_or_none_of_ours(recipe, tmp_path, favourite):
    save_classifier(tmp_path / "model", [*CLASS_NAMES, "other"], favourite)
    _, metrics = evaluate(recipe, tmp_path / "model", tmp_path / "out")
    test = metrics["test"]
    assert test["accuracy"]["value"] == pytest.approx(0.1)  # the first class, where none of ours has a probability
    assert test["scores"]["kappa"]["value"] == test["scores"]["matthews"]["value"] == 0
    assert test["scores"]["roc_auc"]["value"] == 0.5
    probabilities = get_probabilities(pd.read_parquet(tmp_path / "out/predictions/test.parquet"))
    assert np.allclose(probabilities.sum(1), 1)


def test_a_runs_temperature_is_fitted_on_its_own_validation_images(recipe, cnn_run, tmp_path):
    results = json.loads((cnn_run / "results.json").read_text())
    out, metrics = evaluate(recipe, cnn_run, tmp_path / "out")
    assert metrics["calibration"]["temperature"] == pytest.approx(results["calibration"]["temperature"], rel=1e-3)
    assert metrics["calibration"]["fitted_on"] == "validation" and "before" in out and "after" in out
    assert not (tmp_path / "out/predictions/validation.parquet").exists()  # it was not asked for
    results["data"]["validation_sha256"] = None  # as of a final run
    final = tmp_path / "final"
    final.mkdir()
    for path in cnn_run.iterdir():
        if path.is_file():
            (final / path.name).write_bytes(path.read_bytes())
    (final / "results.json").write_text(json.dumps(results))
    _, metrics = evaluate(recipe, final, tmp_path / "out2")
    assert metrics["calibration"]["temperature"] is None and metrics["calibration"]["reason"]
    assert set(metrics["calibration"]["test"]) == {"before"}


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([f"LABEL_{k}" for k in range(10)], [], "have no 'airplane'"),
        (CLASS_NAMES, ["--frost_photos=photos"], "add --robustness quick"),
        (CLASS_NAMES, ["--robustness=some"], "invalid choice: 'some'"),
        (CLASS_NAMES, ["--split=train"], "invalid choice: 'train'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(recipe, tmp_path, names, options, message):
    save_classifier(tmp_path / "model", list(names))
    code, _, err = recipe("eval.py", tmp_path / "model", "--dataset=sample", f"--output_dir={tmp_path}/out", *options)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1 and message in lines[0] and "Traceback" not in err, err
    assert not (tmp_path / "out").exists()
