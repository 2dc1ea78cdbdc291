"""Between particles ``(M, ...)`` and the kernels' layout, in which the same entry of many particles is adjacent."""

from __future__ import annotations

__all__ = ["aligned_zeros", "from_lanes", "groups_of", "plain", "to_lanes"]

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


#: A cache line.
LINE_BYTES = 64


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros that start with a cache line: a register that straddles two takes the kernels twice as long to read."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.zeros(size + LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    out: Array = memory[start : start + size].view(dtype).reshape(shape)
    return out


def to_lanes(array: Array, lanes: int) -> Array:
    """(M, ...) to (H, ..., lanes) with H = ceil(M / lanes), filled up with zeros.

    Examples
    --------
    >>> to_lanes(np.arange(3.0), 2)
    array([[0., 1.], [2., 0.]])
    """
    blocks = -(-len(array) // lanes)
    full = np.zeros((blocks * lanes, *array.shape[1:]), array.dtype)
    full[: len(array)] = array
    out = aligned_zeros((blocks, *array.shape[1:], lanes), array.dtype)
    out[...] = np.moveaxis(full.reshape(blocks, lanes, *array.shape[1:]), 1, -1)
    return out


def from_lanes(array: Array, width: int) -> Array:
    """The inverse of :func:`to_lanes` for M = ``width`` particles.

    Examples
    --------
    >>> from_lanes(to_lanes(np.arange(3.0), 2), 3)
    array([0., 1., 2.])
    """
    rows = np.moveaxis(array, -1, 1)
    return np.ascontiguousarray(rows.reshape(-1, *rows.shape[2:])[:width])


def plain(array: Array) -> Array:
    """The array as kernels are compiled for it: contiguous and writable; copied only where it is not."""
    return np.require(array, requirements=["C", "W"])


#: Below about this many multiplications the threads cost more than they bring.
SERIAL_WORK = 250_000


def groups_of(n_prompts: int, work: int) -> int:
    """How many groups of prompts share the work: never a function of the number of threads, nor then is any result.

    ``work`` is the number of multiplications of a call, roughly.
    """
    return min(n_prompts, 16) if work > SERIAL_WORK else 1
