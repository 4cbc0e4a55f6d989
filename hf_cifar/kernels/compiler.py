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
    if compiler is None:
        logger.info("%s.c is not used: there is no gcc to compile it", source)
        return None
    path = Path(__file__).with_name(f"{source}.c")
    key = "\n".join([path.read_text(encoding="utf-8"), *_COMPILE, *_LINK, *sorted(flags)])
    library = get_cache_dir() / "kernels" / f"{source}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    try:
        if not library.exists():
            compile_library(compiler, path, library)
        return ctypes.CDLL(str(library))
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["gcc failed"])[0]
    except OSError as error:  # the cache cannot be written, or PyTorch's OpenMP is not GNU's
        reason = str(error)
    logger.info("%s.c is not used: %s", source, reason)
    return None


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
