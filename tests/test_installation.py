"""What the doctor says of Python and libraries, when they are fine and when they are not."""

import importlib
import subprocess
import sys

import pytest

from hf_cifar.guidance.findings import Finding, format_findings, make_report, summarize
from hf_cifar.guidance.installation import (
    check_imports,
    check_installation,
    check_pair,
    check_python,
    check_versions,
    is_in_range,
    read_requirements,
    read_versions,
)

from .conftest import ROOT

GOOD = {"torch": "2.14.1", "torchvision": "0.29.1", "transformers": "5.23.0", "pillow": "12.3.0"}


def test_this_installation_is_fine():
    assert [each.status for each in check_installation()] == ["ok"] * 4


def test_the_ranges_are_those_of_the_requirements():
    ranges = dict(read_requirements())
    assert ranges["transformers"] == ">=5.17,<6" and ranges["pillow"] == ">=11,<13"
    assert len(ranges) > 20 and all(read_versions(ranges).values())


@pytest.mark.parametrize(
    ("version", "specifier", "fits"),
    [
        ("5.17", ">=5.17,<6", True),
        ("5.17.0", ">=5.17,<6", True),
        ("6.0.0", ">=5.17,<6", False),
        ("5.9.1", ">=5.17,<6", False),
        ("2.14.1+cpu", ">=2.11", True),
        ("0.1.0", "==0.1.0", True),
        ("0.1.1", "==0.1.0", False),
        ("1", "", True),
        ("3", "<=3,>2", True),
    ],
)
def test_ranges_compare_numbers(version, specifier, fits):
    assert is_in_range(version, specifier) is fits


def test_an_old_python_fails():
    assert check_python((3, 10, 4)).status == "fail" and check_python((3, 12, 1)).status == "ok"


def test_versions_out_of_range_are_named_with_what_is_needed():
    (found,) = check_versions(GOOD)
    assert found.status == "ok"
    (found,) = check_versions(GOOD | {"transformers": "4.57.1"})
    assert (found.status, found.check, found.value) == ("fail", "transformers", "4.57.1; needed: >=5.17,<6")
    (found,) = check_versions(GOOD | {"timm": None})
    assert found.value == "not installed; needed: >=1.0.20"


def test_pillow_13_is_a_warning_about_gradio():
    (found,) = check_versions(GOOD | {"pillow": "13.0.0"})
    assert (found.status, found.entry) == ("warn", "pillow-13") and "gradio" in found.why


@pytest.mark.parametrize(
    ("torch", "torchvision", "status"),
    [
        ("2.14.1", "0.29.1", "ok"),
        ("2.11.0", "0.26.0", "ok"),
        ("2.11.0+cpu", "0.26.0+cpu", "ok"),
        ("2.11.0+cu130", "0.26.0+cu130", "ok"),
        ("2.14.1", "0.26.0", "fail"),
        ("2.14.1+cpu", "0.29.1", "fail"),  # PyPI's torchvision beside a CPU-only torch
        ("2.14.1", None, "fail"),
    ],
)
def test_torch_and_torchvision_go_in_pairs(torch, torchvision, status):
    assert check_pair({"torch": torch, "torchvision": torchvision}).status == status


def test_a_library_that_does_not_import_is_named_with_its_reason():
    def import_module(name):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return importlib.import_module(name)

    found = check_imports(import_module)
    assert (found.status, found.entry) == ("fail", "torchvision-nms")
    assert "torchvision does not import: operator torchvision::nms does not exist" in found.value


def test_a_broken_installation_is_reported_though_nothing_else_imports(tmp_path):
    """As a user meets it: the recipe itself, beside a numpy that raises."""
    (tmp_path / "numpy.py").write_text("raise ImportError('libopenblas.so is not there')\n")
    path = f"{tmp_path}:{ROOT}"
    result = subprocess.run(
        [sys.executable, "recipes/doctor.py"], cwd=ROOT, env={"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "numpy does not import: libopenblas.so is not there" in result.stdout


def test_findings_as_text_and_json():
    findings = [
        Finding("a", "ok", "1", "because"),
        Finding("b", "warn", "2", "because", "do that", "some-entry", {"seconds": 2.0}),
    ]
    text = format_findings(findings)
    assert text.splitlines()[0] == "ok   a: 1"  # no more where all is well
    assert "why: because" in text and "fix: do that" in text and "docs/troubleshooting.md#some-entry" in text
    assert summarize(findings) == "1 ok, 1 warn, 0 fail"
    report = make_report(findings)
    assert report["status"] == "warn" and report["findings"][1]["numbers"] == {"seconds": 2.0}
