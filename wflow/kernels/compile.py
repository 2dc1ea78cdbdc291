"""How kernels are compiled, and how long what is on disk counts.

A kernel is made of more files than its own: of the kernels that it calls, and of what writes its LLVM code. So kernels
are kept on disk (:mod:`wflow.kernels.disk`) until any file of this folder, or of a folder in it, changes.
"""

from __future__ import annotations

__all__ = ["kernel", "part"]

import hashlib
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import NullCache

from wflow.kernels.disk import Disk

if numba.config.DISABLE_JIT:  # numba compiles its own functions when kernels need them, so that it cannot stay
    warnings.warn(
        "NUMBA_DISABLE_JIT is set back for this process: kernels of wflow are LLVM code, which Python cannot run",
        RuntimeWarning,
        stacklevel=2,
    )
    numba.config.DISABLE_JIT = 0

#: Floating-point freedoms of the kernels. Not ``fast``: ``nnan`` and ``ninf`` would make isnan lie.
FAST = {"contract", "arcp", "nsz", "reassoc"}


@cache
def _stamp() -> str:
    """A digest of the names and contents of all files of kernels."""
    folder, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that several threads may run: it releases the interpreter's lock.

    numba's dispatchers have no public place for a cache: where they have none of this name, every process compiles its
    kernels, which is slow, but never wrong. So it is for functions of no file, and for those that close over others.
    """
    compiled = numba.njit(fastmath=FAST, error_model="numpy", boundscheck=False, nogil=True)(function)
    is_kept = Path(function.__code__.co_filename).is_file() and function.__closure__ is None
    if is_kept and isinstance(getattr(compiled, "_cache", None), NullCache):
        compiled._cache = Disk(function, _stamp())
    return compiled


def part(function: Callable[..., Any]) -> Any:
    """A function that is a part of kernels: it is compiled within them, and takes no time alone."""
    return numba.njit(inline="always")(function)
