"""The page that shows a dataset holds every figure, and says what was found, of any dataset."""

import dataclasses

import datasets
import numpy as np
import pytest

from hf_cifar.arguments import AugmentationArguments
from hf_cifar.data.duplicates import count_exact_duplicates, find_near_duplicates
from hf_cifar.data.reference import Dispute, ReferenceData
from hf_cifar.data.store import read_column, read_images, write_table
from hf_cifar.data.table import ImageData
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.reporting import explore
from hf_cifar.reporting.explore_page import (
    Exploration,
    describe_findings,
    describe_options,
    draw_figures,
    escape,
    write_explore_page,
)

from .test_explore import get_row_labels


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> ImageData:
    """120 classes with awkward names, of which the last is empty, and images of 45 pixels."""
    folder = tmp_path_factory.mktemp("odd")
    names = [f"{number} $x_1$ a|b *long* <i>name</i> that goes on and on" for number in range(120)]
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        labels = np.arange(119).repeat(2)
        images = generator.integers(0, 256, (len(labels), 45, 45, 3), dtype=np.uint8)
        write_table(folder / f"{split}.arrow", [(images, labels, np.arange(len(labels)))], names)
    tables = {split: datasets.Dataset.from_file(str(folder / f"{split}.arrow")) for split in ("train", "test")}
    hashes = {split: {"images": "0" * 64, "labels": "1" * 64} for split in tables}
    return ImageData(name="odd", source="nowhere", hashes=hashes, converted={}, skipped={}, **tables)


def test_of_many_classes_some_are_shown_and_the_title_says_so(odd):
    for figure in (explore.draw_classes(odd.train), explore.draw_mean_images(odd.train)):
        title = figure.axes[0].get_title() or figure.get_suptitle()
        assert title.endswith("(the first 20 of 120 classes)")
    assert len(get_row_labels(explore.draw_classes(odd.train))) == 20
    counts = explore.count_classes({"train": odd.train})
    figure = explore.draw_balance(counts, odd.class_names)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert len(widths) == 20 and widths[-1] == 0  # the empty class is among the smallest
    assert figure.axes[0].get_title() == "train: 238 images"


def explore_all(data: ImageData, reference: ReferenceData, with_map: bool = True) -> Exploration:
    tables = {"train": data.train, "validation": None, "test": data.test}
    labels = read_column(data.train, "label") if with_map else None
    features = np.random.default_rng(0).normal(size=(len(labels), 8)) if with_map else None
    exact = count_exact_duplicates(data.test, data.train)
    pairs = find_near_duplicates(data.test, data.train)
    return Exploration(data, tables, pairs, exact, reference, "tiny*bone", features, labels)


def test_the_page_embeds_every_figure(data, tmp_path):
    index = int(read_column(data.test, "index")[3])
    disputes = [Dispute(index, 1, {"given": 0, "guessed": 5, "neither": 0, "both": 0})]
    exploration = explore_all(
        data, ReferenceData(np.full((10_000, 10), 0.1), disputes, [(index, int(read_column(data.train, "index")[7]))])
    )
    options = AugmentationArguments(flip="random", translate=4)
    figures = draw_figures(exploration, Preprocessing(), options)
    page = write_explore_page(tmp_path / "explore", exploration, figures, options)
    text = page.read_text()
    written = {path.stem for path in (tmp_path / "explore/figures").iterdir()}
    assert written == set(figures) and len(figures) == 11
    assert text.count("data:image/png;base64,") == len(figures) and 'src="figures' not in text
    assert data.hashes["test"]["images"][:16] in text
    assert "flip: random, translate: 4" in text and "1,500 images of 32 × 32 pixels in 10 classes" in text
    assert "None of the 500 test images is among the 1,000 training images" in text
    assert "list 1 of the test images as near-duplicates of these" in text and "0 of them are found here" in text
    # Written again, it replaces the older page.
    (tmp_path / "explore/figures/old.png").write_bytes(b"")
    write_explore_page(tmp_path / "explore", exploration, figures, options)
    assert not (tmp_path / "explore/figures/old.png").exists()


def test_any_dataset_has_a_page(odd, tmp_path):
    exploration = explore_all(odd, ReferenceData(), with_map=False)
    figures = draw_figures(exploration, Preprocessing(45), AugmentationArguments())
    text = write_explore_page(tmp_path / "explore", exploration, figures, AugmentationArguments()).read_text()
    assert text.count("data:image/png;base64,") == len(figures) == 8
    assert "A map" not in text and "Doubtful" not in text and "The first 20 of 120 classes" in text
    assert "<td>0 (119 $x_1$ a|b *long* &lt;i&gt;name&lt;/i&gt; that goes on and on) to 2 (" in text


def test_nothing_is_left_of_a_page_that_fails(data, tmp_path, monkeypatch):
    exploration = explore_all(data, ReferenceData(), with_map=False)
    figures = {"classes": explore.draw_classes(data.train)}
    with pytest.raises(FileNotFoundError):  # the text shows figures that were not drawn
        write_explore_page(tmp_path / "explore", exploration, figures, AugmentationArguments())
    assert list(tmp_path.iterdir()) == []


def test_options_and_names_are_shown_as_they_are():
    assert describe_options(AugmentationArguments("light", cutout=8)) == "flip: random, cutout: 8"
    assert describe_options(AugmentationArguments()) == ""
    assert escape("a|b_*c*") == r"a\|b\_\*c\*"


def test_planted_duplicates_are_counted(data, tmp_path):
    images, labels = read_images(data.test).copy(), read_column(data.test, "label")
    images[3], images[4] = read_images(data.train)[30], read_images(data.train)[31, :, ::-1] // 2
    train_labels = read_column(data.train, "label")
    labels[3], labels[4] = (train_labels[30] + 1) % 10, train_labels[31]
    write_table(tmp_path / "test.arrow", [(images, labels, read_column(data.test, "index"))], data.class_names)
    test = datasets.Dataset.from_file(str(tmp_path / "test.arrow"))
    exploration = explore_all(dataclasses.replace(data, test=test), ReferenceData(), with_map=False)
    facts = describe_findings(exploration)
    counts = [facts[name] for name in ("exact_duplicates", "near_duplicates", "mirrored", "contradicting")]
    assert counts == [1, 2, 1, 1]
