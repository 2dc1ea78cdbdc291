"""What the tangent kernel takes: the adjoint prompt by prompt, products of all rows, and a tridiagonal form.

No BLAS: how that splits its sums depends on its number of threads.
"""

from __future__ import annotations

__all__ = ["TILE", "add_products", "adjoint_rows", "tridiagonal"]

import numpy as np

from wflow.kernels.compile import kernel
from wflow.kernels.depth import adjoint

#: Rows of the products are made so many at a time, and so many numbers of a row, which the first-level cache holds.
TILE, WIDTH = 4, 512


@kernel
def adjoint_rows(program, places, n_tokens, states, bars, first, per, D, particles, families, memory, sums):
    """:func:`wflow.kernels.depth.adjoint` of one call for rows one by one, each into sums of its own.

    Row r has the cotangents ``bars[r]`` and the states of prompt ``(first + r) // per``; sums (rows, 1, registers,
    lanes), particles (1, registers, lanes), of one block.
    """
    for r in range(bars.shape[0]):
        b, row_sums = (first + r) // per, sums[r]
        adjoint(
            program,
            places,
            n_tokens,
            states[b],
            bars[r],
            1,
            D,
            particles,
            particles,
            families,
            memory,
            row_sums,
            row_sums,
            False,
        )


@kernel
def add_products(X, start, stop, first, last, out):
    """``out_ij += sum_k X_ik X_jk`` with k from start to stop, for rows i from first to last and j <= i.

    X (R, N), first, last and R multiples of :data:`TILE`. The order of the sums does not depend on first and last.
    """
    for left in range(start, stop, WIDTH):
        right = min(left + WIDTH, stop)
        for j in range(0, last, TILE):
            y0, y1, y2, y3 = X[j, left:right], X[j + 1, left:right], X[j + 2, left:right], X[j + 3, left:right]
            for i in range(max(first, j), last, TILE):
                x0, x1, x2, x3 = X[i, left:right], X[i + 1, left:right], X[i + 2, left:right], X[i + 3, left:right]
                s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = 0.0
                for k in range(right - left):
                    a0, a1, a2, a3 = x0[k], x1[k], x2[k], x3[k]
                    b0, b1, b2, b3 = y0[k], y1[k], y2[k], y3[k]
                    s00, s01, s02, s03 = s00 + a0 * b0, s01 + a0 * b1, s02 + a0 * b2, s03 + a0 * b3
                    s10, s11, s12, s13 = s10 + a1 * b0, s11 + a1 * b1, s12 + a1 * b2, s13 + a1 * b3
                    s20, s21, s22, s23 = s20 + a2 * b0, s21 + a2 * b1, s22 + a2 * b2, s23 + a2 * b3
                    s30, s31, s32, s33 = s30 + a3 * b0, s31 + a3 * b1, s32 + a3 * b2, s33 + a3 * b3
                tile = out[i : i + TILE, j : j + TILE]
                tile[0, 0] += s00
                tile[0, 1] += s01
                tile[0, 2] += s02
                tile[0, 3] += s03
                tile[1, 0] += s10
                tile[1, 1] += s11
                tile[1, 2] += s12
                tile[1, 3] += s13
                tile[2, 0] += s20
                tile[2, 1] += s21
                tile[2, 2] += s22
                tile[2, 3] += s23
                tile[3, 0] += s30
                tile[3, 1] += s31
                tile[3, 2] += s32
                tile[3, 3] += s33


@kernel
def tridiagonal(A, diagonal, below):
    """A tridiagonal matrix with the eigenvalues of the symmetric A, which is lost, by Householder's reflections.

    ``H A H`` with ``H = 1 - beta v v^T`` has zeros in column k below the first entry beneath the diagonal; by what is
    left of A, ``A <- A - v w^T - w v^T`` with ``w = p - beta (p^T v)/2 v`` and ``p = beta A v``.
    """
    n = len(A)
    w = np.empty(n)
    for k in range(n):
        diagonal[k] = A[k, k]
        if k == n - 1:
            break
        v = A[k, k + 1 :]  # row k is column k
        size = 0.0
        for i in range(len(v)):
            size = max(size, abs(v[i]))
        if size == 0.0:
            below[k] = 0.0
            continue
        square = 0.0
        for i in range(len(v)):
            v[i] /= size
            square += v[i] * v[i]
        norm = np.sqrt(square)
        first = v[0]
        below[k] = -size * norm if first > 0 else size * norm
        v[0] += norm if first > 0 else -norm
        beta = 1.0 / (norm * (norm + abs(first)))
        along = 0.0
        for i in range(len(v)):
            row, total = A[k + 1 + i, k + 1 :], 0.0
            for j in range(len(v)):
                total += row[j] * v[j]
            w[i] = beta * total
            along += w[i] * v[i]
        for i in range(len(v)):
            w[i] -= 0.5 * beta * along * v[i]
        for i in range(len(v)):
            row, vi, wi = A[k + 1 + i, k + 1 :], v[i], w[i]
            for j in range(len(v)):
                row[j] -= vi * w[j] + wi * v[j]
