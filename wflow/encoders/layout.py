"""Between particles ``(M, ...)`` and the kernels' layout, in which the same entry of many particles is adjacent."""

from __future__ import annotations

__all__ = ["aligned_empty", "aligned_zeros", "from_lanes", "plain", "to_lanes", "workspace"]

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


#: A cache line.
LINE_BYTES = 64


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros that start with a cache line: a register that straddles two takes the kernels twice as long to read."""
    out = aligned_empty(shape, dtype)
    out[...] = 0
    return out


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """The same without any particular values."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + LINE_BYTES, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE_BYTES  # (memory.ctypes takes ten times as long)
    out: Array = memory[start : start + size].view(dtype).reshape(shape)
    return out


def to_lanes(array: Array, lanes: int) -> Array:
    """(S, M, ...) to (S, H, ..., lanes) with H = ceil(M / lanes), filled up with zeros.

    Examples
    --------
    >>> to_lanes(np.arange(3.0)[None], 2)
    array([[[0., 1.],
            [2., 0.]]])
    """
    slices, width, *rest = array.shape
    whole, left = divmod(width, lanes)
    out = aligned_zeros((slices, whole + (left > 0), *rest, lanes), array.dtype)
    out[:, :whole] = np.moveaxis(array[:, : whole * lanes].reshape(slices, whole, lanes, *rest), 2, -1)
    if left:
        out[:, whole, ..., :left] = np.moveaxis(array[:, whole * lanes :], 1, -1)
    return out


def from_lanes(array: Array, width: int) -> Array:
    """The inverse of :func:`to_lanes` for M = ``width`` particles.

    Examples
    --------
    >>> from_lanes(to_lanes(np.arange(3.0)[None], 2), 3)
    array([[0., 1., 2.]])
    """
    rows = np.moveaxis(array, -1, 2)
    return rows.reshape(len(rows), -1, *rows.shape[3:])[:, :width]


def plain(array: Array) -> Array:
    """The array as kernels are compiled for it: contiguous and writable; copied only where it is not."""
    return array if array.flags.carray else np.array(array, order="C")


_own = threading.local()

#: Workspaces of up to so many bytes are kept for the next call.
KEPT_BYTES = 16 * 2**20


def workspace(registers: int, lanes: int, dtype: Any) -> Array:
    """Memory of at least so many registers (registers, lanes), which the next call in this thread may use again."""
    key = np.dtype(dtype).char
    memory: Array | None = getattr(_own, key, None)
    if memory is None or len(memory) < registers:
        memory = aligned_empty((registers, lanes), dtype)
        if memory.nbytes <= KEPT_BYTES:
            setattr(_own, key, memory)
    return memory
