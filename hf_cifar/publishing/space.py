"""Owns the folder of a Space: the demo with all that it needs, ready to be uploaded to the Hub."""

import ast
import importlib.metadata
import re
import shutil
import sys
from importlib.resources import files
from pathlib import Path

from huggingface_hub import SpaceCard, SpaceCardData

from ..arguments import SourceArguments
from ..data.table import load_data
from ..demo.app import INSTALL
from ..demo.examples import Groups, save_examples
from ..demo.gallery import group_examples, read_test_predictions
from ..errors import UserError
from ..evaluation.results import get_source, read_results
from ..files import check_output_folder, write_then_rename
from .checks import check_secrets, list_files
from .push import check_options

PACKAGE = "hf_cifar"
EXAMPLES = 12  # of each class, and of those that the models disagree on
APP = '''"""A demo of image classifiers, as recipes/push.py --space of hf_cifar wrote it."""

from pathlib import Path

from hf_cifar.demo.app import build_app, launch
from hf_cifar.demo.classifier import load_classifiers
from hf_cifar.demo.examples import load_examples

HERE = Path(__file__).parent
MODELS = {models}  # ids on the Hub, or folders beside this file

found = [str(HERE / name) if (HERE / name).is_dir() else name for name in MODELS]
app = build_app(load_classifiers(found), load_examples(HERE / "examples"))
if __name__ == "__main__":
    launch(app, host=None, report=print)
'''
TEXT = """# {title}

{names}: give a picture or pick a test image, and see the five most probable classes and where each looked.

    pip install -r requirements.txt
    python app.py

`hf_cifar/` holds the parts of that package which the page needs; it was copied, so that nothing else is installed.
The Python files that come with a model are not run.
"""


def make_space(folder: Path, runs: list[Path], repo_ids: list[str], source: SourceArguments) -> list[str]:
    """Write the Space of one or two finished runs, with test images of the first one's dataset.

    Args:
        folder: new.
        runs: their folders.
        repo_ids: where they are on the Hub; empty to copy them into the Space.
        source: of the images, unless the run says.

    Returns:
        The paths in it, sorted.

    Raises:
        UserError: See `write_space`; or numbers of runs and names do not fit.
    """
    if len(runs) > 2 or len(repo_ids) not in (0, len(runs)):
        raise UserError(
            f"{len(runs)} runs and {len(repo_ids)} repo_ids; allowed: one or two runs, and a repo_id of each"
        )
    for repo_id in repo_ids:
        check_options(repo_id, None, False, None)
    results = [read_results(run) for run in runs]
    data = load_data(get_source(results[0], source))
    groups = group_examples(data, [read_test_predictions(str(run), data) for run in runs])
    return write_space(folder, [each["model"]["name"] for each in results], repo_ids or runs, groups)


def write_space(folder: Path, names: list[str], models: list[str | Path], groups: Groups) -> list[str]:
    """Write a Space, whole or not at all.

    Args:
        folder: new.
        names: of the models, for people.
        models: one or two: ids on the Hub, or run folders, which are copied into the Space.
        groups: example images, of which the first of each group are taken.

    Returns:
        The paths in it, sorted.

    Raises:
        UserError: The folder is not new, or a run holds what must not be published.
    """
    check_output_folder(folder)
    try:
        sdk_version = importlib.metadata.version("gradio")
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"a Space names the gradio that is installed, and none is; {INSTALL}") from error
    with write_then_rename(folder, replace_folder=True) as space:
        (space / "examples").mkdir(parents=True)
        places = []
        for number, model in enumerate(models):
            if isinstance(model, Path):
                places.append(f"models/{number}_{re.sub(r'[^A-Za-z0-9._-]+', '_', model.resolve().name)}")
                copy_model(model, space / places[-1])
            else:
                places.append(model)
        modules = find_modules([f"{PACKAGE}.demo.{name}" for name in ("app", "classifier", "examples")])
        copy_modules(space, modules)
        save_examples(space / "examples", groups, EXAMPLES)
        title = " and ".join(names)
        (space / "app.py").write_text(APP.format(models=repr(places)), encoding="utf-8")
        requirements = "\n".join(list_requirements(find_libraries(modules)))
        (space / "requirements.txt").write_text(f"{requirements}\n", encoding="utf-8")
        card = SpaceCardData(
            title="What is in the picture?", sdk="gradio", sdk_version=sdk_version, app_file="app.py",
            python_version=f"{sys.version_info.major}.{sys.version_info.minor}", license="apache-2.0",
            models=[model for model in models if isinstance(model, str)] or None,
        )  # fmt: skip
        SpaceCard(f"---\n{card.to_yaml()}\n---\n\n{TEXT.format(title=title, names=title)}").save(space / "README.md")
        return sorted(path.relative_to(space).as_posix() for path in space.rglob("*") if path.is_file())


def copy_model(source: Path, target: Path) -> None:
    """Copy what a run publishes, but for its predictions and figures.

    Raises:
        UserError: See `list_files` and `check_secrets`.
    """
    paths = [path for path in list_files(source) if "/" not in path]
    if "model.safetensors" not in paths:
        raise UserError(f"{source}: model.safetensors is missing; allowed: a finished run of recipes/train.py")
    check_secrets(source, paths)
    target.mkdir(parents=True)
    for path in paths:
        shutil.copyfile(source / path, target / path)


def find_modules(names: list[str]) -> dict[str, Path]:
    """These modules of this package and all of it that they import, wherever in them: by name, their files."""
    root, found, waiting = Path(str(files(PACKAGE))).parent, {}, list(names)
    while waiting:
        name = waiting.pop()
        path = root.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in found or not path.is_file():  # the latter: something in a module
            continue
        found[name] = path
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        waiting += [".".join(package[:depth]) for depth in range(1, len(package) + 1)]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                module = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
                waiting += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return found


def copy_modules(space: Path, modules: dict[str, Path]) -> None:
    """Copy modules, and the files beside them that go by their name, as a schema."""
    root = Path(str(files(PACKAGE))).parent
    for path in modules.values():
        for each in [path, *path.parent.glob(f"{path.stem}.*.json")]:
            target = space / each.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each, target)


def find_libraries(modules: dict[str, Path]) -> set[str]:
    """What modules import from outside of this package and of Python."""
    found = set()
    for path in modules.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {PACKAGE}


def list_requirements(libraries: set[str]) -> list[str]:
    """A line for each library: from the version that is here, up to the next major one."""
    owners, lines = importlib.metadata.packages_distributions(), []
    for name in {owners[library][0].lower() for library in libraries if library in owners}:
        major, minor = importlib.metadata.version(name).split("+")[0].split(".")[:2]
        lines.append(f"{name}>={major}.{minor},<{int(major) + 1}")
    return sorted(lines)
