"""Compiled kernels on disk: where they are kept, and how one knows that what is read is what was written.

numba's own files are trusted as they are: a damaged one raises errors or ends the process, processes that start at once
may take each other's code for their own, and where no folder can be written, there are no kernels. So a file here is
named after the types of the arguments, and begins with a digest of all that its code depends on, and of the code. What
has another digest is passed over, and written anew.
"""

from __future__ import annotations

__all__ = ["Disk", "folders"]

import contextlib
import hashlib
import os
import pickle
import stat
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import caching
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps


class Disk(caching.NullCache):
    """The cache of one function, as the dispatchers of numba ask for it.

    Parameters
    ----------
    function
        The function, of a file.
    stamp
        What its code depends on, beside the file, the types, the processor, and numba.
    """

    def __init__(self, function: Callable[..., Any], stamp: str) -> None:
        code, self._source = function.__code__, Path(function.__code__.co_filename)
        module = function.__module__.rpartition(".")[2]
        self._name = f"{module}.{function.__qualname__}.{sys.implementation.cache_tag}"
        self._made_of = stamp, hashlib.sha256(self._source.read_bytes()).digest(), code.co_firstlineno

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for arguments of these types, or None."""
        target_context.refresh()
        key = repr((sig, target_context.codegen().magic_tuple()))
        for folder in folders(self._source.parent)[0]:
            try:
                content = self._path(folder, key).read_bytes()
            except OSError:
                continue
            if content[:32] == self._digest(key, data := content[32:]):
                return CompileResult._rebuild(target_context, *pickle.loads(data))
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, or say why not."""
        _, folder, word = folders(self._source.parent)
        if word:
            _say(word)
        if folder is None or data.library.has_dynamic_globals:  # addresses of this process
            return
        key, content = repr((sig, data.codegen.magic_tuple())), dumps(data._reduce())
        path = self._path(folder, key)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        try:
            part.write_bytes(self._digest(key, content) + content)
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            _say(f"compiled kernels are not kept ({error}): {REMEDY}")

    def _path(self, folder: Path, key: str) -> Path:
        return folder / f"{self._name}.{hashlib.sha256(key.encode()).hexdigest()[:16]}.nbc"

    def _digest(self, key: str, content: bytes) -> bytes:
        made_of = repr((self._made_of, numba.__version__, key))
        return hashlib.sha256(made_of.encode() + b"\0" + content).digest()


REMEDY = "set NUMBA_CACHE_DIR to a folder that can be written, and that lasts"


@cache
def _say(word: str) -> None:
    """Once in a process."""
    warnings.warn(word, RuntimeWarning, stacklevel=2)


@cache
def folders(source: Path) -> tuple[list[Path], Path | None, str]:
    """The folders where kernels of one source folder are looked for, the one where they are kept, and a word about it.

    Looked for up to the first that can be written: what an administrator has compiled beside the source serves all.
    """
    name = f"{source.name}_{hashlib.sha256(str(source).encode()).hexdigest()[:16]}"
    places = [source / "__pycache__", Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "wflow", name).expanduser()]
    if numba.config.CACHE_DIR:
        places.insert(0, Path(numba.config.CACHE_DIR, name))
    for i, place in enumerate(places):
        if _is_writable(place):
            return places[: i + 1], place, ""
    private = _temporary()
    if private and _is_writable(place := private / name):
        return [*places, place], place, f"compiled kernels are kept in {private} for now: {REMEDY}"
    return places, None, f"compiled kernels are not kept, since no folder for them can be written: {REMEDY}"


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _temporary() -> Path | None:
    """The user's own folder among temporary files, which nobody else can write: code from there will run."""
    user = os.getuid() if hasattr(os, "getuid") else None  # elsewhere temporary files are the user's own
    try:
        folder = Path(tempfile.gettempdir(), f"wflow-{user}")
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_private = user is None or (found.st_uid == user and not found.st_mode & 0o077)
    return folder if stat.S_ISDIR(found.st_mode) and is_private else None
