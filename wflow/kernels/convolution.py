"""Convolutions of densities, without the threads of a BLAS: matrices of grids are too small for those."""

from __future__ import annotations

__all__ = ["convolve_along", "convolve_pairs"]

import numpy as np

from wflow.kernels.compile import kernel
from wflow.kernels.simd.lanes import n_lanes
from wflow.kernels.simd.matrices import columns, flipped, number_space, number_toeplitz, rows, space, toeplitz
from wflow.kernels.simd.products import TILE_COLUMNS, TILE_ROWS, product

LANES = n_lanes(np.float64)
#: So many registers of a row are treated at once: with the rows of a grid, they stay in the cache.
REGISTERS = 16


@kernel
def convolve_along(u, row):
    """``sum_j row[|i - j|] u[o, j, k]`` for u (outer, n, inner) and row (n,), whose zeros at the end are left out."""
    n, inner = u.shape[1:]
    reach = n - 1
    while reach > 0 and row[reach] == 0.0:
        reach -= 1
    diagonals, out = np.zeros(2 * n - 1 + LANES), np.empty_like(u)
    for i in range(n):
        diagonals[n - 1 + i] = diagonals[n - 1 - i] = row[i]
    if inner == 1:
        _convolve_rows(u, diagonals, reach, out)
    else:
        _convolve_columns(u, diagonals, reach, out)
    return out


@kernel
def _convolve_rows(u, diagonals, reach, out):
    """``out = u T`` for u (outer, n, 1) and the matrix T of the diagonals."""
    outer, n, _ = u.shape
    width = -(-n // LANES)
    sums = np.empty((outer * width, LANES))
    A, T, C = flipped(number_space(u, 0, outer, n)), toeplitz(diagonals, n, width), space(sums, 0, outer, width)
    for j in range(0, width, TILE_COLUMNS):
        end = min(width, j + TILE_COLUMNS)
        low, high = max(0, j * LANES - reach), min(n, end * LANES + reach)
        product(columns(C, j, end), rows(A, low, high), columns(rows(T, low, high), j, end))
    out[:, :, 0] = sums.reshape(outer, -1)[:, :n]


@kernel
def _convolve_columns(u, diagonals, reach, out):
    """``out_o = T u_o`` for u (outer, n, inner): so many columns of all at a time."""
    outer, n, inner = u.shape
    width = outer * inner
    most = min(REGISTERS, -(-width // LANES))
    before, after = np.zeros((n * most, LANES)), np.empty((n * most, LANES))
    numbers, sums = before.reshape(n, -1), after.reshape(n, -1)
    T, B, C = number_toeplitz(diagonals, n, n), space(before, 0, n, most), space(after, 0, n, most)
    for first in range(0, width, most * LANES):
        count = min(most * LANES, width - first)
        full = -(-count // LANES)
        _copy(u, first, numbers[:, :count], True)
        for i in range(0, n, TILE_ROWS):
            end = min(n, i + TILE_ROWS)
            low, high = max(0, i - reach), min(n, end + reach)
            some = columns(rows(C, i, end), 0, full)
            product(some, columns(rows(T, low, high), i, end), columns(rows(B, low, high), 0, full))
        _copy(out, first, sums[:, :count], False)


@kernel
def _copy(u, first, matrix, away):
    """Columns ``first, ...`` of u as a matrix (n, outer inner), or back: whole runs of neighbours at a time."""
    n, inner = u.shape[1:]
    c, count = 0, matrix.shape[1]
    while c < count:
        o, k = divmod(first + c, inner)
        run = min(inner - k, count - c)
        for j in range(n):
            if away:
                matrix[j, c : c + run] = u[o, j, k : k + run]
            else:
                u[o, j, k : k + run] = matrix[j, c : c + run]
        c += run


@kernel
def convolve_pairs(a, W):
    """``sum_k a[k] W[j - k + n - 1]`` for indices j, k of three axes: a (n_1, n_2, n_3) and W (2 n_1 - 1, ...)."""
    n, m, q = a.shape
    out = np.zeros_like(a)
    for j in range(n):
        for i in range(m):
            for k in range(n):
                for l in range(m):
                    row = W[j - k + n - 1, i - l + m - 1]
                    for s in range(q):
                        if a[k, l, s] != 0.0:
                            for r in range(q):
                                out[j, i, r] += a[k, l, s] * row[r - s + q - 1]
    return out
