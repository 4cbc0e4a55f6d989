"""Predictions: by the model's own processor, with classes matched by name, kept in parquet."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.store import read_images
from hf_cifar.errors import UserError
from hf_cifar.evaluation.predictions import (
    get_probabilities,
    make_predictions,
    match_classes,
    predict_probabilities,
    read_predictions,
    write_predictions,
)
from hf_cifar.models.loading import load_model


@pytest.mark.parametrize("run", ["cnn_run", "frozen_run"])
def test_they_are_what_a_pipeline_says(run, request, data):
    from PIL import Image

    folder = request.getfixturevalue(run)
    model, processor = load_model(str(folder))
    images = read_images(data.test)[:8]
    probabilities = predict_probabilities(model, processor, images, torch.device("cpu"), batch_size=3)
    classify = pipeline("image-classification", model=str(folder), trust_remote_code=True)
    for image, row in zip(images, probabilities, strict=True):
        answer = {entry["label"]: entry["score"] for entry in classify(Image.fromarray(image), top_k=10)}
        np.testing.assert_allclose(row, [answer[name] for name in CLASS_NAMES], atol=1e-4)


def test_a_diverged_model_is_said_to_be_one(cnn_run, data):
    model, processor = load_model(str(cnn_run))
    with torch.no_grad():
        model.classifier[-1].weight.fill_(float("nan"))
    with pytest.raises(UserError, match="training diverged. Lower learning_rate"):
        predict_probabilities(model, processor, read_images(data.test)[:4], torch.device("cpu"))


def test_classes_are_matched_by_name_in_any_order_and_spelling():
    labels = {i: name.upper() + "_" for i, name in enumerate(reversed(CLASS_NAMES))}
    assert match_classes(labels, list(CLASS_NAMES)) == list(range(9, -1, -1))
    with pytest.raises(UserError, match="have no 'airplane'; needed: airplane"):
        match_classes({i: f"LABEL_{i}" for i in range(10)}, list(CLASS_NAMES))


def test_parquet_keeps_index_label_and_probabilities(tmp_path, data):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), 500).astype(np.float32)
    write_predictions(tmp_path / "p/test.parquet", make_predictions(data.test, probabilities))
    frame = read_predictions(tmp_path / "p/test.parquet")
    assert list(frame.columns) == ["index", "label", *(f"probability_{name}" for name in CLASS_NAMES)]
    assert np.array_equal(get_probabilities(frame), probabilities)
    assert frame["index"].tolist() == data.test["index"][:]


def test_damaged_predictions_are_named(tmp_path):
    (tmp_path / "test.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"test\.parquet: cannot be read"):
        read_predictions(tmp_path / "test.parquet")
