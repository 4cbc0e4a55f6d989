"""CifarCnn takes images of every size that it can, computes the loss that labels ask for, and refuses the rest."""

import pytest
import torch
from torch.nn import functional

from .conftest import TINY_CNN
from .test_cifar_cnn_common import (
    TEXTBOOK_CNN,
    each_class,
    each_config,
    make_images,
    make_model,
)


@pytest.mark.parametrize("size", [8, 15, 31, 32, 33, 64, 256])
@pytest.mark.parametrize("final_pooling", ["max", "average"])
@each_config
def test_every_allowed_size_works(options, final_pooling, size):
    options = {**options, "final_pooling": final_pooling}
    with torch.no_grad():
        at_32 = make_model(options)
        made_for_it = make_model(options, image_size=size)  # has the same weights
        logits = at_32(make_images(2, size)).logits
        assert logits.shape == (2, 10) and logits.isfinite().all()
        assert torch.equal(made_for_it(make_images(2, size)).logits, logits)
        assert at_32(make_images(1, 64)[..., :size]).logits.shape == (1, 10)  # need not be square


def test_a_flattening_network_works_at_its_own_size():
    for size in (8, 15, 33):
        assert make_model(TEXTBOOK_CNN, image_size=size)(make_images(2, size)).logits.shape == (2, 10)


@pytest.mark.parametrize(
    ("options", "shape", "reason"),
    [
        (TINY_CNN, (2, 1, 32, 32), r"\(2, 1, 32, 32\); allowed: \(B, 3, H, W\)"),
        (TINY_CNN, (2, 32, 32, 3), r"\(2, 32, 32, 3\); allowed: \(B, 3, H, W\)"),
        (TINY_CNN, (3, 3, 32), r"\(3, 3, 32\); allowed: \(B, 3, H, W\)"),
        (TINY_CNN, (3, 32, 32), r"\(3, 32, 32\); allowed: \(B, 3, H, W\)"),
        (TINY_CNN, (2, 3, 4, 32), "4 x 32 pixels; 2 stages of halving need 5 or more"),
        (TINY_CNN, (2, 3, 32, 4), "32 x 4 pixels; 2 stages of halving need 5 or more"),
        (TEXTBOOK_CNN, (2, 3, 33, 32), "33 x 32 pixels; .* takes 32 x 32 only. Resize the images, or .*'max'"),
        (TEXTBOOK_CNN, (2, 3, 64, 64), "64 x 64 pixels; .* takes 32 x 32 only. Resize the images, or .*'max'"),
    ],
)
@each_class
def test_images_that_do_not_fit_are_refused(model_class, options, shape, reason):
    with pytest.raises(ValueError, match=reason):
        make_model(options, model_class)(torch.zeros(shape))


def test_the_smallest_size_that_is_not_refused_works():
    assert make_model(TINY_CNN)(torch.zeros(1, 3, 5, 5)).logits.isfinite().all()


@pytest.mark.parametrize(
    ("given", "used", "num_labels", "labels", "reference"),
    [
        ("single_label_classification", None, 10, torch.arange(4), functional.cross_entropy),
        ("multi_label_classification", None, 10, torch.eye(10)[:4], functional.binary_cross_entropy_with_logits),
        ("regression", None, 10, torch.eye(10)[:4], functional.mse_loss),
        ("regression", None, 1, torch.linspace(-1, 1, 4)[:, None], functional.mse_loss),
        (None, "single_label_classification", 10, torch.arange(4), functional.cross_entropy),
        (None, "multi_label_classification", 10, torch.eye(10)[:4], functional.binary_cross_entropy_with_logits),
        (None, "regression", 1, torch.linspace(-1, 1, 4)[:, None], functional.mse_loss),
    ],
)
@each_config
def test_the_loss_is_the_problem_types(options, given, used, num_labels, labels, reference):
    model = make_model(options, num_labels=num_labels, problem_type=given)
    output = model(make_images(), labels=labels)
    torch.testing.assert_close(output.loss, reference(output.logits, labels), rtol=1e-6, atol=0)
    assert model.config.problem_type == (used or given)
    if num_labels == 1 or labels.ndim == 1:  # a column and a row are the same
        assert torch.equal(model(make_images(), labels=labels.reshape(4, 1)).loss, output.loss)
        assert torch.equal(model(make_images(), labels=labels.reshape(4)).loss, output.loss)


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "labels"),
    [
        ("single_label_classification", 10, torch.arange(3)),
        (None, 10, torch.zeros(4, 10, dtype=torch.int64)),
        ("multi_label_classification", 10, torch.zeros(4)),
        (None, 10, torch.zeros(4, 9)),
        ("regression", 10, torch.zeros(10)),  # MSELoss would broadcast these
        ("regression", 10, torch.zeros(1, 10)),
        ("regression", 1, torch.zeros(1)),
        (None, 1, torch.zeros(4, 4)),
    ],
)
def test_labels_that_do_not_fit_are_refused(problem_type, num_labels, labels):
    model = make_model(TINY_CNN, num_labels=num_labels, problem_type=problem_type)
    expected = rf"labels has shape \({', '.join(map(str, labels.shape))},?\); allowed for .*: \(4"
    with pytest.raises(ValueError, match=expected):
        model(make_images(), labels=labels)
