"""Pictures of the data show what they say."""

import numpy as np

from hf_cifar.data.transforms import ImageTransform, Preprocessing
from hf_cifar.reporting.explore import draw_augmentations, draw_balance, draw_classes


def test_every_class_has_its_row(data):
    figure = draw_classes(data.train, per_class=3)
    assert [axes.texts[0].get_text() for axes in figure.axes[::3]] == data.class_names


def test_augmented_images_follow_the_epochs(data):
    figure = draw_augmentations(data.train, ImageTransform(Preprocessing(), "alternating", 0), epochs=2)
    original, first, second = (axes.images[0].get_array() for axes in figure.axes[:3])
    assert np.array_equal(first, second[:, ::-1])  # alternating flip
    assert np.array_equal(original, first) or np.array_equal(original, second)


def test_balance_counts_each_split(data):
    figure = draw_balance({"train": data.train, "validation": None, "test": data.test})
    assert [axes.get_title() for axes in figure.axes] == ["train: 1,000 images", "test: 500 images"]
    assert {bar.get_width() for bar in figure.axes[1].patches} == {50}
