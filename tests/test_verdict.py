"""The verdict counts what is odd."""

from hf_cifar.arguments import DataArguments
from hf_cifar.data.duplicates import count_exact_duplicates, find_near_duplicates
from hf_cifar.data.table import ImageData
from hf_cifar.data.verdict import count_distinct, describe_content, format_verdict
from hf_cifar.publishing.dataset_cards import render_dataset_card
from hf_cifar.reporting.explore_page import Exploration


def make_data(data, **changes) -> ImageData:
    return ImageData(**{name: getattr(data, name) for name in ImageData.__dataclass_fields__} | changes)


def test_repeated_images_and_missing_classes_are_counted(data):
    train = data.train.select([0, 1, 2, 1, 1])
    assert count_distinct(train) == 3
    odd = make_data(data, name="pets", train=train, test=data.train.select([2, 3]))
    lines = " ".join(describe_content(odd, count_exact_duplicates(odd.test, odd.train)))
    assert "no official hash" in lines and "2 train images repeat another one" in lines
    assert "have no test image" in lines and "1 test images are among the training images byte for byte" in lines


def test_what_was_left_out_or_converted_is_named(data):
    odd = make_data(data, skipped={"train": ["train row 3 (cat/3.png)"], "test": []}, converted={"grayscale": 2})
    text = format_verdict(odd, 0)
    assert (
        "left out of train: train row 3 (cat/3.png)" in text
        and "2 images were converted to RGB from grayscale" in text
    )
    assert text.endswith("Verdict: usable without the 1 images that were left out.")
    assert format_verdict(make_data(data, name="cifar10"), 0).endswith("this is CIFAR-10, whole and unaltered.")


def test_a_dataset_card_has_what_the_hub_reads(data):
    tables = {"train": data.train, "validation": None, "test": data.test}
    exploration = Exploration(data, tables, find_near_duplicates(data.test, data.train), 0)
    card = render_dataset_card(exploration, DataArguments())
    assert "task_categories:\n- image-classification" in card and "extended|uoft-cs/cifar10" in card
    assert data.hashes["test"]["images"] in card and "| test | 500 | 50 |" in card
    assert "Validation images are taken" not in card
    mine = Exploration(make_data(data, name="pets"), tables, exploration.pairs, 0)
    assert "pretty_name: pets" in (text := render_dataset_card(mine, DataArguments())) and "- original" in text
