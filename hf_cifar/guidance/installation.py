"""Owns the checks of Python and the libraries; imports nothing but the standard library, since the rest may be broken.

The ranges are those of requirements.txt, which says what is needed in one place.
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from .findings import Finding

MIN_PYTHON = (3, 11)
REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"
# Those without which nothing runs, in the order in which one breaks the next.
MODULES = ("numpy", "torch", "torchvision", "safetensors", "huggingface_hub", "transformers", "datasets", "evaluate",
           "accelerate", "timm", "sklearn", "matplotlib")  # fmt: skip


def check_installation() -> list[Finding]:
    """Python, versions, the pair of torch and torchvision, and whether everything imports."""
    versions = read_versions(name for name, _ in read_requirements())
    return [check_python(sys.version_info[:3]), *check_versions(versions), check_pair(versions), check_imports()]


def read_requirements() -> list[tuple[str, str]]:
    """Names and ranges, as ("torch", ">=2.11"); of an installed package without its repository, its metadata's."""
    if REQUIREMENTS.is_file():
        lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    else:
        lines = [line for line in metadata.requires("hf_cifar") or [] if "extra ==" not in line]
    matches = (re.match(r"\s*([A-Za-z0-9_.-]+)\s*([^#;]*)", line) for line in lines)
    return [(match[1], match[2].strip()) for match in matches if match]


def read_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Installed versions; None for what is not installed."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def read_numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, as (2, 14, 1); a local part such as "+cpu" is left out."""
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3])


def is_in_range(version: str, specifier: str) -> bool:
    """Whether a version fits a range as requirements.txt has them: ">=5.17,<6" or "==0.1.0"."""
    found = read_numbers(version)
    for part in filter(None, (each.strip() for each in specifier.split(","))):
        operator, bound = re.match(r"(>=|<=|==|<|>)\s*(.+)", part).groups()
        limit = read_numbers(bound)
        length = max(len(found), len(limit))
        left, right = (numbers + (0,) * (length - len(numbers)) for numbers in (found, limit))
        fits = {">=": left >= right, "<=": left <= right, "==": left == right, "<": left < right, ">": left > right}
        if not fits[operator]:
            return False
    return True


def check_python(version: tuple[int, ...]) -> Finding:
    """Whether Python is new enough."""
    text, needed = ".".join(map(str, version)), ".".join(map(str, MIN_PYTHON))
    return Finding(
        "Python",
        "ok" if tuple(version[:2]) >= MIN_PYTHON else "fail",
        text,
        f"numpy, scikit-learn and transformers of today need {needed} or later",
        f"install Python {needed} or later, and make setup PYTHON=python{needed}",
        entry="python-too-old",
    )


def check_versions(versions: dict[str, str | None]) -> list[Finding]:
    """One finding for each library that is missing or out of range, or one for all."""
    ranges = dict(read_requirements())
    findings = []
    for name, version in versions.items():
        allowed = ranges.get(name, "")
        if version is not None and is_in_range(version, allowed):
            continue
        is_pillow = name == "pillow" and version is not None
        findings.append(
            Finding(
                name,
                "warn" if is_pillow else "fail",
                f"{version or 'not installed'}; needed: {allowed or 'any version'}",
                "gradio and trackio need less than 13; beside it pip installs a gradio that is years old"
                if is_pillow
                else "only these versions were tested; options and checkpoints' names change between them",
                f"pip install '{name}{allowed}' -c requirements.lock, or make setup for the tested versions",
                entry="pillow-13" if is_pillow else "library-versions",
            )
        )
    if findings:
        return findings
    shown = ("torch", "transformers", "datasets", "accelerate", "timm")
    text = ", ".join(f"{name} {versions[name]}" for name in shown if versions.get(name))
    return [Finding("library versions", "ok", text, "only the ranges of requirements.txt were tested")]


def check_pair(versions: dict[str, str | None]) -> Finding:
    """Whether torch and torchvision belong together: 2.x with 0.(x + 15), and both of one build."""
    torch, torchvision = versions.get("torch"), versions.get("torchvision")
    why = "torchvision's operators are compiled for one version and build of torch; beside another they do not load"
    if torch is None or torchvision is None:
        return Finding(
            "torch and torchvision", "fail", f"{torch or 'none'} and {torchvision or 'none'}", why,
            "pip install torch torchvision -c requirements.lock", entry="torchvision-nms",
        )  # fmt: skip
    major, minor = read_numbers(torch)[:2]
    expected = f"0.{minor + 15}" if major == 2 else None
    builds = [version.partition("+")[2] for version in (torch, torchvision)]
    fits = expected is None or torchvision.split("+")[0].startswith(f"{expected}.")
    fits = fits and (builds[0] == "cpu") == (builds[1] == "cpu")
    wanted = f"{expected}.*" + ("+cpu" if builds[0] == "cpu" else "")
    return Finding(
        "torch and torchvision",
        "ok" if fits else "fail",
        f"{torch} and {torchvision}" + ("" if fits else f"; torch {torch} goes with torchvision {wanted}"),
        why,
        "install both at once from the same index, as pip install torch torchvision -c requirements.lock",
        entry="torchvision-nms",
    )


def check_imports(import_module: Callable[[str], object] = importlib.import_module) -> Finding:
    """Whether the libraries import."""
    why = "a library that is installed but does not import stops every recipe"
    for name in MODULES:
        try:
            import_module(name)
        except Exception as error:  # whatever a library's own code raises
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return Finding(
                "imports", "fail", f"{name} does not import: {reason}", why,
                "make setup installs versions that fit together; for torchvision, see the pair above",
                entry="torchvision-nms" if name == "torchvision" or "torchvision" in reason else "library-versions",
            )  # fmt: skip
    return Finding("imports", "ok", f"{len(MODULES)} libraries import", why)
