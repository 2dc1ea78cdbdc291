"""What the machine can do at most: multiply-adds in registers, exponentials, matrix products, memory.

    python benchmarks/limits.py [--threads 2]

Rates in 10^9 per second, on one thread and on all: flops of independent multiply-adds in registers and of the matrix
product of numpy's BLAS; exponentials of our own kernel on data in the first-level cache; bytes of ``a = b + s c``
(three arrays, far larger than any cache). Each is the best of a few runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from wflow.kernels.lanes import add, at, exp, fma, n_lanes, put

KINDS = {"FMA": "Gflop/s", "exp": "G/s", "product": "Gflop/s", "triad": "GB/s"}
kernel = numba.njit(nogil=True, error_model="numpy", boundscheck=False)


@kernel  # type: ignore[untyped-decorator]
def _fma(x: Any, out: Any, rounds: int) -> None:
    """Twelve sums ``s <- s y + z``, more than a unit has under way, that start from different numbers."""
    y, z = at(x, 0, 0), at(x, 1, 0)
    a, b, c, d, e, f = at(x, 2, 0), at(x, 3, 0), at(x, 4, 0), at(x, 5, 0), at(x, 6, 0), at(x, 7, 0)
    g, h, i, j, k, l = at(x, 8, 0), at(x, 9, 0), at(x, 10, 0), at(x, 11, 0), at(x, 12, 0), at(x, 13, 0)
    for _ in range(rounds):
        a, b, c, d, e, f = fma(a, y, z), fma(b, y, z), fma(c, y, z), fma(d, y, z), fma(e, y, z), fma(f, y, z)
        g, h, i, j, k, l = fma(g, y, z), fma(h, y, z), fma(i, y, z), fma(j, y, z), fma(k, y, z), fma(l, y, z)
    total = add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h)))
    put(out, 0, 0, add(total, add(add(i, j), add(k, l))))


@kernel  # type: ignore[untyped-decorator]
def _exp(x: Any, out: Any, rounds: int) -> None:
    for _ in range(rounds):
        for i in range(x.shape[0]):
            put(out, i, 0, exp(at(x, i, 0)))


@kernel  # type: ignore[untyped-decorator]
def _triad(a: Any, b: Any, c: Any, s: Any) -> None:
    for i in range(a.size):
        a[i] = b[i] + s * c[i]


def _work(kind: str, dtype: str) -> tuple[float, Callable[[], Any]]:
    """Some work of this kind on arrays of its own, and how much it is."""
    rng = np.random.default_rng(0)
    if kind == "product":
        A, B, C = (rng.random((768, 768)).astype(dtype) for _ in range(3))
        return 2 * 768.0**3, lambda: np.matmul(A, B, out=C)
    if kind == "triad":
        a, b, c = (np.ones(2**24, dtype) for _ in range(3))
        return 3.0 * a.nbytes, lambda: _triad(a, b, c, b[0])
    x = -0.5 * rng.random((64, 1, n_lanes(dtype))).astype(dtype)
    out = np.empty_like(x)
    if kind == "exp":
        return 10000.0 * x.size, lambda: _exp(x, out, 10000)
    return 2e6 * 12 * 2 * n_lanes(dtype), lambda: _fma(x, out, 2000000)


def rate(kind: str, dtype: str, threads: int, repeats: int = 5) -> float:
    """Work per nanosecond, of so many threads together."""
    if kind == "product":  # BLAS has threads of its own
        work = [_work(kind, dtype)]
    else:
        work = [_work(kind, dtype) for _ in range(threads)]
    best = np.inf
    with ThreadPoolExecutor(threads) as pool, threadpool_limits(threads):
        for _ in range(repeats + 1):
            began = time.perf_counter()
            for future in [pool.submit(run) for _, run in work]:
                future.result()
            best = min(best, time.perf_counter() - began)
    return float(sum(amount for amount, _ in work) / best / 1e9)
