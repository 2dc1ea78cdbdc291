"""Attention heads: ``f(T, (V, W)) = V T softmax_col(T^T W T)``, averaged over heads, and its exact transpose.

Everything is a product of small matrices whose entries are registers over heads (see :mod:`wflow.kernels.lanes`).
Prompts are dealt to a fixed number of groups; a group sums its own gradient and the groups are summed in order, so
that results do not depend on the number of threads. Token columns are padded to a multiple of the tile: padded keys
get probability zero and padded queries a zero cotangent.
"""

from __future__ import annotations

__all__ = ["attention_mean", "attention_vjp", "padded_columns"]

import numba
import numpy as np

from wflow.kernels.lanes import FAST, add, at, div, exp, flipped, fma, mul, put, splat, sub, vmax, zero

kernel = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False)
parallel_kernel = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False, parallel=True)


def padded_columns(n: int) -> int:
    """The number of token columns that the kernels work on: n, rounded up to the tile."""
    return -(-n // 4) * 4


@kernel
def _product(C, A, B, keep):
    """``C = A B``, or ``C += A B`` with keep: in tiles of 2 rows and 4 columns that stay in registers."""
    rows, columns, inner = C.shape[0], C.shape[1], A.shape[1]
    for i in range(0, rows - 1, 2):
        for j in range(0, columns - 3, 4):
            p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = zero(C)
            for k in range(inner):
                a, b = at(A, i, k), at(A, i + 1, k)
                x = at(B, k, j)
                p0, q0 = fma(a, x, p0), fma(b, x, q0)
                x = at(B, k, j + 1)
                p1, q1 = fma(a, x, p1), fma(b, x, q1)
                x = at(B, k, j + 2)
                p2, q2 = fma(a, x, p2), fma(b, x, q2)
                x = at(B, k, j + 3)
                p3, q3 = fma(a, x, p3), fma(b, x, q3)
            _store(C, i, j, p0, p1, p2, p3, keep)
            _store(C, i + 1, j, q0, q1, q2, q3, keep)
        for j in range(columns - columns % 4, columns):
            p0 = q0 = zero(C)
            for k in range(inner):
                x = at(B, k, j)
                p0, q0 = fma(at(A, i, k), x, p0), fma(at(A, i + 1, k), x, q0)
            put(C, i, j, add(p0, at(C, i, j)) if keep else p0)
            put(C, i + 1, j, add(q0, at(C, i + 1, j)) if keep else q0)
    if rows % 2:
        i = rows - 1
        for j in range(0, columns - 3, 4):
            p0 = p1 = p2 = p3 = zero(C)
            for k in range(inner):
                a = at(A, i, k)
                p0, p1 = fma(a, at(B, k, j), p0), fma(a, at(B, k, j + 1), p1)
                p2, p3 = fma(a, at(B, k, j + 2), p2), fma(a, at(B, k, j + 3), p3)
            _store(C, i, j, p0, p1, p2, p3, keep)
        for j in range(columns - columns % 4, columns):
            p0 = zero(C)
            for k in range(inner):
                p0 = fma(at(A, i, k), at(B, k, j), p0)
            put(C, i, j, add(p0, at(C, i, j)) if keep else p0)


@kernel
def _store(C, i, j, p0, p1, p2, p3, keep):
    """Write, or add, four registers of row i."""
    if keep:
        p0, p1 = add(p0, at(C, i, j)), add(p1, at(C, i, j + 1))
        p2, p3 = add(p2, at(C, i, j + 2)), add(p3, at(C, i, j + 3))
    put(C, i, j, p0)
    put(C, i, j + 1, p1)
    put(C, i, j + 2, p2)
    put(C, i, j + 3, p3)


@kernel
def _fill(T, tokens, b):
    """Prompt b without its padding. Loops compile in a fraction of the time that numba needs for slices."""
    for i in range(tokens.shape[1]):
        for j in range(tokens.shape[2]):
            T[i, j] = tokens[b, i, j]


@kernel
def _clear(C, start):
    """Zero the rows from ``start``."""
    for i in range(start, C.shape[0]):
        for j in range(C.shape[1]):
            put(C, i, j, zero(C))


@kernel
def _softmax(P, n):
    """Column by column over the first n rows: ``P_ji <- exp(P_ji) / sum_k exp(P_ki)``; the other rows become zero."""
    for i in range(P.shape[1]):
        top = at(P, 0, i)
        for j in range(1, n):
            top = vmax(top, at(P, j, i))
        total = zero(P)
        for j in range(n):
            e = exp(sub(at(P, j, i), top))
            put(P, j, i, e)
            total = add(total, e)
        total = div(splat(P.dtype.type(1)), total)
        for j in range(n):
            put(P, j, i, mul(at(P, j, i), total))
    _clear(P, n)


@kernel
def _scale(C, A, a):
    """``C = a A`` with a register a."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            put(C, i, j, mul(a, at(A, i, j)))


@kernel
def _sum_lanes(A, out):
    """``out_ij = sum over lanes of A_ij``, for the columns that out has."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = A[i, j, 0]
            for lane in range(1, A.shape[2]):
                total += A[i, j, lane]
            out[i, j] = total


@kernel
def _mean_group(tokens, V, W, weights, out, first, last):
    D, n = tokens.shape[1:]
    lanes, columns = V.shape[3], -(-n // 4) * 4
    # Slices with a step have general strides for numba: one build of _product serves all arguments.
    V, W, T = V[::1], W[::1], np.zeros((D, columns), tokens.dtype)[::1]
    small = np.empty((3, D, columns, lanes), tokens.dtype)[::1]
    U, Z, total = small[0], small[1], small[2]
    P = np.empty((columns, columns, lanes), tokens.dtype)[::1]
    for b in range(first, last):
        _fill(T, tokens, b)
        _clear(total, 0)
        for h in range(V.shape[0]):
            _product(U, W[h], T, False)
            _product(P, flipped(T), U, False)
            _softmax(P, n)
            _product(Z, T, P, False)
            _scale(Z, Z, at(weights, h, 0))
            _product(total, V[h], Z, True)
        _sum_lanes(total, out[b])


@parallel_kernel
def attention_mean(tokens, V, W, weights, out, groups):
    """``out_b = sum_j a_j V_j T_b softmax_col(T_b^T W_j T_b)``.

    tokens, out (B, D, n); V, W (H, D, D, lanes), weights (H, 1, lanes).
    """
    B = tokens.shape[0]
    if groups == 1:  # too little work for threads
        _mean_group(tokens, V, W, weights, out, 0, B)
    else:
        for g in numba.prange(groups):
            _mean_group(tokens, V, W, weights, out, g * B // groups, (g + 1) * B // groups)


@kernel
def _vjp_group(tokens, V, W, weights, cotangent, tokens_bar, V_bar, W_bar, first, last):
    D, n = tokens.shape[1:]
    lanes, columns = V.shape[3], -(-n // 4) * 4
    V, W, V_bar, W_bar = V[::1], W[::1], V_bar[::1], W_bar[::1]  # as in _mean_group
    T, p = np.zeros((D, columns), tokens.dtype)[::1], np.zeros((D, columns), tokens.dtype)[::1]
    small = np.empty((5, D, columns, lanes), tokens.dtype)[::1]
    U, Z, G, X, total = small[0], small[1], small[2], small[3], small[4]
    large = np.empty((2, columns, columns, lanes), tokens.dtype)[::1]
    P, S = large[0], large[1]
    for b in range(first, last):
        _fill(T, tokens, b)
        _fill(p, cotangent, b)
        _clear(total, 0)
        for h in range(V.shape[0]):
            a = at(weights, h, 0)
            _product(U, W[h], T, False)
            _product(P, flipped(T), U, False)
            _softmax(P, n)
            _product(Z, T, P, False)
            _product(G, flipped(V[h]), p, False)
            _product(V_bar[h], p, flipped(Z), True)
            _product(S, flipped(T), G, False)
            for i in range(columns):  # S <- Gam = P o (S - sum_k P_k S_k), with sum_k P_k S_k = <Z, G>
                k = zero(S)
                for d in range(D):
                    k = fma(at(Z, d, i), at(G, d, i), k)
                for j in range(columns):
                    put(S, j, i, mul(at(P, j, i), sub(at(S, j, i), k)))
            _product(X, T, S, False)
            _product(W_bar[h], X, flipped(T), True)
            _scale(G, G, a)
            _scale(U, U, a)
            _scale(X, X, a)
            _product(total, G, flipped(P), True)
            _product(total, U, flipped(S), True)
            _product(total, flipped(W[h]), X, True)
        _sum_lanes(total, tokens_bar[b])


@parallel_kernel
def attention_vjp(tokens, V, W, weights, cotangent, tokens_bar, V_bar, W_bar):
    """The transpose of :func:`attention_mean`: ``V_bar = sum_b p Z^T``, ``W_bar = sum_b T Gam T^T`` without weights,
    ``tokens_bar_b = sum_j a_j (V^T p P^T + W T Gam^T + W^T T Gam)``.

    V_bar, W_bar (groups, H, D, D, lanes), zero on entry: one sum for every group of prompts.
    """
    B, groups = tokens.shape[0], V_bar.shape[0]
    if groups == 1:
        _vjp_group(tokens, V, W, weights, cotangent, tokens_bar, V_bar[0], W_bar[0], 0, B)
    else:
        for g in numba.prange(groups):
            first, last = g * B // groups, (g + 1) * B // groups
            _vjp_group(tokens, V, W, weights, cotangent, tokens_bar, V_bar[g], W_bar[g], first, last)
