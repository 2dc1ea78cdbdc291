"""Implicit Euler for masses that hop between neighbouring cells, along one axis of many densities."""

from __future__ import annotations

__all__ = ["implicit_hops"]

import numba
import numpy as np

from wflow.kernels.lanes import FAST

kernel = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False)


@kernel
def implicit_hops(r, up, down, h):
    """Solve ``x_i + h (up_i x_i - down_i x_{i+1}) - h (up_{i-1} x_{i-1} - down_{i-1} x_i) = r_i`` along axis 1.

    r is (outer, n, inner); the rates up and down, from cell i to i + 1 and back, are (outer, n - 1, inner) and not
    negative. Columns sum to 1, and elimination keeps what a column has left over in e, so that there is nothing to
    subtract: the solution of r >= 0 is accurate in every digit of every cell, however long the step.
    """
    outer, n, inner = r.shape
    x, pivot, e = np.empty_like(r), np.empty((n, inner)), np.empty(inner)
    for o in range(outer):
        for k in range(inner):
            e[k] = 1.0
            x[o, 0, k] = r[o, 0, k]
        for i in range(n - 1):
            for k in range(inner):
                pivot[i, k] = e[k] + h * up[o, i, k]
                e[k] = 1.0 + h * down[o, i, k] * e[k] / pivot[i, k]
                x[o, i + 1, k] = r[o, i + 1, k] + h * up[o, i, k] * x[o, i, k] / pivot[i, k]
        for k in range(inner):
            x[o, n - 1, k] /= e[k]
        for i in range(n - 2, -1, -1):
            for k in range(inner):
                x[o, i, k] = (x[o, i, k] + h * down[o, i, k] * x[o, i + 1, k]) / pivot[i, k]
    return x
