"""Attention heads: ``f(T, (V, W)) = V T softmax_col(T^T W T)``, averaged over heads, and its exact transpose.

Everything is a product of small matrices whose entries are registers over heads (see :mod:`wflow.kernels.lanes`).
Prompts are dealt to a fixed number of groups; a group sums its own gradient and the groups are summed in order, so
that results do not depend on the number of threads.
"""

from __future__ import annotations

__all__ = ["attention_mean", "attention_vjp"]

import numba
import numpy as np

from wflow.kernels.lanes import (
    FAST,
    add,
    aligned,
    at,
    div,
    exp,
    flipped,
    fma,
    mul,
    product,
    put,
    rows,
    splat,
    sub,
    vmax,
    zero,
)

kernel = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False)
parallel_kernel = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False, parallel=True)


@kernel
def _product(C, A, B, keep):
    """``C = A B``, or ``C += A B`` with keep: one build for all calls."""
    product(C, A, B, keep)


@kernel
def _clear(C):
    """Zero, for every lane."""
    for i in range(C.shape[0]):
        for j in range(C.shape[1]):
            put(C, i, j, zero(C))


@kernel
def _softmax(P, row, a):
    """``a`` times the softmax of every column, with a row for what belongs to a column. Each pass runs over all
    columns, so that the processor does not wait for the end of one."""
    for i in range(P.shape[1]):
        top = at(P, 0, i)
        for j in range(1, P.shape[0]):
            top = vmax(top, at(P, j, i))
        put(row, 0, i, top)
    for j in range(P.shape[0]):
        for i in range(P.shape[1]):
            put(P, j, i, exp(sub(at(P, j, i), at(row, 0, i))))
    for i in range(P.shape[1]):
        total = zero(P)
        for j in range(P.shape[0]):
            total = add(total, at(P, j, i))
        put(row, 0, i, div(a, total))
    for j in range(P.shape[0]):
        for i in range(P.shape[1]):
            put(P, j, i, mul(at(P, j, i), at(row, 0, i)))


@kernel
def _through_softmax(S, P, Z, G):
    """``S <- P o (S - k)`` with ``k_i = sum_j P_ji S_ji``, which is <Z_i, G_i>."""
    for i in range(S.shape[1]):
        k = zero(S)
        for d in range(Z.shape[0]):
            k = fma(at(Z, d, i), at(G, d, i), k)
        for j in range(S.shape[0]):
            put(S, j, i, mul(at(P, j, i), sub(at(S, j, i), k)))


@kernel
def _add_scaled(C, a, A):
    """``C += a A`` with a register a."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            put(C, i, j, fma(a, at(A, i, j), at(C, i, j)))


@kernel
def _sum_lanes(A, out):
    """``out_ij = sum over lanes of A_ij``."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = A[i, j, 0]
            for lane in range(1, A.shape[2]):
                total += A[i, j, lane]
            out[i, j] = total


@kernel
def _scratch(V, count, height, width):
    """``count`` matrices of registers below each other, which start with a cache line."""
    return aligned(np.empty((count * height + 1, width, V.shape[3]), V.dtype))


@kernel
def _mean_group(tokens, V, W, weights, out, g, groups):
    B, D, n = tokens.shape
    # Slices with a step have general strides for numba: one build of _product serves all arguments.
    tokens, V, W = tokens[::1], V[::1], W[::1]
    small, P, row = _scratch(V, 3, D, n), _scratch(V, 1, n, n), _scratch(V, 1, 1, n)
    U, Z, total = rows(small, 0, D), rows(small, D, 2 * D), rows(small, 2 * D, 3 * D)
    for b in range(g * B // groups, (g + 1) * B // groups):
        T = tokens[b]
        _clear(total)
        for h in range(V.shape[0]):
            _product(U, W[h], T, False)
            _product(P, flipped(T), U, False)
            _softmax(P, row, at(weights, h, 0))
            _product(Z, T, P, False)
            _product(total, V[h], Z, True)
        _sum_lanes(total, out[b])


@parallel_kernel
def attention_mean(tokens, V, W, weights, out, groups):
    """``out_b = sum_j a_j V_j T_b softmax_col(T_b^T W_j T_b)``.

    tokens, out (B, D, n); V, W (H, D, D, lanes), weights (H, 1, lanes).
    """
    if groups == 1:  # too little work for threads
        _mean_group(tokens, V, W, weights, out, groups - 1, groups)
    else:
        for g in numba.prange(groups):  # g is unsigned, and would need builds of its own
            _mean_group(tokens, V, W, weights, out, np.int64(g), groups)


@kernel
def _vjp_group(tokens, V, W, weights, cotangent, tokens_bar, V_bar, W_bar, g, groups):
    B, D, n = tokens.shape
    tokens, cotangent, V, W = tokens[::1], cotangent[::1], V[::1], W[::1]  # as in _mean_group
    V_bar, W_bar = V_bar[::1], W_bar[::1]
    small, large, row = _scratch(V, 6, D, n), _scratch(V, 2, n, n), _scratch(V, 1, 1, n)
    U, Z, G = rows(small, 0, D), rows(small, D, 2 * D), rows(small, 2 * D, 3 * D)
    X, own, total = rows(small, 3 * D, 4 * D), rows(small, 4 * D, 5 * D), rows(small, 5 * D, 6 * D)
    P, S = rows(large, 0, n), rows(large, n, 2 * n)
    for b in range(g * B // groups, (g + 1) * B // groups):
        T, p = tokens[b], cotangent[b]
        _clear(total)
        for h in range(V.shape[0]):
            _product(U, W[h], T, False)
            _product(P, flipped(T), U, False)
            _softmax(P, row, splat(T.dtype.type(1)))
            _product(Z, T, P, False)
            _product(G, flipped(V[h]), p, False)
            _product(S, flipped(T), G, False)
            _through_softmax(S, P, Z, G)
            _product(X, T, S, False)
            _product(V_bar[h], p, flipped(Z), True)
            _product(W_bar[h], X, flipped(T), True)
            _product(own, flipped(W[h]), X, False)
            _product(own, G, flipped(P), True)
            _product(own, U, flipped(S), True)
            _add_scaled(total, at(weights, h, 0), own)
        _sum_lanes(total, tokens_bar[b])


@parallel_kernel
def attention_vjp(tokens, V, W, weights, cotangent, tokens_bar, V_bar, W_bar):
    """The transpose of :func:`attention_mean`: ``V_bar = sum_b p Z^T``, ``W_bar = sum_b T Gam T^T`` without weights,
    ``tokens_bar_b = sum_j a_j (V^T p P^T + W T Gam^T + W^T T Gam)``.

    V_bar, W_bar (groups, H, D, D, lanes), zero on entry: one sum for every group of prompts.
    """
    groups = V_bar.shape[0]
    if groups == 1:
        _vjp_group(tokens, V, W, weights, cotangent, tokens_bar, V_bar[0], W_bar[0], groups - 1, groups)
    else:
        for g in numba.prange(groups):  # g is unsigned, and would need builds of its own
            _vjp_group(tokens, V, W, weights, cotangent, tokens_bar, V_bar[g], W_bar[g], np.int64(g), groups)
