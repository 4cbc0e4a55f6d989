"""Owns the compilation of the package's C files on the user's machine, once, into the cache folder."""

import ctypes
import hashlib
import logging
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

import torch  # noqa: F401  loads the OpenMP runtime that the libraries share

from ..files import get_cache_dir, write_then_rename
from ..hardware import read_cpu_flags

logger = logging.getLogger(__name__)

_COMPILE = ("-O3", "-march=native", "-fPIC", "-fopenmp", "-c")
# Without -fopenmp: the library then has no OpenMP runtime of its own and uses PyTorch's, which is loaded already. Two
# runtimes would keep two sets of threads that spin against each other.
_LINK = ("-shared",)
_REQUIRED_FLAG = "avx512_bf16"


@cache
def load_library(source: str) -> ctypes.CDLL | None:
    """Compile `<source>.c` of this folder unless the cache has it, and load it.

    Returns:
        None, with the reason in the log, where the machine cannot compile or run it.
    """
    flags, compiler = read_cpu_flags(), shutil.which("gcc")
    if platform.system() != "Linux" or platform.machine() != "x86_64" or _REQUIRED_FLAG not in flags:
        logger.info("%s.c is not used: it needs Linux on an x86-64 CPU with AVX512-BF16", source)
        return None
    try:
        return build_and_load(compiler, Path(__file__).with_name(f"{source}.c"), sorted(flags))
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["gcc failed"])[0]
    except OSError as error:  # the cache cannot be written, or PyTorch's OpenMP is not GNU's
        reason = str(error)
    logger.warning("Training goes on without %s.c, slower: %s. Install gcc, or --fast_kernels false", source, reason)
    return None


def build_and_load(compiler: str | None, source: Path, flags: list[str]) -> ctypes.CDLL:
    """The library of a C file, from the cache if it is there and intact.

    Raises:
        subprocess.CalledProcessError: The compiler refuses it; `stderr` says why.
        OSError: There is no compiler or no such file, the cache cannot be written, or the library cannot be loaded.
    """
    if compiler is None:
        raise OSError("there is no gcc to compile it")
    version = subprocess.run([compiler, "-dumpfullversion"], check=True, capture_output=True, text=True).stdout
    key = "\n".join([source.read_text(encoding="utf-8"), version, *_COMPILE, *_LINK, *flags])
    library = get_cache_dir() / "kernels" / f"{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    if library.exists():
        try:
            return ctypes.CDLL(str(library))
        except OSError:
            library.unlink()  # damaged
    compile_library(compiler, source, library)
    return ctypes.CDLL(str(library))


def compile_library(compiler: str, source: Path, library: Path) -> None:
    """Compile one C file to a shared library.

    Raises:
        subprocess.CalledProcessError: The compiler refuses it; `stderr` says why.
        OSError: The folder cannot be written or the compiler cannot be run.
    """
    with write_then_rename(library) as temporary:
        compiled = temporary.with_suffix(".o")
        for command in (
            [compiler, *_COMPILE, str(source), "-o", str(compiled)],
            [compiler, *_LINK, str(compiled), "-o", str(temporary)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True)
