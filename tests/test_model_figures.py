"""Figures of what is inside a network: maps lie where they belong, few and many classes and filters fit."""

import numpy as np
import pytest

from hf_cifar.reporting import model_figures
from hf_cifar.reporting.feature_map import project_features


def test_the_bright_part_of_an_overlay_is_where_the_map_is():
    images, maps = np.full((1, 32, 32, 3), 100, dtype=np.uint8), np.zeros((1, 4, 4), dtype=np.float32)
    maps[0, 0, 3] = 1
    (picture,) = model_figures.overlay(images, maps)
    assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
    light = picture.astype(int).sum(2)
    assert light[:24, 72:].mean() > light[72:, :24].mean() + 50
    (large,) = model_figures.overlay(np.zeros((1, 224, 224, 3), dtype=np.uint8), maps)
    assert large.shape == (224, 224, 3)


def test_maps_are_drawn_below_their_images():
    images, maps = np.zeros((2, 32, 32, 3), dtype=np.uint8), {"a": np.zeros((2, 4, 4), dtype=np.float32)}
    figure = model_figures.draw_activation_maps(images, ["cat", "dog"], maps, {"a": ["→ cat 90%", "→ cat 60%"]})
    captions = [axes.texts[0].get_text() for axes in figure.axes]
    assert captions == ["cat", "dog", "→ cat 90%", "→ cat 60%"]
    tops = [axes.get_position().y0 for axes in figure.axes]
    assert tops[:2] == pytest.approx([tops[0]] * 2) and tops[2:] == pytest.approx([tops[2]] * 2)
    assert tops[0] > tops[2] > 0


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_feature_maps_of_few_and_many_classes(num_classes):
    labels = np.arange(300) % num_classes
    points = np.random.default_rng(0).normal(size=(300, 2))
    figure = model_figures.draw_feature_maps({"a": points, "b": points}, labels, [f"c{k}" for k in range(num_classes)])
    assert len(figure.legends[0].get_texts()) == min(num_classes, 20)
    drawn = sum(len(collection.get_offsets()) for collection in figure.axes[0].collections)
    assert drawn == 300


def test_filters_are_gray_where_weights_are_0_and_the_first_64_are_shown():
    weights = np.zeros((100, 3, 3, 3), dtype=np.float32)
    weights[0, 0, 0, 0] = -2
    figure = model_figures.draw_first_filters({"a": weights, "b": weights[:1]})
    canvas = figure.axes[0].images[0].get_array()
    assert np.allclose(canvas[0, 0], [0, 0.5, 0.5]) and np.allclose(canvas[23, 23], 0.5)
    assert "64 of 100 filters of 3 x 3" in figure.axes[0].get_title()


def test_projected_features_keep_groups_together():
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    points = project_features(
        20.0 * np.eye(3)[labels] @ generator.normal(size=(3, 60)) + generator.normal(size=(90, 60))
    )
    centers = np.stack([points[labels == label].mean(0) for label in range(3)])
    nearest = np.linalg.norm(points[:, None] - centers, axis=2).argmin(1)
    assert (nearest == labels).all()


@pytest.mark.parametrize("features", [np.ones((50, 8)), np.ones((3, 8)), np.full((50, 8), np.nan)])
def test_features_that_do_not_vary_are_not_projected(features):
    assert project_features(features) is None


def test_few_or_flat_features_are_projected():
    generator = np.random.default_rng(0)
    for shape in ((4, 10), (40, 1)):
        assert np.isfinite(project_features(generator.normal(size=shape))).all()
