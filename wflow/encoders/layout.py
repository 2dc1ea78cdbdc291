"""Memory for the kernels, and particles in their layout."""

from __future__ import annotations

__all__ = ["InRegisters", "aligned_empty", "plain", "workspace"]

import math
import threading
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wflow.measures.measure import frozen

Array = NDArray[Any]


#: A cache line.
LINE_BYTES = 64


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Memory that starts with a cache line: a register that straddles two takes the kernels twice as long to read."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + LINE_BYTES, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE_BYTES  # (memory.ctypes takes ten times as long)
    out: Array = memory[start : start + size].view(dtype).reshape(shape)
    return out


def plain(array: Array) -> Array:
    """The array as kernels are compiled for it: contiguous and writable; copied only where it is not."""
    return array if array.flags.carray else np.array(array, order="C")


@dataclass(frozen=True, eq=False)
class InRegisters:
    """Particles in the kernels' layout: ``registers`` (S, registers, lanes) as by :mod:`wflow.kernels.packing`, with
    ``order`` and ``block``, from ``points`` (S, M, p)."""

    points: Array
    order: NDArray[np.int64]
    block: int
    registers: Array

    @classmethod
    def of(cls, points: Array, weights: Array, order: NDArray[np.int64], block: int) -> Self:
        """Points (S, M, p) with weights (S, M)."""
        from wflow.kernels.packing import pack
        from wflow.kernels.simd.lanes import n_lanes

        (S, M, _), (parts, k), lanes = points.shape, order.shape, n_lanes(points.dtype)
        registers = aligned_empty((S, -(-M * parts // lanes) * (k + 1), lanes), points.dtype)
        given = np.ascontiguousarray(points), np.ascontiguousarray(weights, np.float64)
        pack(*map(frozen, given), order, block, registers)  # as measures have them: compiled once for a precision
        return cls(points, order, block, registers)

    def sums(self, count: int) -> Array:
        """Memory for so many sums (count, S, registers, lanes) of derivatives."""
        return aligned_empty((count, *self.registers.shape), self.registers.dtype)

    def total(self, sums: Array) -> Array:
        """The sum of sums by the points (S, M, p)."""
        from wflow.kernels.packing import unpack

        out = np.empty(self.points.shape, self.points.dtype)
        unpack(sums, self.order, self.block, out)
        return out


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
