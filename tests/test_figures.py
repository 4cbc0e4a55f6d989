"""Figures: drawn from any sensible input, saved whole."""

import numpy as np

from hf_cifar.reporting import figures


def test_runs_without_validation_still_get_curves(tmp_path):
    figure = figures.draw_learning_curves({"a": [{"epoch": 1.0, "loss": 2.0}], "b": []})
    figures.save_figure(figure, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_confusion_matrix_shows_counts():
    figure = figures.draw_confusion_matrices({"run": [[8, 2], [0, 5]]}, ["cat", "dog"])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["2", "5", "8"]


def test_predictions_are_coloured_by_being_right():
    images = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    figure = figures.draw_sample_predictions(images, ["cat"], {"a": [("cat", 0.9)], "b": [("dog", 0.6)]}, ["only a"])
    assert [text.get_color() for text in figure.axes[0].texts] == [figures.RIGHT, figures.WRONG]
