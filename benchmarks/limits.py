"""What the machine can do at most: multiply-adds in registers, exponentials, matrix products, memory.

    python benchmarks/limits.py [--threads 2]

Rates in 10^9 per second, on one thread and on all: flops of independent multiply-adds in registers and of the matrix
product of numpy's BLAS; exponentials of our own kernel on data in the first-level cache; bytes of ``a = b + s c``
(three arrays, larger than any cache). Each is the median of a few runs; what is compared with them on a machine that
others use too should be measured in turn with them (see ``velocity.py``).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads are ours: each has a product of its own

import numba
import numpy as np

from wflow.kernels.simd.lanes import add, exp, fma, n_lanes
from wflow.kernels.simd.matrices import at, extent, put, space

KINDS = {"FMA": "Gflop/s", "exp": "G/s", "product": "Gflop/s", "triad": "GB/s"}
#: Rates by kind, precision and number of threads.
Rates = dict[tuple[str, str, int], float]

#: numba types these, as it does the kernels of the package.
kernel = numba.njit(nogil=True, error_model="numpy", boundscheck=False)


@kernel
def _fma(x, out, rounds):
    """Twelve sums ``s <- s y + z``, more than a unit has under way, that start from different numbers."""
    x, out = space(x, 0, x.shape[0], 1), space(out, 0, x.shape[0], 1)
    y, z = at(x, 0, 0), at(x, 1, 0)
    a, b, c, d, e, f = at(x, 2, 0), at(x, 3, 0), at(x, 4, 0), at(x, 5, 0), at(x, 6, 0), at(x, 7, 0)
    g, h, i, j, k, l = at(x, 8, 0), at(x, 9, 0), at(x, 10, 0), at(x, 11, 0), at(x, 12, 0), at(x, 13, 0)
    for _ in range(rounds):
        a, b, c, d, e, f = fma(a, y, z), fma(b, y, z), fma(c, y, z), fma(d, y, z), fma(e, y, z), fma(f, y, z)
        g, h, i, j, k, l = fma(g, y, z), fma(h, y, z), fma(i, y, z), fma(j, y, z), fma(k, y, z), fma(l, y, z)
    total = add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h)))
    put(out, 0, 0, add(total, add(add(i, j), add(k, l))))


@kernel
def _exp(x, out, rounds):
    x, out = space(x, 0, x.shape[0], 1), space(out, 0, x.shape[0], 1)
    for _ in range(rounds):
        for i in range(0, extent(x)[0], 4):  # four at a time, so that no unit waits
            a, b, c, d = exp(at(x, i, 0)), exp(at(x, i + 1, 0)), exp(at(x, i + 2, 0)), exp(at(x, i + 3, 0))
            put(out, i, 0, a)
            put(out, i + 1, 0, b)
            put(out, i + 2, 0, c)
            put(out, i + 3, 0, d)


@kernel
def _triad(a, b, c, s):
    for i in range(a.size):
        a[i] = b[i] + s * c[i]


@cache
def _work(kind: str, dtype: str, thread: int) -> tuple[float, Callable[[], Any]]:
    """Some work of this kind on arrays of this thread, and how much it is."""
    rng = np.random.default_rng(0)
    if kind == "product":
        A, B, C = (rng.random((768, 768)).astype(dtype) for _ in range(3))
        return 2 * 768.0**3, lambda: np.matmul(A, B, out=C)
    if kind == "triad":
        a, b, c = (np.ones(2**22, dtype) for _ in range(3))
        return 3.0 * a.nbytes, lambda: _triad(a, b, c, b[0])
    x = -0.5 * rng.random((64, n_lanes(dtype))).astype(dtype)
    out = np.empty_like(x)
    if kind == "exp":
        return 10000.0 * x.size, lambda: _exp(x, out, 10000)
    return 2e6 * 12 * 2 * n_lanes(dtype), lambda: _fma(x, out, 2000000)


def rate(kind: str, dtype: str, threads: int, repeats: int) -> float:
    """Work per nanosecond, of so many threads together; the median of a few runs after one that warms up."""
    work = [_work(kind, dtype, thread) for thread in range(threads)]
    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats + 1):
            began = time.perf_counter()
            for future in [pool.submit(run) for _, run in work]:
                future.result()
            seconds.append(time.perf_counter() - began)
    return float(sum(amount for amount, _ in work) / np.median(seconds[1:]) / 1e9)


def measure(dtypes: list[str], threads: int, repeats: int = 5) -> Rates:
    """All rates, on one thread and on all."""
    counts = sorted({1, threads})
    return {
        (kind, dtype, count): rate(kind, dtype, count, repeats)
        for kind in KINDS
        for dtype in dtypes
        for count in counts
    }


def medians(turns: list[Rates]) -> Rates:
    """The median of every rate."""
    return {key: float(np.median([rates[key] for rates in turns])) for key in turns[0]}


def table(rates: Rates) -> str:
    """The rates as a Markdown table."""
    columns = list(dict.fromkeys((dtype, count) for _, dtype, count in rates))
    lines = ["| limit | " + " | ".join(f"{dtype}, {count} thread{'s'[: count > 1]}" for dtype, count in columns) + " |"]
    lines.append("|---" * (1 + len(columns)) + "|")
    for kind, unit in KINDS.items():
        lines.append(f"| {kind}, {unit} | " + " | ".join(f"{rates[kind, *column]:.3g}" for column in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    print(table(measure(["float64", "float32"], parser.parse_args().threads)))


if __name__ == "__main__":
    main()
