"""Figures: drawn from any sensible input, saved whole, the same each time."""

import numpy as np

from hf_cifar.reporting import figures
from hf_cifar.reporting.image_grids import draw_galleries


def test_runs_without_validation_still_get_curves(tmp_path):
    figure = figures.draw_learning_curves({"a": [{"epoch": 1.0, "loss": 2.0}], "b": []})
    figures.save_figure(figure, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_svg_lies_beside_the_png_with_its_text_as_text_and_the_same_each_time(tmp_path):
    for name in ("first", "second"):
        figure = figures.draw_learning_curves({"a model": [{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]})
        figures.save_figure(figure, tmp_path / f"{name}.png")
    first, second = ((tmp_path / f"{name}.svg").read_text() for name in ("first", "second"))
    assert first == second and ">a model<" in first and "<dc:date>" not in first
    figures.save_figure(figure, tmp_path / "alone.png", has_svg=False)
    figures.save_figure(figure, tmp_path / "vector.svg")
    assert not (tmp_path / "alone.svg").exists() and not (tmp_path / "vector.png").exists()


def test_learning_curves_are_told_apart_without_colour():
    history = [
        {"epoch": float(i), "loss": 1 / i, "validation_loss": 2 / i, "validation_accuracy": 0.5} for i in (1, 2)
    ]
    figure = figures.draw_learning_curves({name: history for name in "abc"})
    training = [line for line in figure.axes[0].lines if line.get_linestyle() == "-" and len(line.get_xdata())]
    assert len({line.get_marker() for line in training}) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c", "training", "validation"]
    assert list(figure.axes[1].lines[0].get_ydata()) == [50, 50]


def test_a_confusion_matrix_shows_counts():
    figure = figures.draw_confusion_matrices({"run": [[8, 2], [0, 5]]}, ["cat", "dog"])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["2", "5", "8"]


def test_predictions_are_coloured_by_being_right():
    images = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    figure = figures.draw_sample_predictions(images, ["cat"], {"a": [("cat", 0.9)], "b": [("dog", 0.6)]}, ["only a"])
    assert [text.get_color() for text in figure.axes[0].texts] == [figures.RIGHT, figures.WRONG]


def test_galleries_keep_rows_apart():
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    long = "A heading that is so long that it needs more than one line, because a model's name is that long. " * 2
    figure = draw_galleries(
        [(long, [image] * 3, ["a\nb\nc"] * 3), ("none", [], []), ("last", [image], ["x"])], "Title"
    )
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axes.get_window_extent() for axes in figure.axes]
    boxes += [axes.texts[0].get_window_extent() for axes in figure.axes]
    for position, box in enumerate(boxes):
        assert 0 <= box.x0 and box.x1 <= figure.bbox.width and 0 <= box.y0 and box.y1 <= figure.bbox.height
        for other in boxes[position + 1 :]:
            assert not (box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1)
