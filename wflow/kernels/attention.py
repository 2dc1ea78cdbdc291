"""Attention heads ``f(T, X) = V T P``, ``P = K(T^T W X)``, averaged over heads, and the exact transpose.

T are the tokens of a prompt, the keys; X are its queries, some of the same tokens; :mod:`wflow.kernels.pairs` has the
weights P by kind. Everything is a product of small matrices whose entries are registers over heads (see
:mod:`wflow.kernels.simd`). What belongs to single tokens is done for several prompts at once; what belongs to pairs of
tokens, for so few queries that it stays in the first-level cache. Heads are packed with W transposed (see
:mod:`wflow.kernels.packing`), so that fewer kinds of products are compiled.
"""

from __future__ import annotations

__all__ = ["attention_mean", "attention_space", "attention_vjp"]

import numpy as np

from wflow.kernels.compile import kernel
from wflow.kernels.pairs import slopes, weights
from wflow.kernels.simd.matrices import columns, flipped, rows, space
from wflow.kernels.simd.products import (
    add_product,
    add_scaled_product,
    number_registers,
    product,
    scale,
    scaled_product,
    side_by_side,
    sum_lanes,
    times_product,
    zero,
)

#: What is done at a time: about so many registers of a quantity of single tokens, and of pairs of tokens.
TOKEN_REGISTERS, PAIR_REGISTERS = 400, 512


@kernel
def attention_space(B, D, n, q, lanes):
    """Prompts at a time, queries at a time, and the registers of space for sums and matrices, and in all."""
    prompts = min(B, max(1, TOKEN_REGISTERS // (D * q)))
    width = -(-q // -(-n * q // PAIR_REGISTERS))
    numbers = B * D * (n + q) + prompts * q * (4 * D + 2) + n * width
    size = numbers + 2 * (number_registers(B * D * n, lanes) + 2 * number_registers(B * D * q, lanes))
    return prompts, width, numbers, size


@kernel
def _head(heads, h, D):
    """``V``, ``W^T`` and the weight of head h."""
    first = h * (2 * D * D + 1)
    return space(heads, first, D, D), space(heads, first + D * D, D, D), space(heads, first + 2 * D * D, 1, 1)


@kernel
def _keys_and_queries(tokens, queries, memory, first):
    """T and X of all prompts, side by side, with their transposes, and the register after them."""
    n = tokens.shape[2]
    T, T_flipped, first = side_by_side(tokens, np.arange(n), 0, memory, first)
    if queries.size == n:
        return T, T_flipped, T, T_flipped, first
    X, X_flipped, first = side_by_side(tokens, queries, 0, memory, first)
    return T, T_flipped, X, X_flipped, first


@kernel
def attention_mean(tokens, queries, heads, kind, memory, out):
    """``out_b = sum_j a_j V_j T_b K(T_b^T W_j X_b)``.

    tokens (B, D, n), of which the columns ``queries`` (q,) are X, in order; heads (H (2 D^2 + 1), lanes) as packed;
    kind of :data:`wflow.kernels.pairs.KINDS`; memory (registers, lanes) as by :func:`attention_space`; out (B, D, q).
    """
    (B, D, n), q, lanes = tokens.shape, queries.size, memory.shape[1]
    step, width, numbers, _ = attention_space(B, D, n, q, lanes)
    T, T_flipped, X, _, _ = _keys_and_queries(tokens, queries, memory, numbers)
    totals, here = 0, B * D * q
    zero(space(memory, totals, 1, B * D * q))
    for h in range(heads.shape[0] // (2 * D * D + 1)):
        V, W_flipped, a = _head(heads, h, D)
        for first in range(0, B, step):
            last = min(first + step, B)
            c = (last - first) * q
            U, Z = space(memory, here, D, c), space(memory, here + D * c, D, c)
            inverse = space(memory, here + 2 * D * c, 1, c)
            product(flipped(U), columns(X, first * q, last * q), W_flipped)  # U^T = X^T W^T
            for b in range(first, last):
                for i in range((b - first) * q, (b - first + 1) * q, width):
                    j = min(i + width, (b - first + 1) * q)
                    P = space(memory, here + (2 * D + 1) * c, n, j - i)
                    product(P, columns(T, b * n, b * n + n), columns(U, i, j))  # scores A = T^T U, in place of P
                    weights(P, columns(inverse, i, j), kind)
                    # Z = T P: the products of a column are normalised, not its weights
                    scaled_product(columns(Z, i, j), rows(T_flipped, b * n, b * n + n), P, columns(inverse, i, j))
            total = space(memory, totals + first * D * q, D, c)
            add_scaled_product(total, a, V, Z)  # + a V Z
    for first in range(0, B, step):
        last = min(first + step, B)
        sum_lanes(space(memory, totals + first * D * q, D, (last - first) * q), out, first, q)


@kernel
def attention_vjp(tokens, queries, heads, kind, cotangent, memory, T_bar, X_bar, heads_bar):
    """The transpose of :func:`attention_mean`, which computes the weights P again.

    With ``Z = T P``, ``G = V^T p``, ``Gamma`` the pull-back of ``T^T G`` to the scores, and ``Y = T Gamma``, it adds
    ``V_bar_j += sum_b p Z^T`` and ``W_bar_j += sum_b Y X^T``, without a_j, and writes
    ``T_bar_b = sum_j a_j (G P^T + W X Gamma^T)`` and ``X_bar_b = sum_j a_j W^T Y``: the sum of both in T_bar where all
    tokens are queries; none of the two where T_bar is empty.

    cotangent p (B, D, q), T_bar (B, D, n), X_bar (B, D, q), heads_bar like heads; the rest as there.
    """
    (B, D, n), q, lanes = tokens.shape, queries.size, memory.shape[1]
    step, width, numbers, _ = attention_space(B, D, n, q, lanes)
    T, T_flipped, X, X_flipped, numbers = _keys_and_queries(tokens, queries, memory, numbers)
    p, p_flipped, _ = side_by_side(cotangent, np.arange(q), 0, memory, numbers)
    need_input, all_tokens = T_bar.size > 0, q == n
    T_totals, X_totals, here = 0, 0 if all_tokens else B * D * n, B * D * (n + q)
    if need_input:
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
            T_total = space(memory, T_totals + first * D * n, D, (last - first) * n)
            product(flipped(U), columns(X, first * q, last * q), W_flipped)  # U = W X
            product(flipped(G), columns(p, first * q, last * q), V)  # G = V^T p
            for b in range(first, last):
                keys, keys_flipped = columns(T, b * n, b * n + n), rows(T_flipped, b * n, b * n + n)
                keys_total = columns(T_total, (b - first) * n, (b - first + 1) * n)
                for i in range((b - first) * q, (b - first + 1) * q, width):
                    j = min(i + width, (b - first + 1) * q)
                    P = space(memory, here + (4 * D + 2) * c, n, j - i)
                    u, z, g, y = columns(U, i, j), columns(Z, i, j), columns(G, i, j), columns(Y, i, j)
                    r, k_ij = columns(inverse, i, j), columns(k, i, j)
                    product(P, keys, u)  # A = T^T U
                    weights(P, r, kind)  # P = K(A), up to the factor r_i of column i
                    scaled_product(z, keys_flipped, P, r)  # Z = T P r
                    scale(g, r, z, k_ij)  # G <- r G, which keeps the r of P; k_i = <z_i, g_i>
                    if need_input:
                        add_scaled_product(keys_total, a, g, flipped(P))  # T_bar += a G P^T
                    slopes(P, k_ij, kind)  # P <- K'(A), and k <- 0 unless columns are normalised
                    times_product(P, keys, g, k_ij)  # Gamma = P o (T^T G - k), in place of P
                    product(y, keys_flipped, P)  # Y = T Gamma
                    if need_input:
                        add_scaled_product(keys_total, a, u, flipped(P))  # T_bar += a W X Gamma^T
            add_product(V_bar, rows(p_flipped, first * q, last * q), flipped(Z))  # V_bar += p Z^T
            add_product(W_flipped_bar, rows(X_flipped, first * q, last * q), flipped(Y))  # W_bar^T += X Y^T
            if need_input:
                X_total = space(memory, X_totals + first * D * q, D, c)
                add_scaled_product(X_total, a, W_flipped, Y)  # X_bar += a W^T Y
    if need_input:
        for first in range(0, B, step):
            last = min(first + step, B)
            sum_lanes(space(memory, T_totals + first * D * n, D, (last - first) * n), T_bar, first, n)
            if not all_tokens:
                sum_lanes(space(memory, X_totals + first * D * q, D, (last - first) * q), X_bar, first, q)
