"""How kernels are compiled, and how long what is on disk counts.

numba keeps compiled functions on disk until the file of the function changes. A kernel is made of other files too: of
the kernels that it calls, and of what writes its LLVM code. So kernels are kept until any file of this folder, or of a
folder in it, changes.
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

    numba reads nothing of what another version of it has left on disk, not even the names of types, whose modules may
    have moved; so the stamp becomes a part of that version. It is no public attribute: where numba has none, every
    process compiles its kernels, which is slow, but never wrong.
    """
    options = {"fastmath": FAST, "error_model": "numpy", "boundscheck": False, "nogil": True}
    compiled = numba.njit(cache=True, **options)(function)
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if not hasattr(file, "_version"):
        return numba.njit(**options)(function)
    file._version = f"{file._version} {_stamp()}"
    return compiled


def part(function: Callable[..., Any]) -> Any:
    """A function that is a part of kernels: it is compiled within them, and takes no time alone."""
    return numba.njit(inline="always")(function)
