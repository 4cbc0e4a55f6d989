"""Pictures of the data show what they say."""

import numpy as np
import pytest
import torch

from hf_cifar.arguments import AugmentationArguments
from hf_cifar.data.batches import ImageBatches
from hf_cifar.data.duplicates import Pair
from hf_cifar.data.reference import Dispute
from hf_cifar.data.store import read_column, read_images
from hf_cifar.data.transforms import ImageTransform, Preprocessing
from hf_cifar.reporting import explore, explore_augmentation, explore_labels
from hf_cifar.reporting.figures import WRONG
from hf_cifar.reporting.image_grids import draw_strips, shorten


@pytest.fixture
def batches(data):
    return ImageBatches(data.train, ImageTransform(Preprocessing()))


def cut_tiles(figure, size: int = 32) -> np.ndarray:
    """The images of `draw_strips`, uint8 (rows, columns, S, S, 3)."""
    canvas = figure.axes[0].images[0].get_array()
    step = size + max(1, size // 12)
    rows, columns = ((length + step - size) // step for length in canvas.shape[:2])
    return np.array(
        [[canvas[y * step : y * step + size, x * step : x * step + size] for x in range(columns)] for y in range(rows)]
    )


def get_row_labels(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def get_captions(figure) -> list[tuple[str, str]]:
    return [(axes.texts[0].get_text(), axes.texts[0].get_color()) for axes in figure.axes if axes.texts]


def test_every_class_has_its_row(data):
    figure = explore.draw_classes(data.train, per_class=3)
    assert get_row_labels(figure) == data.class_names
    labels, images = read_column(data.train, "label"), read_images(data.train)
    assert np.array_equal(cut_tiles(figure)[4], images[labels == 4][:3])


def test_rows_of_different_lengths_fit():
    images = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    tiles = cut_tiles(draw_strips([("three", images), ("one", images[:1])], "title"), size=8)
    assert tiles[1, 0].max() == 0 and tiles[1, 1].min() == 255


def test_names_are_cut_and_are_no_formulas():
    assert shorten("automobile") == "automobile"
    assert shorten("a very long name of a class") == "a very long name …"
    assert shorten("$5") == r"\$5"


def test_balance_counts_each_split(data):
    counts = explore.count_classes({"train": data.train, "validation": None, "test": data.test})
    figure = explore.draw_balance(counts, data.class_names)
    assert [axes.get_title() for axes in figure.axes] == ["train: 1,000 images", "test: 500 images"]
    assert {bar.get_width() for bar in figure.axes[1].patches} == {50}


def test_intensities_are_counted_and_measured(data):
    images = read_images(data.test) / 255
    counts = explore.count_intensities(data.test)
    assert counts.sum() == images.size
    mean, std = explore.measure_intensities(counts)
    assert np.allclose(mean, images.mean((0, 1, 2))) and np.allclose(std, images.std((0, 1, 2)))
    red = explore.draw_intensities({"test": counts}).axes[0].lines[0].get_ydata()
    assert np.allclose(red, 100 * counts[0] / counts[0].sum())


def test_mean_images_are_means(data):
    figure = explore.draw_mean_images(data.test)
    mean = read_images(data.test)[read_column(data.test, "label") == 7].mean(0)
    assert np.abs(figure.axes[7].images[0].get_array() - mean).max() <= 0.5
    assert get_captions(figure)[7][0] == "horse"


def test_augmented_images_follow_the_epochs(batches):
    options = AugmentationArguments(flip="alternating")
    original, first, second = cut_tiles(explore_augmentation.draw_augmentations(batches, options, epochs=2))[3]
    assert np.array_equal(first, second[:, ::-1])
    assert np.array_equal(original, first) or np.array_equal(original, second)


def test_each_augmentation_changes_the_image_and_starts_from_it(batches):
    figure = explore_augmentation.draw_each_augmentation(batches, epochs=6)
    tiles = cut_tiles(figure)
    assert len(tiles) == len(explore_augmentation.KNOBS) == len(get_row_labels(figure))
    assert (tiles[:, 0] == tiles[0, 0]).all()
    assert [(row[1:] != row[0]).any() for row in tiles] == [True] * len(tiles)
    column = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert column == ["original", *(f"epoch {epoch}" for epoch in range(6))]


def test_what_is_shown_is_what_training_gets(batches):
    options = AugmentationArguments("strong")
    shown = explore_augmentation.augment_over_epochs(batches, [5, 6], options, epochs=2)
    fed = ImageBatches(batches.table, ImageTransform(Preprocessing(), options)).fetch(torch.tensor([5, 6]), 1)[
        "pixel_values"
    ]
    mean, std = (np.array(values) for values in (Preprocessing().mean, Preprocessing().std))
    pixels = 255 * (fed.permute(0, 2, 3, 1).numpy() * std + mean)
    assert np.abs(shown[:, 2] - pixels).max() < 0.51


def test_the_preset_none_changes_nothing_and_strong_does(batches):
    tiles = cut_tiles(explore_augmentation.draw_presets(batches, images=2, epochs=3))
    assert len(tiles) == 8
    assert (tiles[:2] == tiles[:2, :1]).all() and (tiles[6:] != tiles[6:, :1]).any()


def test_pairs_stand_side_by_side_and_differing_labels_are_red(data):
    labels = read_column(data.train, "label")
    same, other = (int(np.flatnonzero(mask)[0]) for mask in (labels == labels[0], labels != labels[0]))
    pairs = [Pair(0, same, 0.987, True), Pair(0, other, 0.5, False)]
    figure = explore_labels.draw_duplicates(data.train, data.train, pairs)
    picture, images = figure.axes[1].images[0].get_array(), read_images(data.train)
    assert np.array_equal(picture[:, :32], images[0]) and np.array_equal(picture[:, -32:], images[other])
    (first, color), (_, other_color) = get_captions(figure)
    assert "0.99, mirrored" in first and color != WRONG and other_color == WRONG


def test_the_map_shows_every_image_in_its_class(data):
    generator, labels = np.random.default_rng(0), read_column(data.test, "label")
    features = generator.normal(size=(500, 16)) + 20 * (labels == 3)[:, None]
    axes = explore.draw_feature_map(features, labels, data.class_names, "a backbone").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == data.class_names
    points = [np.asarray(each.get_offsets()) for each in axes.collections if len(each.get_offsets()) == 50]
    assert len(points) == 10
    gaps = [abs(np.median(points[3][:, 0]) - np.median(each[:, 0])) for i, each in enumerate(points) if i != 3]
    assert min(gaps) > 50  # the first component is what sets class 3 apart


def test_most_disputed_images_come_first(data):
    labels, indices = read_column(data.test, "label"), read_column(data.test, "index")
    shares = np.zeros((10_000, 10))
    shares[:, 0] = 1
    shares[indices, 0], shares[indices, labels] = 0, 1
    doubtful, wrong = 12, 40
    shares[indices[doubtful]] = 0.1
    shares[indices[wrong]] = 0
    shares[indices[wrong], [(labels[wrong] + 1) % 10, labels[wrong]]] = 0.75, 0.25
    (first, color), (second, red) = get_captions(explore_labels.draw_disagreement(data.test, shares, count=2))
    names = data.class_names
    assert first.startswith(f"label {names[labels[doubtful]]}") and "10%" in first and color != WRONG
    assert second.splitlines() == [
        f"label {names[labels[wrong]]}", f"{names[(labels[wrong] + 1) % 10]} 75%", f"{names[labels[wrong]]} 25%",
    ]  # fmt: skip
    assert red == WRONG


def test_disputes_of_images_that_are_not_there_are_left_out(data):
    indices = read_column(data.test, "index")
    missing = next(index for index in range(10_000) if index not in set(indices.tolist()))
    upheld = Dispute(int(indices[1]), 4, {"given": 4, "guessed": 1, "neither": 0, "both": 0})
    rejected = Dispute(int(indices[2]), 5, {"given": 0, "guessed": 5, "neither": 0, "both": 0})
    elsewhere = Dispute(missing, 5, rejected.votes)
    captions = get_captions(explore_labels.draw_disputes(data.test, [upheld, elsewhere, rejected]))
    assert [text.splitlines()[1] for text, _ in captions] == ["dog: 5", "deer: 1"]
    assert [color == WRONG for _, color in captions] == [True, False]
    assert explore_labels.draw_disputes(data.test, [elsewhere]) is None
