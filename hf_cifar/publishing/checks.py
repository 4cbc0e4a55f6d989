"""Owns what a run folder must be before it is published, and what of it is sent."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path, PurePosixPath

from huggingface_hub import EvalResult, ModelCard, get_token
from safetensors import SafetensorError, safe_open

from ..errors import UserError
from ..evaluation.predictions import read_predictions
from ..evaluation.results import FILE_NAME, read_results
from ..files import hash_file, is_scratch
from ..reporting.formatting import format_estimate
from ..training.run_folder import LOCAL, RUN_FILES
from .card_metadata import EVAL_FOLDER, list_eval_files
from .stranger import StrangerError, open_stranger

CODE_FILES = ("configuration_cifar_cnn.py", "modeling_cifar_cnn.py")
AUTO_MAP = {
    "AutoConfig": "configuration_cifar_cnn.CifarCnnConfig",
    "AutoModelForImageClassification": "modeling_cifar_cnn.CifarCnnForImageClassification",
}
REQUIRED = ("config.json", "model.safetensors", "preprocessor_config.json", "README.md", FILE_NAME)
# What of RUN_FILES is a folder, and what may be in it. Nothing else is ever sent, nor fetched back.
FOLDERS = {
    "predictions": "predictions/*.parquet",
    "figures": "figures/*.png",
    "onnx": "onnx/model.onnx",
    EVAL_FOLDER: f"{EVAL_FOLDER}/hf_cifar*.yaml",  # others' results may lie beside ours
}
PUBLISHED = tuple(FOLDERS.get(name, name) for name in RUN_FILES if name not in LOCAL)
TEXT_SUFFIXES = (".json", ".md", ".py", ".yaml")
LARGEST_TEXT, LARGEST_FILE = 10 * 2**20, 50 * 10**9  # bytes; above these the Hub stores text apart, and refuses files
UNSAFE_SUFFIXES = (".bin", ".ckpt", ".h5", ".joblib", ".keras", ".msgpack", ".npy", ".pickle", ".pkl", ".pt", ".pth")
SECRETS = {
    "a Hugging Face token": r"\b(hf|api_org)_[A-Za-z0-9]{20,}",
    "a GitHub token": r"\b(gh[opsu]_[A-Za-z0-9]{30,}|github_pat_\w{30,})",
    "a GitLab token": r"\bglpat-[\w-]{20,}",
    "an npm or PyPI token": r"\b(npm_[A-Za-z0-9]{30,}|pypi-[\w-]{50,})",
    "a Slack token": r"\bxox[abeoprs]-[\w-]{10,}",
    "an API key": r"\b(sk-[\w-]{20,}|AKIA[0-9A-Z]{16}\b|AIza[\w-]{35})",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a signed token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.",
    "a password in an address": r"://[^/\s:@\"']+:[^/\s:@\"']+@",
    "a secret by its name": r"(?i)(token|secret|passw(or)?d|api_?key)[\"']?\s*[=:\s]\s*[\"']?(?=[a-z]*\d)[\w+/-]{20,}",
}


def check_run(folder: Path, run_code: bool = False) -> tuple[dict, list[str]]:
    """Check that `folder` is a finished run that strangers can load, and that nothing in it must stay private.

    Args:
        folder: the run's.
        run_code: whether Python files in it may be run that are not this version's own.

    Returns:
        Its results, and the paths in it that are published, sorted.

    Raises:
        UserError: With the first thing that is wrong.
    """
    results = read_results(folder)
    paths = list_files(folder)
    for name in (*REQUIRED, *(CODE_FILES if results["model"]["type"] == "cifar_cnn" else ())):
        if name not in paths:
            raise UserError(f"{folder}: {name} is missing; allowed: a finished run of recipes/train.py")
    for path in paths:
        check_file(folder, path)
    check_secrets(folder, paths)
    for problem in find_card_problems(folder, results):
        raise UserError(f"{problem}. Make the card again, by recipes/cards.py or recipes/train.py")
    problem = None if run_code else find_code_problem(folder)
    if problem is not None:
        raise UserError(f"{problem}; read them, and if you trust them, give --trust_remote_code")
    try:
        with open_stranger(folder, run_code=needs_code(folder)) as stranger:
            loaded = stranger.weights_sha256
    except StrangerError as error:
        raise UserError(f"{folder}: the model does not load without this package: {error}") from error
    if loaded != (expected := results["model"]["weights_sha256"]):
        raise UserError(
            f"model.safetensors: the weights' SHA-256 is {loaded[:16]}..., and {FILE_NAME} is of {expected[:16]}...; "
            "make the run again"
        )
    for path, expected, found in compare_exports(folder, results):
        if found != expected:
            raise UserError(f"{path} is not the file that {FILE_NAME} names; run recipes/export.py again")
    return results, paths


def compare_exports(folder: Path, results: dict) -> Iterator[tuple[str, str, str]]:
    """Of each published file in another format: path, SHA-256 in results.json, SHA-256 of the file."""
    path = FOLDERS["onnx"]
    expected = results.get("exports", {}).get("onnx", {}).get("sha256", "not named")
    found = hash_file(folder / path) if (folder / path).is_file() else "no such file"
    if (expected, found) != ("not named", "no such file"):
        yield path, expected, found


def list_files(folder: Path) -> list[str]:
    """The paths in a run folder that are published, sorted; what is never published is passed over.

    Raises:
        UserError: Something else is there, or a link that leads elsewhere.
    """
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    found = [path for path in found if not path.startswith(tuple(f"{name}/" for name in LOCAL))]
    for path in found:
        if not is_published(path):
            kind = "a half-written file" if is_scratch(PurePosixPath(path).parts[0]) else "no file of a run"
            raise UserError(f"{folder}: {path!r} is {kind}; take it away. Published are {', '.join(PUBLISHED)}")
        if folder.resolve() not in (folder / path).resolve().parents:
            raise UserError(f"{folder}: {path!r} is a link to elsewhere; put the file itself there")
    return found


def is_published(path: str) -> bool:
    """Whether a path in a repository is one that a run publishes."""
    return any(fnmatch(path, pattern) and path.count("/") == pattern.count("/") for pattern in PUBLISHED)


def check_file(folder: Path, path: str) -> None:
    """Refuse a file that is empty, too large, or not what its name says.

    Raises:
        UserError: With its name.
    """
    size, suffix = (folder / path).stat().st_size, PurePosixPath(path).suffix
    largest = LARGEST_TEXT if suffix in TEXT_SUFFIXES else LARGEST_FILE
    if not 0 < size <= largest:
        raise UserError(f"{path}: {size:,} bytes; allowed: 1 to {largest:,}. Make the run again")
    if suffix == ".parquet":
        read_predictions(folder / path)
    if suffix == ".safetensors":
        try:
            with safe_open(folder / path, "pt") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: not safetensors ({error}); make the run again") from error
    if suffix == ".png" and not (folder / path).read_bytes().startswith(b"\x89PNG\r\n"):
        raise UserError(f"{path}: not a PNG; make the run again")


def check_secrets(folder: Path, paths: list[str]) -> None:
    """Refuse text that looks like a secret, and files of any kind that hold the token in use.

    Raises:
        UserError: With file and line, but not the secret.
    """
    token = (get_token() or "").encode()
    for path in paths:
        content = b"" if path.endswith(".safetensors") else (folder / path).read_bytes()
        if len(token) > 8 and token in content:
            raise UserError(f"{path} holds your token; take it out, and replace the token if others have the file")
        for number, line in enumerate(content.splitlines() if path.endswith(TEXT_SUFFIXES) else (), 1):
            text = line.decode("utf-8", "replace")
            for kind, pattern in SECRETS.items():
                if re.search(pattern, text):
                    raise UserError(f"{path}, line {number}: looks like {kind}; take it out")


def needs_code(folder: Path) -> bool:
    """Whether a model's config names Python files that come with it."""
    return "auto_map" in read_config(folder)


def read_config(folder: Path) -> dict:
    """A model's config.json; empty where it is not one."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def find_code_problem(folder: Path) -> str | None:
    """Which Python code of a model is not byte for byte this package's; None if all is, or there is none."""
    own = files("hf_cifar.models")
    for path in sorted(folder.glob("*.py")):
        if path.name not in CODE_FILES or path.read_bytes() != own.joinpath(path.name).read_bytes():
            return f"{path.name} is not this version's own"
    named = read_config(folder).get("auto_map")
    # A subset: a model may leave out a class that it has no use for.
    if named is not None and not (isinstance(named, dict) and named.items() <= AUTO_MAP.items()):
        return f"config.json names other Python code than {' and '.join(CODE_FILES)}"
    return None


def find_card_problems(folder: Path, results: dict) -> Iterator[str]:
    """What is wrong with a model card: no valid metadata, or numbers that are not those of results.json."""
    try:
        card = ModelCard.load(folder / "README.md", ignore_metadata_errors=False)
        data = card.data.to_dict()
    except Exception as error:  # YAML's, huggingface_hub's and the system's, for whatever is in the file
        yield f"README.md: its metadata cannot be read: {' '.join(str(error).split())[:300]}"
        return
    kind = data.get("pipeline_tag")
    if kind != "image-classification":
        yield f"README.md: pipeline_tag is {kind!r}; needed: 'image-classification'"
    for name in ("license", "library_name", "tags"):
        if not data.get(name):
            yield f"README.md: its metadata has no {name}"
    for entry in card.data.eval_results or []:
        name, stated, measured = match_entry(entry, results)
        if measured is None or not abs(stated - measured) <= 1e-9:  # NaN too
            yield f"README.md: its model-index says {name} {stated!r}, {FILE_NAME} {measured!r}"
    for picture in data.get("widget") or []:
        source = str(picture.get("src", "")) if isinstance(picture, dict) else ""
        if "://" not in source and not (folder / source).is_file():
            yield f"README.md: its widget names {source!r}, which is not there"
    expected = list_eval_files(results)
    for path in sorted((folder / EVAL_FOLDER).glob("hf_cifar*.yaml")):
        if path.read_text(encoding="utf-8", errors="replace") != expected.get(path.name):
            yield f"{EVAL_FOLDER}/{path.name} does not say what {FILE_NAME} does"
    for section in ("metrics", "metrics_tta"):
        if section in results and (text := format_estimate(results[section]["test"]["accuracy"])) not in card.text:
            yield f"README.md: its text does not say {text}, the accuracy of {section} in {FILE_NAME}"


def match_entry(entry: EvalResult, results: dict) -> tuple[str, float, float | None]:
    """An entry of a card's model-index: the name of its number, what it says, and what results.json has."""
    name = (entry.metric_name or entry.metric_type).lower()
    section = results.get("metrics_tta" if "tta" in name or "augment" in name else "metrics", {}).get("test", {})
    average = next((each for each in ("macro", "weighted") if each in name), None)
    scores = section.get(average, {}) if average else section
    estimate = scores.get(entry.metric_type)
    stated = entry.metric_value if isinstance(entry.metric_value, int | float) else float("nan")
    return name, stated, estimate["value"] if isinstance(estimate, dict) else None
