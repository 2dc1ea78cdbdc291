"""Feed-forward neurons ``h(T, (a, c)) = c act(a^T T)``, averaged over neurons, and the exact transpose.

Registers hold the same entry of many neurons (see :mod:`wflow.kernels.simd`); a few of them and the tokens of a few
prompts are treated at a time, so that what they make stays in the first-level cache.
"""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "feedforward_mean", "feedforward_space", "feedforward_vjp"]

import math

import numpy as np

from wflow.kernels.compile import kernel
from wflow.kernels.simd.lanes import add, div, erf, exp, expm1, fma, log1p, mul, splat, sub, tanh, vmax, where_negative
from wflow.kernels.simd.matrices import at, columns, extent, flipped, put, rows, space
from wflow.kernels.simd.products import (
    add_product,
    add_scaled_product,
    number_registers,
    product,
    side_by_side,
    sum_lanes,
    zero,
)

#: The activations, by the number under which the kernels know them.
ACTIVATIONS = {
    "identity": 0,
    "relu": 1,
    "huberized-relu": 2,
    "tanh": 3,
    "gelu": 4,
    "sigmoid": 5,
    "silu": 6,
    "elu": 7,
    "softplus": 8,
}

#: What is done at a time: so many registers of neurons, and about so many tokens.
BLOCK, TOKENS = 6, 32


@kernel
def feedforward_space(B, D, n, lanes):
    """Prompts at a time, and the registers of space for sums and matrices, and in all."""
    prompts = min(B, max(1, TOKENS // n))
    here = B * D * n + 3 * BLOCK * prompts * n + 1
    return prompts, here, here + 4 * number_registers(B * (D + 1) * n, lanes)


@kernel
def _activate(U, Y, Q, activation):
    """``Y = act(U)`` and ``Q = act'(U)``. NaN stays NaN."""
    height, width = extent(U)
    nothing, half, one = splat(U, 0.0), splat(U, 0.5), splat(U, 1.0)
    minus_quarter = splat(U, -0.25)
    beyond_exp = splat(U, -708.0)  # e^x is no normal number there
    root, density = splat(U, math.sqrt(0.5)), splat(U, 1 / math.sqrt(2 * math.pi))
    for i in range(height):
        for j in range(width):
            x = at(U, i, j)
            y, q = x, one
            if activation == 1:
                y, q = where_negative(x, nothing, x), where_negative(x, nothing, one)
            elif activation == 2:
                beyond = sub(one, x)
                y = where_negative(x, nothing, where_negative(beyond, sub(x, half), mul(half, mul(x, x))))
                q = where_negative(x, nothing, where_negative(beyond, one, x))
            elif activation == 3:
                y = tanh(x)
                q = sub(one, mul(y, y))
            elif activation == 4:
                cumulative = fma(half, erf(mul(root, x)), half)
                y = mul(x, cumulative)
                root_of_bell = exp(mul(minus_quarter, mul(x, x)))  # twice a factor: zero for the largest x too
                q = fma(mul(mul(x, density), root_of_bell), root_of_bell, cumulative)
            elif activation >= 5:
                m = vmax(beyond_exp, where_negative(x, x, sub(nothing, x)))  # -|x|
                e = exp(m)
                larger = div(one, add(one, e))
                smaller = mul(e, larger)
                sigmoid = where_negative(x, smaller, larger)
                if activation == 5:
                    y, q = sigmoid, mul(smaller, larger)
                elif activation == 6:
                    y = mul(where_negative(x, m, x), sigmoid)
                    rest = where_negative(x, larger, smaller)
                    q = fma(mul(where_negative(x, m, sub(nothing, m)), sigmoid), rest, sigmoid)
                elif activation == 7:
                    y, q = where_negative(x, expm1(m), x), where_negative(x, e, one)
                else:
                    y, q = add(where_negative(x, nothing, x), log1p(e)), sigmoid
            put(Y, i, j, y)
            put(Q, i, j, q)


@kernel
def _multiply(C, A):
    """``C <- C o A``."""
    height, width = extent(C)
    for i in range(height):
        for j in range(width):
            put(C, i, j, mul(at(C, i, j), at(A, i, j)))


@kernel
def _multiply_rows(C, a):
    """``C_i <- a_i C_i`` for every row i, with a row a (1 x rows)."""
    height, width = extent(C)
    for i in range(height):
        factor = at(a, 0, i)
        for j in range(width):
            put(C, i, j, mul(factor, at(C, i, j)))


@kernel
def _block(neurons, first, count, D, bias):
    """``A`` (D + bias, count), ``C`` (D, count) and the weights (1, count) of some neurons."""
    part = space(neurons, first * (2 * D + bias + 1), 2 * D + bias + 1, count)
    return rows(part, 0, D + bias), rows(part, D + bias, 2 * D + bias), rows(part, 2 * D + bias, 2 * D + bias + 1)


@kernel
def feedforward_mean(tokens, neurons, bias, activation, memory, out):
    """``out_b = sum_j a_j C_j act(A_j^T T_b)``.

    tokens and out (B, D, n); neurons (H (D + bias + D + 1), lanes) as packed, with a bias (1) or without (0); memory
    (registers, lanes) as by :func:`feedforward_space`.
    """
    B, D, n = tokens.shape
    step, first_number, _ = feedforward_space(B, D, n, memory.shape[1])
    T, _, _ = side_by_side(tokens, np.arange(n), bias, memory, first_number)
    here, H = B * D * n, neurons.shape[0] // (2 * D + bias + 1)
    zero(space(memory, 0, 1, here))
    one = space(memory, here, 1, 1)
    put(one, 0, 0, splat(one, 1.0))
    for h in range(0, H, BLOCK):
        height = min(BLOCK, H - h)
        A, C, a = _block(neurons, h, height, D, bias)
        for first in range(0, B, step):
            last = min(first + step, B)
            c = (last - first) * n
            U = space(memory, here + 1, height, c)
            Y, Q = space(memory, here + 1 + BLOCK * c, height, c), space(memory, here + 1 + 2 * BLOCK * c, height, c)
            product(flipped(U), columns(T, first * n, last * n), A)  # U = A^T T
            _activate(U, Y, Q, activation)
            _multiply_rows(Y, a)
            total = space(memory, first * D * n, D, c)
            add_scaled_product(total, one, C, Y)  # + C (a o act(U))
    for first in range(0, B, step):
        last = min(first + step, B)
        sum_lanes(space(memory, first * D * n, D, (last - first) * n), out, first, n)


@kernel
def feedforward_vjp(tokens, neurons, bias, activation, cotangent, memory, T_bar, neurons_bar):
    """The transpose of :func:`feedforward_mean`: adds ``sum_b p act(U)^T`` to C_bar and ``sum_b T q^T`` to A_bar,
    without weights; ``T_bar_b = sum_j a_j A_j q_j`` unless it is empty, with ``q = act'(U) o (C^T p)``.

    cotangent p and T_bar (B, D, n); neurons_bar like neurons.
    """
    B, D, n = tokens.shape
    step, first_number, _ = feedforward_space(B, D, n, memory.shape[1])
    need_input = T_bar.size > 0
    T, T_flipped, after = side_by_side(tokens, np.arange(n), bias, memory, first_number)
    p, p_flipped, _ = side_by_side(cotangent, np.arange(n), 0, memory, after)
    here, H = B * D * n, neurons.shape[0] // (2 * D + bias + 1)
    zero(space(memory, 0, 1, here))
    one = space(memory, here, 1, 1)
    put(one, 0, 0, splat(one, 1.0))
    for h in range(0, H, BLOCK):
        height = min(BLOCK, H - h)
        A, C, a = _block(neurons, h, height, D, bias)
        A_bar, C_bar, _ = _block(neurons_bar, h, height, D, bias)
        for first in range(0, B, step):
            last = min(first + step, B)
            c = (last - first) * n
            U = space(memory, here + 1, height, c)
            Y, Q = space(memory, here + 1 + BLOCK * c, height, c), space(memory, here + 1 + 2 * BLOCK * c, height, c)
            product(flipped(U), columns(T, first * n, last * n), A)  # U = A^T T
            _activate(U, Y, Q, activation)
            product(flipped(U), columns(p, first * n, last * n), C)  # C^T p, in place of U
            _multiply(Q, U)  # q = act'(U) o (C^T p)
            add_product(C_bar, rows(p_flipped, first * n, last * n), flipped(Y))  # C_bar += p Y^T
            add_product(A_bar, rows(T_flipped, first * n, last * n), flipped(Q))  # A_bar += T q^T
            if need_input:
                _multiply_rows(Q, a)
                total = space(memory, first * D * n, D, c)
                add_scaled_product(total, one, rows(A, 0, D), Q)  # T_bar += A (a o q), without the bias
    if need_input:
        for first in range(0, B, step):
            last = min(first + step, B)
            sum_lanes(space(memory, first * D * n, D, (last - first) * n), T_bar, first, n)
