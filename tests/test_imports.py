"""What `import hf_cifar` costs beyond transformers and torch."""

import subprocess
import sys

import pytest

from .conftest import ROOT

HEAVY = (
    "sklearn", "matplotlib", "scipy.stats", "timm", "gradio", "optuna", "cleanlab", "pandas", "datasets", "evaluate",
    "peft", "pptx", "sqlalchemy",
)  # fmt: skip


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_heavy_libraries_are_not_imported_with_the_package():
    out = run(f"import hf_cifar, sys; print([name for name in {HEAVY} if name in sys.modules])")
    assert out.strip() == "[]"


@pytest.mark.slow
def test_options_and_parser_need_no_heavy_library_of_ours():
    """A recipe's --help needs transformers' parser; what that imports itself is not ours to change."""
    program = (
        "import sys; from transformers import HfArgumentParser, TrainingArguments; before = set(sys.modules)\n"
        "import hf_cifar.arguments, hf_cifar.parser, hf_cifar.search.processes\n"
        f"print([name for name in {HEAVY} if name in set(sys.modules) - before])"
    )
    assert run(program).strip() == "[]"


@pytest.mark.slow
def test_the_package_adds_at_most_a_third_of_a_second():
    program = (
        "import time, torch, transformers; started = time.perf_counter()\n"
        "import hf_cifar; print(time.perf_counter() - started)"
    )
    assert min(float(run(program)) for _ in range(3)) < 0.3
