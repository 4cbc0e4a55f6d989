"""Any dataset with an image and a class column: found, numbered, split; what is wrong is one line."""

import io
import json
import logging

import datasets
import numpy as np
import pytest
from PIL import Image

from hf_cifar.arguments import SourceArguments
from hf_cifar.data.split import split_table
from hf_cifar.data.store import read_column, read_images
from hf_cifar.data.table import load_data
from hf_cifar.errors import UserError

GENERATOR = np.random.default_rng(0)


def make_image(size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Image.Image:
    return Image.fromarray(GENERATOR.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def make_folder(path, classes=("cat", "dog"), count: int = 5, splits=("",), **options):
    for split in splits:
        for name in classes:
            (path / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                make_image(**options).save(path / split / name / f"{number}.png")
    return path


def make_table(labels, feature, column: str = "image", label_column: str = "label") -> datasets.Dataset:
    features = datasets.Features({column: datasets.Image(), label_column: feature})
    return datasets.Dataset.from_dict(
        {column: [make_image() for _ in labels], label_column: labels}, features=features
    )


def load(path, tmp_path, **options):
    return load_data(SourceArguments(str(path), cache_dir=tmp_path / "cache", **options))


@pytest.mark.parametrize("test_split", ["test", "val", "validation"])
def test_an_image_folder_with_splits(tmp_path, test_split):
    data = load(make_folder(tmp_path / "pets", splits=("train", test_split)), tmp_path)
    assert (data.name, data.class_names, data.image_size) == ("pets", ["cat", "dog"], 16)
    assert len(data.train) == len(data.test) == 10 and read_column(data.train, "label").tolist() == [0] * 5 + [1] * 5
    expected = np.asarray(Image.open(tmp_path / f"pets/train/dog/{2}.png"))
    assert np.array_equal(read_images(data.train)[7], expected)
    assert "folder pets" in data.source and (test_split == "test") == ("test split" not in data.source)


def test_without_a_test_split_a_stratified_fifth_is_held_out(tmp_path):
    folder = make_folder(tmp_path / "pets", count=20)
    data = load(folder, tmp_path)
    assert np.bincount(read_column(data.test, "label")).tolist() == [4, 4]
    indices = [set(read_column(table, "index").tolist()) for table in (data.train, data.test)]
    assert not indices[0] & indices[1] and indices[0] | indices[1] == set(range(40))
    assert "20% of each class held out" in data.source
    train, validation = split_table(data.train)
    assert len(validation) == 3 and not set(read_column(train, "index")) & set(read_column(validation, "index"))


def test_a_changed_folder_is_read_again(tmp_path):
    folder = make_folder(tmp_path / "pets", splits=("train", "test"))
    assert len(load(folder, tmp_path).train) == 10
    make_image().save(folder / "train/cat/new.png")
    assert len(load(folder, tmp_path).train) == 11


@pytest.mark.parametrize("saved_by", ["save_to_disk", "parquet"])
def test_columns_are_found_by_their_types(tmp_path, saved_by):
    splits = datasets.DatasetDict(
        {
            name: make_table([1, 0, 1], datasets.ClassLabel(names=["a", "b"]), "img", "kind")
            for name in ("train", "test")
        }
    )
    if saved_by == "parquet":
        for name, table in splits.items():
            (tmp_path / "set").mkdir(exist_ok=True)
            table.to_parquet(tmp_path / "set" / f"{name}-00000-of-00001.parquet")
    else:
        splits.save_to_disk(tmp_path / "set")
    data = load(tmp_path / "set", tmp_path)
    assert data.class_names == ["a", "b"] and read_column(data.test, "label").tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "feature", "names"),
    [
        (["dog", "cat", "dog", "cat"], datasets.Value("string"), ["cat", "dog"]),
        ([7, 3, 7, 3], datasets.Value("int32"), ["3", "7"]),
        ([True, False, True, False], datasets.Value("bool"), ["False", "True"]),
    ],
)
def test_texts_and_numbers_become_classes(tmp_path, labels, feature, names):
    make_table(labels * 5, feature).save_to_disk(tmp_path / "set")
    data = load(tmp_path / "set", tmp_path)
    assert data.class_names == names
    indices, numbers = read_column(data.train, "index"), read_column(data.train, "label")
    assert [names[number] for number in numbers] == [str((labels * 5)[index]) for index in indices]


@pytest.mark.parametrize(
    ("labels", "feature", "message"),
    [
        ([0, -1, 1, 0], datasets.ClassLabel(names=["a", "b"]), "1 labels, as -1, are not class ids; allowed: 0 to 1"),
        ([0, -1, 1, 0], datasets.Value("int64"), "labels, as -1, are not class ids"),
        ([0.5, 1.5, 0.5, 1.5], datasets.Value("float32"), "is of type float32.*needed: a ClassLabel, whole numbers"),
        ([0, None, 1, 0], datasets.ClassLabel(names=["a", "b"]), "1 images have no label"),
        (["a", "b", "c", "d"], datasets.Value("string"), "4 different values in 4 images are no classes"),
        (["a"] * 4, datasets.Value("string"), "1 different values"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, feature, message):
    make_table(labels, feature).save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path / "set", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_column": "photo"}, "image_column='photo'.* is not there; its columns are image .Image., label"),
        ({"image_column": "label"}, "image_column='label'.*is of type int64"),
        ({"label_column": "kind"}, "label_column='kind'.* is not there; its columns are"),
    ],
)
def test_a_missing_column_is_named_beside_those_there_are(tmp_path, options, message):
    make_table([0, 1, 0, 1], datasets.ClassLabel(names=["a", "b"])).save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "set", tmp_path, **options)


def test_two_image_columns_need_a_choice(tmp_path):
    table = make_table([0, 1] * 4, datasets.ClassLabel(names=["a", "b"]))
    masks = datasets.Dataset.from_dict({"mask": [make_image()] * 8}, features=datasets.Features(mask=datasets.Image()))
    datasets.concatenate_datasets([table, masks], axis=1).save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match="has 2 image columns.*Give --image_column"):
        load(tmp_path / "set", tmp_path)
    assert load(tmp_path / "set", tmp_path, image_column="mask").image_size == 16


def test_an_empty_folder_says_what_is_allowed(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty' cannot be loaded .*allowed: auto, hub, npm, sample"):
        load(tmp_path / "empty", tmp_path)
    assert not list((tmp_path / "cache").glob("tables/*"))


def test_a_folder_of_one_class_is_refused(tmp_path):
    with pytest.raises(UserError, match="no one column of classes.*needs two classes or more"):
        load(make_folder(tmp_path / "pets", classes=("cat",)), tmp_path)


def test_a_class_with_one_image_cannot_be_split(tmp_path):
    folder = make_folder(tmp_path / "pets", splits=("train", "test"))
    (folder / "train/eel").mkdir()
    make_image().save(folder / "train/eel/0.png")
    data = load(folder, tmp_path)
    with pytest.raises(UserError, match="class 'eel' has a single training image.*2 or more"):
        split_table(data.train)
    assert split_table(data.train, validation_size=0)[1] is None


def test_corrupt_images_are_named_and_left_out_only_when_asked(tmp_path, caplog):
    folder = make_folder(tmp_path / "pets", splits=("train", "test"))
    (folder / "train/cat/1.png").write_bytes((folder / "train/cat/1.png").read_bytes()[:100])
    make_image((1, 1)).save(folder / "train/dog/0.png")
    message = r"2 of 10 images cannot be used \(train row 1 \(cat/1.png\): .*train row 5 \(dog/0.png\): 1 x 1 pixels"
    with pytest.raises(UserError, match=message + ".*--skip_corrupt true"):
        load(folder, tmp_path)
    assert not list((tmp_path / "cache").glob("tables/*"))
    with caplog.at_level(logging.WARNING):
        data = load(folder, tmp_path, skip_corrupt=True)
    assert "left out" in caplog.text
    assert read_column(data.train, "index").tolist() == [0, 2, 3, 4, 6, 7, 8, 9]  # the others keep theirs
    assert data.skipped == {"train": ["train row 1 (cat/1.png)", "train row 5 (dog/0.png)"], "test": []}
    assert read_images(data.train).shape == (8, 16, 16, 3)


def test_mixed_sizes_are_resized_once(tmp_path):
    folder = make_folder(tmp_path / "pets", splits=("train", "test"))
    make_image((40, 20)).save(folder / "train/cat/1.png")
    with pytest.raises(UserError, match=r"cat/1.png\) has 40 x 20 pixels and .* 16 x 16.*Give --storage_size"):
        load(folder, tmp_path)
    data = load(folder, tmp_path, storage_size=24)
    assert data.image_size == 24
    expected = Image.open(folder / "train/cat/1.png").resize((24, 24), Image.Resampling.BICUBIC)
    assert np.array_equal(read_images(data.train)[1], np.asarray(expected))


def test_other_modes_are_converted_and_said(tmp_path, caplog):
    folder = make_folder(tmp_path / "pets", splits=("train", "test"), mode="L")
    make_image(mode="RGBA").save(folder / "test/dog/4.png")
    with caplog.at_level(logging.WARNING):
        data = load(folder, tmp_path)
    assert data.converted == {"grayscale": 19, "RGBA, whose alpha is dropped": 1}
    assert "19 images were converted to RGB from grayscale" in caplog.text


def test_16_bit_images_are_refused(tmp_path):
    folder = make_folder(tmp_path / "pets", splits=("train", "test"))
    Image.fromarray(GENERATOR.integers(0, 65536, (16, 16), dtype=np.uint16)).save(folder / "test/cat/0.png")
    with pytest.raises(UserError, match=r"cat/0.png\): mode I;16; allowed: RGB"):
        load(folder, tmp_path)


def test_train_and_test_must_know_the_same_classes(tmp_path):
    datasets.DatasetDict(
        train=make_table(["a", "b"] * 4, datasets.Value("string")),
        test=make_table(["a", "c"], datasets.Value("string")),
    ).save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match="'c' is no class of the training images; allowed: a, b"):
        load(tmp_path / "set", tmp_path)


def test_a_hub_id_without_a_network_is_one_line(tmp_path):
    with pytest.raises(UserError, match="'nobody/nothing' cannot be loaded .no Hub in reach"):
        load("nobody/nothing", tmp_path)


def test_too_few_images_to_hold_a_test_split_out_say_so(tmp_path):
    folder = make_folder(tmp_path / "many", classes=[f"class {number}" for number in range(30)], count=2)
    with pytest.raises(
        UserError, match="has no test split, and a fifth of its 60 images in 30 classes cannot be held"
    ):
        load(folder, tmp_path)


def test_encoded_bytes_are_images_when_they_are_named(tmp_path):
    buffer = io.BytesIO()
    make_image().save(buffer, "PNG")
    table = datasets.Dataset.from_dict({"photo": [buffer.getvalue()] * 20, "label": [0, 1] * 10})
    (tmp_path / "set").mkdir()
    table.to_parquet(tmp_path / "set/train.parquet")
    assert load(tmp_path / "set", tmp_path, image_column="photo").image_size == 16


def test_a_model_with_fewer_classes_is_refused(tmp_path, recipe, cnn_run):
    classes = [*json.loads((cnn_run / "config.json").read_text())["id2label"].values(), "yacht"]
    folder = make_folder(tmp_path / "set", classes=classes, count=2, splits=("train", "test"), size=(32, 32))
    code, _, error = recipe("eval.py", cnn_run, f"--dataset={folder}", f"--cache_dir={tmp_path / 'cache'}")
    assert code == 2 and "have no 'yacht'" in error.splitlines()[-1]


def test_any_dataset_trains_and_evaluates(tmp_path, recipe, tiny_config):
    folder = make_folder(tmp_path / "pets", classes=("cat", "dog", "eel"), count=40, size=(20, 20))
    options = [f"--dataset={folder}", f"--cache_dir={tmp_path / 'cache'}", "--augmentation=strong", "--flip=random"]
    run = tmp_path / "run"
    code, out, error = recipe(
        "train.py", "--config", tiny_config, f"--output_dir={run}", "--num_train_epochs=1", "--train_fraction=0.5",
        "--per_device_train_batch_size=10", *options,
    )  # fmt: skip
    assert code == 0, error
    results = json.loads((run / "results.json").read_text())
    assert (
        results["data"]["sizes"] == {"train": 42, "validation": 10, "test": 24} and results["data"]["name"] == "pets"
    )
    assert results["recipe"]["options"]["mixup"] == 0.2 and results["model"]["image_size"] == 20
    assert "3 classes of pets: cat, dog, eel." in (run / "README.md").read_text()
    code, out, error = recipe("eval.py", run, f"--cache_dir={tmp_path / 'cache'}")
    assert code == 0 and "24 test images of pets" in out, error


def test_a_table_larger_than_a_chunk_is_memory_mapped(tmp_path):
    labels = [0, 1] * 1100
    buffer = io.BytesIO()
    make_image().save(buffer, "PNG")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    content = {"image": [{"bytes": buffer.getvalue(), "path": None}] * 2200, "label": labels}
    datasets.Dataset.from_dict(content, features=features).save_to_disk(tmp_path / "set")
    data = load(tmp_path / "set", tmp_path)
    assert data.train.cache_files and len(data.train) == 1760  # Dataset.from_file maps the file
