"""The demo, driven in a browser: what a visitor sees of two models, of one, and of files that are no pictures."""

import os
import re
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from hf_cifar.data.constants import CLASS_NAMES
from hf_cifar.data.store import read_column, read_images
from hf_cifar.data.transforms import Preprocessing
from hf_cifar.demo.app import build_app, describe_limits, launch
from hf_cifar.demo.classifier import find_file, find_results, load_classifier, load_classifiers, read_temperature
from hf_cifar.demo.gallery import (
    PREDICTIONS,
    compute_test_predictions,
    find_disagreements,
    group_examples,
    read_test_predictions,
)
from hf_cifar.evaluation.calibration import apply_temperature
from hf_cifar.evaluation.measure import measure_calibration
from hf_cifar.evaluation.predictions import get_probabilities, predict_probabilities, read_predictions
from hf_cifar.evaluation.results import read_results
from hf_cifar.models.image_processors import build_image_processor
from hf_cifar.models.loading import make_label_options

from .hub_server import connect, start_hub
from .made_runs import make_run
from .test_pictures import encode, encode_animation, encode_large
from .tiny_models import build_fresh

CHROMIUM = Path("/usr/bin/chromium")


def make_model_run(folder: Path, name: str, family: str, **options: object) -> Path:
    """A made-up run with a tiny network of random weights beside its predictions."""
    make_run(folder, name, **options)
    model = build_fresh(family, **make_label_options(list(CLASS_NAMES)))
    with torch.no_grad():
        for parameter in model.parameters():  # answers that depend on the picture
            parameter.mul_(2)
    model.save_pretrained(folder)
    build_image_processor(Preprocessing(32, (0.5,) * 3, (0.25,) * 3)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A calibrated CifarCnn and a ViT that is not calibrated."""
    folder = tmp_path_factory.mktemp("demo")
    first = make_model_run(folder / "first", "CNN", "cifar_cnn", accuracy=0.9)
    test, validation = (
        read_predictions(first / "predictions" / f"{split}.parquet") for split in ("test", "validation")
    )
    make_run(first, "CNN", accuracy=0.9, calibration=measure_calibration(test, validation))
    return first, make_model_run(folder / "second", "ViT", "vit", kind="transfer", accuracy=0.8)


@pytest.fixture(scope="module")
def classifiers(runs):
    return load_classifiers([str(run) for run in runs])


@pytest.fixture(scope="module")
def groups(data, runs):
    return group_examples(data, [read_test_predictions(str(run), data) for run in runs])


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists() and not os.environ.get("CI"):
        pytest.skip("no chromium; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])


@pytest.fixture(scope="module")
def address(classifiers, groups):
    app = build_app(classifiers, groups)
    yield launch(app, block=False)
    app.close()


@pytest.fixture
def page(browser, address):
    """The open page; at the end, whatever it complained of or asked others for fails the test."""
    context = browser.new_context()
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: None if is_own(request.url, address) else problems.append(request.url))
    page.goto(address)
    page.locator("#examples img").first.wait_for()
    yield page
    context.close()
    assert problems == []


def is_own(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))


def read_answer(page, number: int) -> dict[str, int]:
    """What a visitor reads of a model: classes and percentages."""
    text = page.locator(f"#answer_{number}").inner_text()
    return {name: int(share) for name, share in re.findall(r"^(\w+)\s+(\d+)\s*%", text, re.MULTILINE)}


def wait_for(page, text: str) -> str:
    message = page.locator("#message")
    message.get_by_text(text).first.wait_for(timeout=10_000)
    return message.inner_text()


def wait_for_images_after(page, shown: str) -> None:
    """Wait until the first example is another than the one whose address was `shown`."""
    page.wait_for_function("shown => document.querySelector('#examples img').getAttribute('src') !== shown", arg=shown)


def upload(page, name: str, content: bytes) -> None:
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    page.locator("#upload input[type=file]").set_input_files(file)


def test_a_visitor_reads_both_answers_and_friendly_words(page, classifiers, groups, capsys):
    text = page.locator("body").inner_text()
    assert "only these 10 classes: airplane" in text and "anything else still gets one of the 10" in text
    assert "temperature" in page.locator("#model_0").inner_text()
    assert "Probabilities not calibrated" in page.locator("#model_1").inner_text()

    example = groups["airplane"][1]
    page.locator("#examples img").nth(1).click()
    wait_for(page, f"{example.title}, labelled airplane.")
    for number, classifier in enumerate(classifiers):
        expected = classifier.answer(example.pixels).best
        page.locator(f"#where_{number} img").wait_for()
        assert read_answer(page, number) == {name: round(100 * value) for name, value in expected.items()}

    page.get_by_label("Test images").click()
    name = list(groups)[-1]
    shown = page.locator("#examples img").first.get_attribute("src")
    page.get_by_role("option", name=name).click()
    wait_for_images_after(page, shown)
    page.locator("#examples img").first.click()
    wait_for(page, f"{groups[name][0].title}, labelled {groups[name][0].label}.")
    shown = page.locator("#examples img").first.get_attribute("src")
    page.locator("#more").click()
    wait_for_images_after(page, shown)
    page.locator("#examples img").first.click()
    wait_for(page, f"{groups[name][12].title}, labelled")

    upload(page, "photo.png", encode("RGBA"))
    wait_for(page, "whose alpha is dropped")
    assert len(read_answer(page, 0)) == len(read_answer(page, 1)) == 5
    upload(page, "moving.gif", encode_animation())
    wait_for(page, "It is animated: this is its first frame.")
    for name, content, words in (
        ("notes.txt", b"no picture", "This file is not a picture that can be read here."),
        ("large.png", encode_large(10_000), "100 megapixels, and up to 50 can be used"),
        ("dot.png", encode_large(1), "1 x 1 pixels; allowed: at least 8 x 8"),
    ):
        upload(page, name, content)
        wait_for(page, words)
        assert read_answer(page, 0) == {} and page.locator("#where_0 img").count() == 0

    seconds = []
    for number in range(5):
        started = time.perf_counter()
        example = groups[name := list(groups)[-1]][12 + number + 1]
        page.locator("#examples img").nth(number + 1).click()
        wait_for(page, f"{example.title}, labelled")
        seconds.append(time.perf_counter() - started)
    with capsys.disabled():
        print(f"\ndemo: a click is answered in {statistics.median(seconds):.2f} s (longest {max(seconds):.2f} s)")
    assert statistics.median(seconds) < 1


def test_probabilities_are_those_of_evaluation_at_the_runs_temperature(classifiers, data):
    pixels = np.array(read_images(data.test)[3])
    for classifier, is_calibrated in zip(classifiers, (True, False), strict=True):
        plain = predict_probabilities(classifier.model, classifier.processor, pixels[None], torch.device("cpu"))
        expected = apply_temperature(plain, classifier.temperature) if is_calibrated else plain
        answer = classifier.answer(pixels)
        assert list(answer.best.values()) == pytest.approx(sorted(expected[0], reverse=True)[:5], rel=1e-5)
        assert next(iter(answer.best)) == CLASS_NAMES[expected[0].argmax()]
        assert answer.overlay.shape[2] == 3 and answer.overlay.dtype == np.uint8
    assert classifiers[0].temperature != 1 and classifiers[1].temperature is None


def test_models_disagree_where_their_predictions_differ(runs, data, groups):
    first, second = (get_probabilities(read_predictions(run / PREDICTIONS)).argmax(1) for run in runs)
    rows = np.flatnonzero(first != second)
    name = f"the models disagree ({len(rows)} of 500)"
    indices = read_column(data.test, "index")
    assert {each.title for each in groups[name]} == {f"Test image {index}" for index in indices[rows]}
    assert sum(len(groups[each]) for each in CLASS_NAMES) == 500
    sure = find_disagreements(np.array([[0.9, 0.1], [0.6, 0.4], [1, 0]]), np.array([[0.4, 0.6], [0.0, 1], [0.9, 0.1]]))
    assert sure.tolist() == [0, 1]


def test_predictions_of_other_images_are_not_taken(runs, data, tmp_path):
    other = make_run(tmp_path / "other", num_images=100)
    assert read_test_predictions(str(other), data) is None
    groups = group_examples(data, [read_test_predictions(str(run), data) for run in (runs[0], other)])
    assert list(groups) == list(CLASS_NAMES)


def test_predictions_can_be_made_now(classifiers, data):
    values = compute_test_predictions(classifiers[1], data)
    assert values.shape == (500, 10) and np.allclose(values.sum(1), 1, atol=1e-2)


def test_one_model_of_any_labels_works_alone_and_without_images(tiny_vit):
    classifier = load_classifier(str(tiny_vit))
    answer = classifier.answer(np.full((300, 200, 3), 90, dtype=np.uint8))
    assert len(answer.best) == 5 and "not calibrated" in classifier.calibration
    app = build_app([classifier], {})
    assert "The model knows only these 7 classes" in str(app.get_config_file())
    classifier.model.config.id2label = {number: f"kind {number}" for number in range(1000)}
    assert describe_limits([classifier]).startswith("The model knows only its own 1,000 classes. ")
    assert describe_limits([classifier] * 2).startswith("Both models know only their own classes (1,000 and 1,000). ")


def test_measurements_of_a_model_on_the_hub_are_fetched(runs, tiny_vit, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with start_hub({"us/cnn": runs[0], "us/plain": tiny_vit}) as hub, connect(hub):
        assert read_temperature(find_results("us/cnn"))[0] == read_results(runs[0])["calibration"]["temperature"]
        assert find_file("us/cnn", PREDICTIONS).read_bytes() == (runs[0] / PREDICTIONS).read_bytes()
        assert find_results("us/plain") is None and find_results("us/nothing") is None
    assert find_file("us/cnn", PREDICTIONS) is not None and find_results("us/plain") is None  # offline again


def test_equal_names_are_told_apart(runs):
    assert [each.name for each in load_classifiers([str(runs[0])] * 2)] == ["1: CNN", "2: CNN"]


def test_help_explains(recipe):
    code, out, _ = recipe("demo.py", "--help")
    assert code == 0 and "python recipes/demo.py MODEL" in out and "--share" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "c"], "3 models; allowed: one or two"),
        (["./nothing", "--dataset=sample"], "'./nothing' is not a folder"),
        ([], "the following arguments are required: MODEL"),
    ],
)
def test_bad_input_is_one_line(recipe, arguments, message):
    code, _, err = recipe("demo.py", *arguments)
    assert code == 2 and message in err and "Traceback" not in err


def test_a_port_in_use_is_one_line(recipe, address, tiny_vit):
    port = address.rstrip("/").rpartition(":")[2]
    code, _, err = recipe("demo.py", tiny_vit, "--dataset=sample", f"--port={port}")
    assert code == 2 and f"port={port}" in err and len(err.strip().splitlines()[-1]) < 300
