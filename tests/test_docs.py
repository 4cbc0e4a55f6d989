"""The documents: links lead somewhere, pictures say what they show, options and files that commands name exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from hf_cifar.data.store import read_column, read_images

from .conftest import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("recipes/*.md"),
                    *ROOT.glob("model_cards/*/*.md")])  # fmt: skip
WRITTEN = [path for path in DOCUMENTS if "model_cards" not in path.parts]


def read_prose(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def list_anchors(path: Path) -> set[str]:
    """What GitHub calls a document's headings."""
    anchors = set()
    for heading in re.findall(r"^#+ (.*)$", read_prose(path), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchors.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return anchors | set(re.findall(r'<a (?:id|name)="([^"]+)"', path.read_text(encoding="utf-8")))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere_and_pictures_have_words(path):
    for mark, text, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", read_prose(path)):
        assert not mark or len(text) > 8, f"a picture without words: {target}"
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        place, _, anchor = target.partition("#")
        found = (path.parent / place).resolve() if place else path
        assert found.exists() and ROOT in (found, *found.parents), target
        if anchor:
            assert anchor in list_anchors(found), target


def list_commands() -> list[tuple[str, str]]:
    """Each command of a recipe in a document: (document, command), without comments and over joined lines."""
    found = []
    for path in WRITTEN:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for command in re.findall(r"(?:python|accelerate launch[^`\n]*?) recipes/\w+\.py[^`\n]*", text):
            found.append((name(path), " ".join(re.split(r"\s+#", command)[0].split())))
    return found


@pytest.fixture(scope="module")
def options():
    """The options that a script's help names."""
    import contextlib
    import io

    from .conftest import run_recipe

    known = {}

    def find(script: str) -> set[str]:
        if script not in known:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                assert run_recipe(script, "--help") == 0
            known[script] = set(re.findall(r"--\w+", output.getvalue()))
        return known[script]

    return find


def test_commands_name_options_and_files_that_exist(options):
    commands = list_commands()
    assert len(commands) > 40
    for document, command in commands:
        script, arguments = re.search(r"recipes/(\w+\.py)(.*)", command).groups()
        assert (ROOT / "recipes" / script).is_file(), f"{document}: {command}"
        for option in re.findall(r"--\w+", arguments):
            assert option in options(script), f"{document}: {option} in {command}"
        for config in re.findall(r"recipes/[\w/-]+\.yaml", command):
            assert (ROOT / config).is_file() or "/mine/" in config, f"{document}: {config}"


# What commands stand for, and what cannot be run here: the Hub, several GPUs, other people's runs.
PLACEHOLDERS = {"photos/": "photos", "path/to/folder": "photos", "runs/quickstart/cnn": "{cnn}"}
NOT_RUN = (
    "USER/NAME", "X.yaml", "YOUR.yaml", "space.yaml", "grid.yaml", "--report_to", "runs/search", "benchmark", "...",
    "[", "facebook/", "recipes/vit/", "A B C", "accelerate launch", "FOLDER", "/mine/", "runs/other", "cards.py",
    "verify.py", "best.yaml", "/lite0.yaml", "MODEL", "demo.py", "STUDY", "quickstart.py", "resnet",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("document", [path for path in WRITTEN if path.name != "design.md"], ids=name)
def test_commands_run_on_the_sample(document, cnn_run, frozen_run, photos, tmp_path):
    """As they stand, in order, in an empty folder, with one epoch of the bundled sample in place of CIFAR-10."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "photos").symlink_to(photos)
    runs = [cnn_run, frozen_run]
    for number, (place, command) in enumerate(list_commands()):
        if place != name(document) or any(each in command for each in NOT_RUN):
            continue
        for old, new in PLACEHOLDERS.items():
            command = command.replace(old, new.format(cnn=cnn_run))
        found = iter(runs * 2)
        command = re.sub(r"\bRUN\b", lambda _, found=found: str(next(found)), command)
        script = re.search(r"recipes/(\w+)\.py", command).group(1)
        if (
            script in ("train", "explore", "choose_backbone", "eval", "search", "doctor")
            and "--dataset" not in command
        ):
            command += " --dataset sample"
        if script == "train":
            command += " --num_train_epochs 1 --early_stopping_patience 0 --disable_tqdm true --overwrite_run true"
        if script in ("explore", "compare") and "--output_dir" not in command and "--check" not in command:
            command += f" --output_dir {tmp_path}/{script}-{number}"
        if script == "choose_backbone":
            command += " --candidates offline:efficientnet-lite0 --image_size 64 --subset 200 --finalists 1"
        done = subprocess.run(
            [sys.executable, *shlex.split(command)[1:]], cwd=tmp_path, capture_output=True, text=True
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"


@pytest.fixture(scope="module")
def photos(data, tmp_path_factory):
    """A folder of images as a user has it: class_name/*.png."""
    folder = tmp_path_factory.mktemp("photos")
    table = data.train.select(range(300))
    for number, (image, label) in enumerate(zip(read_images(table), read_column(table, "label"), strict=True)):
        path = folder / data.class_names[label] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).resize((40, 40)).save(path)
    return folder
