"""Feed-forward neurons: ``h(T, (a, c)) = c act(a^T T)``, averaged over neurons, and its exact transpose.

Registers hold the same entry of many neurons (see :mod:`wflow.kernels.lanes`). The work is shared between threads as
in :mod:`wflow.kernels.attention`: over a fixed number of groups of prompts, each summed in order.
"""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "feedforward_mean", "feedforward_vjp"]

import math

import numba
import numpy as np

from wflow.kernels.lanes import (
    FAST,
    aligned,
    at,
    columns,
    flipped,
    mul,
    product,
    put,
    rows,
    splat,
    sub,
    tanh,
    zero,
)

kernel = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False)
parallel_kernel = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False, parallel=True)

#: The activations, by the number under which the kernels know them.
ACTIVATIONS = {"identity": 0, "relu": 1, "huberized-relu": 2, "tanh": 3, "gelu": 4}


#: So many registers of neurons at a time, that what they make of a prompt stays in the first-level cache.
BLOCK = 6


@kernel
def _product(C, A, B, keep):
    """``C = A B``, or ``C += A B`` with keep: one build for all calls."""
    product(C, A, B, keep)


@kernel
def _activate(U, Y, Q, activation):
    """``Y = act(U)`` and ``Q = act'(U)`` of neurons x tokens."""
    one = splat(U.dtype.type(1))
    for i in range(U.shape[0]):
        for j in range(U.shape[1]):
            if activation == 3:
                y = tanh(at(U, i, j))
                put(Y, i, j, y)
                put(Q, i, j, sub(one, mul(y, y)))
            else:
                _activate_lanes(U[i, j], Y[i, j], Q[i, j], activation)


@kernel
def _activate_lanes(U, Y, Q, activation):
    """The same for the lanes of one register, number by number. Comparisons are such that NaN stays NaN."""
    one, half = U.dtype.type(1), U.dtype.type(0.5)
    zero_, root, density = U.dtype.type(0), U.dtype.type(math.sqrt(0.5)), U.dtype.type(1 / math.sqrt(2 * math.pi))
    for lane in range(U.size):
        x = U[lane]
        if activation == 0:
            y, q = x, one
        elif activation == 1:
            y, q = (zero_, zero_) if x <= zero_ else (x, one)
        elif activation == 2:
            if x <= zero_:
                y, q = zero_, zero_
            elif x < one:
                y, q = half * x * x, x
            else:
                y, q = x - half, one
        else:
            cumulative = half * (one + math.erf(root * x))
            y, q = x * cumulative, cumulative + x * density * math.exp(-half * x * x)
        Y[lane], Q[lane] = y, q


@kernel
def _multiply(C, A):
    """``C <- C o A``; a matrix A with one column stands for all columns."""
    for i in range(C.shape[0]):
        for j in range(C.shape[1]):
            put(C, i, j, mul(at(C, i, j), at(A, i, min(j, A.shape[1] - 1))))


@kernel
def _fill(T, tokens, b):
    """Prompt b above the row of ones. Loops compile in a fraction of the time that numba needs for slices."""
    for i in range(tokens.shape[1]):
        for j in range(tokens.shape[2]):
            T[i, j] = tokens[b, i, j]


@kernel
def _clear(total):
    """Zero, for every lane."""
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            put(total, i, j, zero(total))


@kernel
def _sum_lanes(total, out):
    """``out_ij = sum over lanes``, in order."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            value = total[i, j, 0]
            for lane in range(1, total.shape[2]):
                value += total[i, j, lane]
            out[i, j] = value


@kernel
def _scratch(A, height, width):
    """A matrix of registers that starts with a cache line."""
    return aligned(np.empty((height + 1, width, A.shape[2]), A.dtype))


@kernel
def _mean_group(tokens, A, C, weights, activation, out, g, groups):
    B, D, n = tokens.shape
    T = np.ones((A.shape[1], n), tokens.dtype)[::1]  # the row of ones below the tokens carries the bias
    A, C = A[::1], C[::1]  # for numba as general as transposes: one build of _product serves all arguments
    work, total = _scratch(A, 3 * BLOCK, n), _scratch(A, D, n)
    for b in range(g * B // groups, (g + 1) * B // groups):
        _fill(T, tokens, b)
        _clear(total)
        for h in range(0, A.shape[0], BLOCK):
            last = min(h + BLOCK, A.shape[0])
            U, Y = rows(work, 0, last - h), rows(work, BLOCK, BLOCK + last - h)
            Q = rows(work, 2 * BLOCK, 2 * BLOCK + last - h)
            _product(U, rows(A, h, last), T, False)
            _activate(U, Y, Q, activation)
            _multiply(Y, rows(weights, h, last))
            _product(total, flipped(rows(C, h, last)), Y, True)
        _sum_lanes(total, out[b])


@parallel_kernel
def feedforward_mean(tokens, A, C, weights, activation, out, groups):
    """``out_b = sum_j a_j C_j act(A_j^T T_b)``.

    tokens, out (B, D, n); A (H, D or D + 1, lanes), C (H, D, lanes), weights (H, 1, lanes).
    """
    if groups == 1:  # too little work for threads
        _mean_group(tokens, A, C, weights, activation, out, groups - 1, groups)
    else:
        for g in numba.prange(groups):  # g is unsigned, and would need builds of its own
            _mean_group(tokens, A, C, weights, activation, out, np.int64(g), groups)


@kernel
def _vjp_group(tokens, A, C, weights, activation, cotangent, tokens_bar, A_bar, C_bar, g, groups):
    B, D, n = tokens.shape
    T = np.ones((A.shape[1], n), tokens.dtype)[::1]
    cotangent, A, C, A_bar, C_bar = cotangent[::1], A[::1], C[::1], A_bar[::1], C_bar[::1]  # as in _mean_group
    work, total = _scratch(A, 3 * BLOCK, n), _scratch(A, D, n)
    for b in range(g * B // groups, (g + 1) * B // groups):
        _fill(T, tokens, b)
        p = cotangent[b]
        _clear(total)
        for h in range(0, A.shape[0], BLOCK):
            last = min(h + BLOCK, A.shape[0])
            U, Y = rows(work, 0, last - h), rows(work, BLOCK, BLOCK + last - h)
            Q = rows(work, 2 * BLOCK, 2 * BLOCK + last - h)
            _product(U, rows(A, h, last), T, False)
            _activate(U, Y, Q, activation)
            _product(U, rows(C, h, last), p, False)
            _multiply(Q, U)  # act'(U) o (C^T p)
            _product(rows(C_bar, h, last), Y, flipped(p), True)
            _product(rows(A_bar, h, last), Q, flipped(T), True)
            _multiply(Q, rows(weights, h, last))
            _product(total, flipped(columns(rows(A, h, last), 0, D)), Q, True)
        _sum_lanes(total, tokens_bar[b])


@parallel_kernel
def feedforward_vjp(tokens, A, C, weights, activation, cotangent, tokens_bar, A_bar, C_bar):
    """The transpose of :func:`feedforward_mean`: ``C_bar = sum_b p act(U)^T``, ``A_bar = sum_b T q^T`` without
    weights, ``tokens_bar_b = sum_j a_j A_j q_j``, with ``q = act'(U) o (C^T p)``.

    A_bar (groups, H, D or D + 1, lanes), C_bar (groups, H, D, lanes), zero on entry.
    """
    groups = A_bar.shape[0]
    if groups == 1:
        _vjp_group(tokens, A, C, weights, activation, cotangent, tokens_bar, A_bar[0], C_bar[0], groups - 1, groups)
    else:
        for g in numba.prange(groups):  # g is unsigned, and would need builds of its own
            _vjp_group(
                tokens, A, C, weights, activation, cotangent, tokens_bar, A_bar[g], C_bar[g], np.int64(g), groups
            )
