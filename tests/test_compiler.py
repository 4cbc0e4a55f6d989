"""C files are compiled once, mended when damaged, and done without where they cannot be."""

import shutil
from pathlib import Path

import pytest

from hf_cifar.hardware import read_cpu_flags
from hf_cifar.kernels import compiler

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None or "avx512_bf16" not in read_cpu_flags(), reason="needs gcc and AVX512-BF16"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_CIFAR_CACHE", str(tmp_path))
    compiler.load_library.cache_clear()
    yield
    compiler.load_library.cache_clear()


@needs_gcc
def test_a_library_is_compiled_once_and_compiled_again_when_damaged(tmp_path, monkeypatch):
    compiled = []
    compile_library = compiler.compile_library
    monkeypatch.setattr(compiler, "compile_library", lambda *names: compiled.append(1) or compile_library(*names))
    assert compiler.load_library("normalization").sum_inputs
    (library,) = (tmp_path / "kernels").iterdir()
    compiler.load_library.cache_clear()
    assert compiler.load_library("normalization") is not None and len(compiled) == 1
    # Elsewhere: the system would not look again at a file that this process has loaded.
    other = tmp_path / "other"
    (other / "kernels").mkdir(parents=True)
    (other / "kernels" / library.name).write_bytes(b"cut off")
    monkeypatch.setenv("HF_CIFAR_CACHE", str(other))
    compiler.load_library.cache_clear()
    assert compiler.load_library("normalization").sum_inputs and len(compiled) == 2


@pytest.mark.parametrize(
    ("source", "which", "message"),
    [
        ("normalization", None, "there is no gcc to compile it"),
        ("absent", "gcc", "No such file"),
        ("wrong", "gcc", "error"),
    ],
)
def test_what_cannot_be_had_is_said_once(source, which, message, tmp_path, monkeypatch, caplog):
    if which and shutil.which(which) is None:
        pytest.skip("needs gcc")
    monkeypatch.setattr(compiler, "read_cpu_flags", lambda: {"avx512_bf16"})
    monkeypatch.setattr(compiler.shutil, "which", lambda name: which)
    if source == "wrong":
        (tmp_path / "wrong.c").write_text("int main( {")
        monkeypatch.setattr(Path, "with_name", lambda self, name: tmp_path / name)
    assert compiler.load_library(source) is None
    assert caplog.text.count(f"{source}.c, slower") == 1 and message in caplog.text
    assert "--fast_kernels false" in caplog.text


def test_another_cpu_is_no_reason_for_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(compiler, "read_cpu_flags", lambda: {"avx2"})
    assert compiler.load_library("winograd") is None and not caplog.records
