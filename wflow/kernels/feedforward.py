"""Feed-forward neurons: ``h(T, (a, c)) = c act(a^T T)``, averaged over neurons, and its exact transpose.

Registers hold the same entry of many neurons (see :mod:`wflow.kernels.lanes`). The work is shared between threads as
in :mod:`wflow.kernels.attention`: over a fixed number of groups of prompts, each summed in order.
"""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "feedforward_mean", "feedforward_vjp"]

import math

import numba
import numpy as np

from wflow.kernels.lanes import FAST, add, at, fma, mul, put, zero

kernel = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False)
parallel_kernel = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False, parallel=True)

#: The activations, by the number under which the kernels know them.
ACTIVATIONS = {"identity": 0, "relu": 1, "huberized-relu": 2, "tanh": 3, "gelu": 4}


@kernel
def _activate(U, activation, values, slopes):
    """``values = act(U)`` and ``slopes = act'(U)``, flat arrays. Comparisons are such that NaN stays NaN."""
    one, half = U.dtype.type(1), U.dtype.type(0.5)
    zero_, root, density = U.dtype.type(0), U.dtype.type(math.sqrt(0.5)), U.dtype.type(1 / math.sqrt(2 * math.pi))
    for i in range(U.size):
        x = U[i]
        if activation == 0:
            y, s = x, one
        elif activation == 1:
            y, s = (zero_, zero_) if x <= zero_ else (x, one)
        elif activation == 2:
            if x <= zero_:
                y, s = zero_, zero_
            elif x < one:
                y, s = half * x * x, x
            else:
                y, s = x - half, one
        elif activation == 3:
            y = math.tanh(x)
            s = one - y * y
        else:
            cumulative = half * (one + math.erf(root * x))
            y, s = x * cumulative, cumulative + x * density * math.exp(-half * x * x)
        values[i], slopes[i] = y, s


@kernel
def _preactivate(U, A, T):
    """``U_i = sum_c A_c T_ci``."""
    for i in range(T.shape[1]):
        u = zero(U)
        for c in range(T.shape[0]):
            u = fma(at(A, c, 0), at(T, c, i), u)
        put(U, i, 0, u)


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
def _mean_group(tokens, A, C, weights, activation, out, first, last):
    D, n = tokens.shape[1:]
    lanes = A.shape[3]
    T = np.ones((A.shape[1], n), tokens.dtype)  # the row of ones below the tokens carries the bias
    U = np.empty((n, 1, lanes), tokens.dtype)
    values, slopes, total = np.empty_like(U), np.empty_like(U), np.empty((D, n, lanes), tokens.dtype)
    for b in range(first, last):
        _fill(T, tokens, b)
        _clear(total)
        for h in range(A.shape[0]):
            _preactivate(U, A[h], T)
            _activate(U.reshape(-1), activation, values.reshape(-1), slopes.reshape(-1))
            for d in range(D):
                c = mul(at(weights, h, 0), at(C[h], d, 0))
                for i in range(n):
                    put(total, d, i, fma(c, at(values, i, 0), at(total, d, i)))
        _sum_lanes(total, out[b])


@kernel
def _sum_lanes(total, out):
    """``out_ij = sum over lanes``, in order."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            value = total[i, j, 0]
            for lane in range(1, total.shape[2]):
                value += total[i, j, lane]
            out[i, j] = value


@parallel_kernel
def feedforward_mean(tokens, A, C, weights, activation, out, groups):
    """``out_b = sum_j a_j C_j act(A_j^T T_b)``.

    tokens, out (B, D, n); A (H, D or D + 1, 1, lanes), C (H, D, 1, lanes), weights (H, 1, lanes).
    """
    B = tokens.shape[0]
    if groups == 1:  # too little work for threads
        _mean_group(tokens, A, C, weights, activation, out, 0, B)
    else:
        for g in numba.prange(groups):
            _mean_group(tokens, A, C, weights, activation, out, g * B // groups, (g + 1) * B // groups)


@kernel
def _vjp_group(tokens, A, C, weights, activation, cotangent, tokens_bar, A_bar, C_bar, first, last):
    D, n = tokens.shape[1:]
    lanes = A.shape[3]
    T = np.ones((A.shape[1], n), tokens.dtype)
    U = np.empty((n, 1, lanes), tokens.dtype)
    values, q, total = np.empty_like(U), np.empty_like(U), np.empty((D, n, lanes), tokens.dtype)
    for b in range(first, last):
        _fill(T, tokens, b)
        p = cotangent[b]
        _clear(total)
        for h in range(A.shape[0]):
            _preactivate(U, A[h], T)
            _activate(U.reshape(-1), activation, values.reshape(-1), q.reshape(-1))
            for i in range(n):  # q = act'(U) o (C^T p)
                g = zero(U)
                for d in range(D):
                    g = fma(at(C[h], d, 0), at(p, d, i), g)
                put(q, i, 0, mul(g, at(q, i, 0)))
            for d in range(D):
                g = zero(U)
                for i in range(n):
                    g = fma(at(p, d, i), at(values, i, 0), g)
                put(C_bar[h], d, 0, add(g, at(C_bar[h], d, 0)))
            for c in range(T.shape[0]):
                g = zero(U)
                for i in range(n):
                    g = fma(at(T, c, i), at(q, i, 0), g)
                put(A_bar[h], c, 0, add(g, at(A_bar[h], c, 0)))
            for d in range(D):
                a = mul(at(weights, h, 0), at(A[h], d, 0))
                for i in range(n):
                    put(total, d, i, fma(a, at(q, i, 0), at(total, d, i)))
        _sum_lanes(total, tokens_bar[b])


@parallel_kernel
def feedforward_vjp(tokens, A, C, weights, activation, cotangent, tokens_bar, A_bar, C_bar):
    """The transpose of :func:`feedforward_mean`: ``C_bar = sum_b p act(U)^T``, ``A_bar = sum_b T q^T`` without
    weights, ``tokens_bar_b = sum_j a_j A_j q_j``, with ``q = act'(U) o (C^T p)``.

    A_bar (groups, H, D or D + 1, 1, lanes), C_bar (groups, H, D, 1, lanes), zero on entry.
    """
    B, groups = tokens.shape[0], A_bar.shape[0]
    if groups == 1:
        _vjp_group(tokens, A, C, weights, activation, cotangent, tokens_bar, A_bar[0], C_bar[0], 0, B)
    else:
        for g in numba.prange(groups):
            first, last = g * B // groups, (g + 1) * B // groups
            _vjp_group(tokens, A, C, weights, activation, cotangent, tokens_bar, A_bar[g], C_bar[g], first, last)
