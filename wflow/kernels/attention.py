"""Attention heads ``f(T, X) = V T softmax_col(T^T W X)``, averaged over heads, and the exact transpose.

T are the tokens of a prompt, and X those of its columns that are asked for. Everything is a product of small matrices
whose entries are registers over heads (see :mod:`wflow.kernels.simd`). What belongs to single tokens is done for
several prompts at once; what belongs to pairs of tokens, for so few columns that it stays in the first-level cache.
Heads are packed with W transposed (see :mod:`wflow.kernels.packing`), so that fewer kinds of products are compiled.
"""

from __future__ import annotations

__all__ = ["attention_mean", "attention_space", "attention_vjp"]

import numpy as np

from wflow.kernels.compile import kernel
from wflow.kernels.simd.matrices import columns, flipped, rows, space
from wflow.kernels.simd.products import (
    add_product,
    add_scaled_product,
    number_registers,
    product,
    scale,
    scaled_product,
    side_by_side,
    softmax_weights,
    sum_lanes,
    times_product,
    zero,
)

#: What is done at a time: about so many registers of a quantity of single tokens, and of pairs of tokens.
TOKEN_REGISTERS, PAIR_REGISTERS = 400, 512


@kernel
def attention_space(B, D, n, q, lanes):
    """Prompts at a time, columns at a time, and the registers of space for sums and matrices, and in all."""
    prompts = min(B, max(1, TOKEN_REGISTERS // (D * q)))
    parts = -(-n * q // PAIR_REGISTERS)
    width = -(-q // parts)
    here = B * D * (n + q) + prompts * q * (4 * D + 2) + n * width
    return (
        prompts,
        width,
        here,
        here + 2 * (number_registers(B * D * n, lanes) + 2 * number_registers(B * D * q, lanes)),
    )


@kernel
def _head(heads, h, D):
    """``V``, ``W^T`` and the weight of head h."""
    first = h * (2 * D * D + 1)
    return space(heads, first, D, D), space(heads, first + D * D, D, D), space(heads, first + 2 * D * D, 1, 1)


@kernel
def _both(tokens, chosen, memory, first):
    """All tokens and the chosen ones, side by side, with their transposes, and the register after them."""
    n = tokens.shape[2]
    T, T_flipped, first = side_by_side(tokens, np.arange(n), 0, memory, first)
    if chosen.size == n:
        return T, T_flipped, T, T_flipped, first
    X, X_flipped, first = side_by_side(tokens, chosen, 0, memory, first)
    return T, T_flipped, X, X_flipped, first


@kernel
def attention_mean(tokens, chosen, heads, memory, out):
    """``out_b = sum_j a_j V_j T_b softmax_col(T_b^T W_j X_b)``.

    tokens (B, D, n) and the chosen ones (q,) of the n, in order; heads (H (2 D^2 + 1), lanes) as packed; memory
    (registers, lanes) as by :func:`attention_space`; out (B, D, q).
    """
    (B, D, n), q, lanes = tokens.shape, chosen.size, memory.shape[1]
    step, width, numbers, _ = attention_space(B, D, n, q, lanes)
    T, T_flipped, X, _, _ = _both(tokens, chosen, memory, numbers)
    totals, here = 0, B * D * q
    zero(space(memory, totals, 1, B * D * q))
    for h in range(heads.shape[0] // (2 * D * D + 1)):
        V, W_flipped, a = _head(heads, h, D)
        for first in range(0, B, step):
            last = min(first + step, B)
            c = (last - first) * q
            U, Z = space(memory, here, D, c), space(memory, here + D * c, D, c)
            inverse = space(memory, here + 2 * D * c, 1, c)
            product(flipped(U), columns(X, first * q, last * q), W_flipped)
            for b in range(first, last):
                for i in range((b - first) * q, (b - first + 1) * q, width):
                    j = min(i + width, (b - first + 1) * q)
                    P = space(memory, here + (2 * D + 1) * c, n, j - i)
                    product(P, columns(T, b * n, b * n + n), columns(U, i, j))
                    softmax_weights(P, columns(inverse, i, j))
                    scaled_product(columns(Z, i, j), rows(T_flipped, b * n, b * n + n), P, columns(inverse, i, j))
            total = space(memory, totals + first * D * q, D, c)
            add_scaled_product(total, a, V, Z)
    for first in range(0, B, step):
        last = min(first + step, B)
        sum_lanes(space(memory, totals + first * D * q, D, (last - first) * q), out, first, q)


@kernel
def attention_vjp(tokens, chosen, heads, cotangent, memory, T_bar, X_bar, heads_bar):
    """The transpose of :func:`attention_mean`: adds ``sum_b p Z^T`` to V_bar and ``sum_b T Gam X^T`` to W_bar, without
    weights; ``T_bar_b = sum_j a_j (V^T p P^T + W X Gam^T)`` and ``X_bar_b = sum_j a_j W^T T Gam``, the sum of both in
    T_bar where all tokens are chosen; none of the two where T_bar is empty.

    cotangent p (B, D, q), T_bar (B, D, n), X_bar (B, D, q), heads_bar like heads; others as there.
    """
    (B, D, n), q, lanes = tokens.shape, chosen.size, memory.shape[1]
    step, width, numbers, _ = attention_space(B, D, n, q, lanes)
    T, T_flipped, X, X_flipped, numbers = _both(tokens, chosen, memory, numbers)
    p, p_flipped, _ = side_by_side(cotangent, np.arange(q), 0, memory, numbers)
    wanted, all_tokens = T_bar.size > 0, q == n
    T_totals, X_totals, here = 0, 0 if all_tokens else B * D * n, B * D * (n + q)
    if wanted:
        zero(space(memory, 0, 1, B * D * (n + q)))
    for h in range(heads.shape[0] // (2 * D * D + 1)):
        V, W_flipped, a = _head(heads, h, D)
        V_bar, W_flipped_bar, _ = _head(heads_bar, h, D)
        for first in range(0, B, step):
            last = min(first + step, B)
            c = (last - first) * q
            U, Z = space(memory, here, D, c), space(memory, here + D * c, D, c)
            G, Y = space(memory, here + 2 * D * c, D, c), space(memory, here + 3 * D * c, D, c)
            inverse, k = space(memory, here + 4 * D * c, 1, c), space(memory, here + (4 * D + 1) * c, 1, c)
            pairs = here + (4 * D + 2) * c
            T_total = space(memory, T_totals + first * D * n, D, (last - first) * n)
            product(flipped(U), columns(X, first * q, last * q), W_flipped)
            product(flipped(G), columns(p, first * q, last * q), V)
            for b in range(first, last):
                keys, keys_flipped = columns(T, b * n, b * n + n), rows(T_flipped, b * n, b * n + n)
                own = columns(T_total, (b - first) * n, (b - first + 1) * n)
                for i in range((b - first) * q, (b - first + 1) * q, width):
                    j = min(i + width, (b - first + 1) * q)
                    P = space(memory, pairs, n, j - i)
                    u, z, g = columns(U, i, j), columns(Z, i, j), columns(G, i, j)
                    product(P, keys, u)
                    softmax_weights(P, columns(inverse, i, j))
                    scaled_product(z, keys_flipped, P, columns(inverse, i, j))
                    scale(g, columns(inverse, i, j), z, columns(k, i, j))
                    if wanted:
                        add_scaled_product(own, a, g, flipped(P))
                    times_product(P, keys, g, columns(k, i, j))
                    product(columns(Y, i, j), keys_flipped, P)
                    if wanted:
                        add_scaled_product(own, a, u, flipped(P))
            add_product(V_bar, rows(p_flipped, first * q, last * q), flipped(Z))
            add_product(W_flipped_bar, rows(X_flipped, first * q, last * q), flipped(Y))
            if wanted:
                X_total = space(memory, X_totals + first * D * q, D, c)
                add_scaled_product(X_total, a, W_flipped, Y)
    if wanted:
        for first in range(0, B, step):
            last = min(first + step, B)
            sum_lanes(space(memory, T_totals + first * D * n, D, (last - first) * n), T_bar, first, n)
            if not all_tokens:
                sum_lanes(space(memory, X_totals + first * D * q, D, (last - first) * q), X_bar, first, q)
