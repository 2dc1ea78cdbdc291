"""Attention heads ``f(T, X) = V T P``, ``P = K(A)`` of scores A, averaged over heads, and the exact transpose.

T are the tokens of a prompt, the keys; X are its queries, some of the same tokens; :mod:`wflow.kernels.pairs` has the
weights P by kind. Scores are ``A = T^T W X``, or of the Gaussian kinds ``-1/2 |W_K z - W_Q x|^2``: of ``k = W_K z`` and
``q = W_Q x`` the product less half their squares, that of q only where it does not cancel. Pairs may be hidden (see
:func:`_is_seen`).

Everything is a product of small matrices whose entries are registers over heads (see :mod:`wflow.kernels.simd`). What
belongs to single tokens is done for several prompts at once; what belongs to pairs of tokens, for so few queries that
it stays in the first-level cache, and for the keys alone that one of them sees. Heads are packed with W, W_Q and W_K
transposed (see :mod:`wflow.kernels.packing`), so that fewer kinds of products are compiled.
"""

from __future__ import annotations

__all__ = ["attention_mean", "attention_space", "attention_vjp"]

import numpy as np

from wflow.kernels.compile import kernel, part
from wflow.kernels.pairs import GAUSSIAN, LINEAR, SPARSEMAX, compares, slopes, weights
from wflow.kernels.simd.lanes import mul
from wflow.kernels.simd.matrices import at, columns, extent, flipped, number_space, put, rows, space
from wflow.kernels.simd.products import (
    TILE_COLUMNS,
    add_product,
    add_product_less,
    add_scaled_product,
    column_products,
    number_registers,
    product,
    product_from,
    product_less,
    scale,
    scaled_product,
    side_by_side,
    sum_lanes,
    times_product,
    times_product_with_sums,
    zero,
)

#: What is done at a time: about so many registers of a quantity of single tokens, and of pairs of tokens.
TOKEN_REGISTERS, PAIR_REGISTERS = 400, 512


@kernel
def attention_space(B, D, n, q, kind, rank, lanes):
    """Prompts at a time, queries at a time, and the registers of space for sums and matrices, and in all."""
    prompts = min(B, max(1, TOKEN_REGISTERS // (D * q)))
    width = -(-q // -(-n * q // PAIR_REGISTERS))
    numbers = B * D * (n + q) + prompts * q * (2 * (D + rank) + 2) + n * width
    if compares(kind):
        numbers += prompts * (2 * n * (rank + 1) + 2 * q)
    size = numbers + 2 * (number_registers(B * D * n, lanes) + 2 * number_registers(B * D * q, lanes))
    size += number_registers(n * q, lanes)
    return prompts, width, numbers, size


@kernel
def _head(heads, h, D, kind, rank):
    """``V``, ``W^T`` or ``W_Q^T``, ``W_K^T`` where keys are compared, and the weight of head h."""
    size = D * D + (2 if compares(kind) else 1) * D * rank
    first = h * (size + 1)
    V, W_flipped = space(heads, first, D, D), space(heads, first + D * D, D, rank)
    return V, W_flipped, space(heads, first + D * D + D * rank, D, rank), space(heads, first + size, 1, 1)


@kernel
def _n_heads(heads, D, kind, rank):
    """How many registers of heads there are."""
    return heads.shape[0] // (D * D + (2 if compares(kind) else 1) * D * rank + 1)


@kernel
def _seen(places, mask, q, i, j):
    """The keys from the first to the last that some of the queries i, ..., j - 1 see (see :func:`_is_seen`)."""
    low, high = places[mask + 1 + i], places[mask + 1 + q + i]
    for k in range(i + 1, j):
        low, high = min(low, places[mask + 1 + k]), max(high, places[mask + 1 + q + k])
    return low, high


@kernel
def _is_seen(places, mask, q, j, i):
    """Whether query i sees key j.

    In ``places`` from ``mask`` on stand: whether there are holes; for every query the first key that it sees, and for
    every query the one after the last; with holes, for every key and query, 1 if it sees it.
    """
    inside = places[mask + 1 + i] <= j < places[mask + 1 + q + i]
    return inside and (places[mask] == 0 or places[mask + 1 + (2 + j) * q + i] != 0)


@kernel
def _starts(places, mask, n, q, kind, memory, first):
    """What scores start from, numbers (n, q): minus infinity where the pair is hidden. Linear attention, which that
    would not make zero, has ones there and zeros elsewhere, to be multiplied with."""
    starts = number_space(memory, first, n, q)
    seen, hidden = (1.0, 0.0) if kind == LINEAR else (0.0, -np.inf)
    if mask >= 0:
        for j in range(n):
            for i in range(q):
                put(starts, j, i, memory.dtype.type(seen if _is_seen(places, mask, q, j, i) else hidden))
    return starts


@kernel
def _times(A, M):
    """``A <- A o M``."""
    n, q = extent(A)
    for j in range(n):
        for i in range(q):
            put(A, j, i, mul(at(A, j, i), at(M, j, i)))


@part
def _pairs(P, keys, k, u, inverse, kind, n_tokens, masked, starts, key_squares, query_squares):
    """``P = K(A)`` for the scores ``A = T^T U``, or of ``k^T U`` less half the squares, up to the factor ``inverse`` of
    every column."""
    if masked and kind != LINEAR:
        if compares(kind):
            product_from(P, k, u, starts)
        else:
            product_from(P, keys, u, starts)
    elif compares(kind):
        product(P, k, u)
    else:
        product(P, keys, u)
    weights(P, inverse, kind, n_tokens, masked, key_squares, query_squares)
    if masked and kind == LINEAR:
        _times(P, starts)


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
def attention_mean(tokens, queries, heads, kind, rank, n_tokens, places, mask, memory, out):
    """``out_b = sum_j a_j V_j T_b K(A_bj)``.

    tokens (B, D, n), of which the columns ``queries`` (q,) are X, in order, of prompts with n_tokens; heads (registers,
    lanes) as packed (see :func:`_head`); kind of :data:`wflow.kernels.pairs.KINDS`; rank, the columns of W^T or W_Q^T;
    places and mask as by :func:`_is_seen`; memory (registers, lanes) as by :func:`attention_space`; out (B, D, q).
    """
    (B, D, n), q, lanes = tokens.shape, queries.size, memory.shape[1]
    step, width, numbers, _ = attention_space(B, D, n, q, kind, rank, lanes)
    masked = mask >= 0
    if masked:  # the fewer queries at a time, the fewer keys between those that they see
        width = min(width, TILE_COLUMNS)
    T, T_flipped, X, _, numbers = _keys_and_queries(tokens, queries, memory, numbers)
    starts = _starts(places, mask, n, q, kind, memory, numbers)
    totals, here = 0, B * D * q
    zero(space(memory, totals, 1, B * D * q))
    for h in range(_n_heads(heads, D, kind, rank)):
        V, W_flipped, W_K_flipped, a = _head(heads, h, D, kind, rank)
        for first in range(0, B, step):
            last = min(first + step, B)
            c = (last - first) * q
            Z, U, e = space(memory, here, D, c), space(memory, here + D * c, rank, c), (last - first) * n
            inverse, there = space(memory, here + (D + rank) * c, 1, c), here + (D + rank + 1) * c
            k = space(memory, there + n * width, rank, e)
            key_squares = space(memory, there + n * width + rank * e, 1, e)
            query_squares = space(memory, there + n * width + (rank + 1) * e, 1, c)
            product(flipped(U), columns(X, first * q, last * q), W_flipped)  # U^T = X^T W^T
            if compares(kind):
                product(flipped(k), columns(T, first * n, last * n), W_K_flipped)
                column_products(key_squares, k, k)
                if kind == GAUSSIAN:
                    column_products(query_squares, U, U)
            for b in range(first, last):
                before, keys_before = (b - first) * q, (b - first) * n  # columns of the prompts before
                for i in range(before, before + q, width):
                    j = min(i + width, before + q)
                    low, high = 0, n
                    if masked:
                        low, high = _seen(places, mask, q, i - before, j - before)
                    P = space(memory, there, high - low, j - i)
                    keys, keys_flipped = (
                        columns(T, b * n + low, b * n + high),
                        rows(T_flipped, b * n + low, b * n + high),
                    )
                    k_keys = columns(k, keys_before + low, keys_before + high)
                    some = columns(key_squares, keys_before + low, keys_before + high)
                    u, other, r = columns(U, i, j), columns(query_squares, i, j), columns(inverse, i, j)
                    start = columns(rows(starts, low, high), i - before, j - before)
                    _pairs(P, keys, k_keys, u, r, kind, n_tokens, masked, start, some, other)
                    # Z = T P: the products of a column are normalised, not its weights
                    scaled_product(columns(Z, i, j), keys_flipped, P, r)
            total = space(memory, totals + first * D * q, D, c)
            add_scaled_product(total, a, V, Z)  # + a V Z
    for first in range(0, B, step):
        last = min(first + step, B)
        sum_lanes(space(memory, totals + first * D * q, D, (last - first) * q), out, first, q)


@kernel
def attention_vjp(
    tokens, queries, heads, kind, rank, n_tokens, places, mask, cotangent, memory, T_bar, X_bar, heads_bar
):
    """The transpose of :func:`attention_mean`, which computes the weights P again.

    With ``Z = T P``, ``G = V^T p``, ``Gamma`` the pull-back of ``T^T G`` to the scores, and ``Y = T Gamma``, it adds
    ``V_bar_j += sum_b p Z^T`` and ``W_bar_j += sum_b Y X^T``, without a_j, and writes
    ``T_bar_b = sum_j a_j (G P^T + W X Gamma^T)`` and ``X_bar_b = sum_j a_j W^T Y``: the sum of both in T_bar where all
    tokens are queries; none of the two where T_bar is empty.

    Gaussian kinds have ``k_bar = q Gamma^T - k (sums of rows of Gamma)`` and ``q_bar = k Gamma``, less ``q (sums of
    columns of Gamma)`` unless these cancel; and ``W_K_bar += sum_b k_bar T^T``, ``W_Q_bar += sum_b q_bar X^T`` and
    ``W_K^T k_bar``, ``W_Q^T q_bar`` in place of what W has.

    cotangent p (B, D, q), T_bar (B, D, n), X_bar (B, D, q), heads_bar like heads; the rest as there.
    """
    (B, D, n), q, lanes = tokens.shape, queries.size, memory.shape[1]
    step, width, numbers, _ = attention_space(B, D, n, q, kind, rank, lanes)
    masked = mask >= 0
    if masked:
        width = min(width, TILE_COLUMNS)
    T, T_flipped, X, X_flipped, numbers = _keys_and_queries(tokens, queries, memory, numbers)
    p, p_flipped, numbers = side_by_side(cotangent, np.arange(q), 0, memory, numbers)
    starts = _starts(places, mask, n, q, kind, memory, numbers)
    need_input, all_tokens, at_once = T_bar.size > 0, q == n, width == q and not masked
    T_totals, X_totals, here = 0, 0 if all_tokens else B * D * n, B * D * (n + q)
    if need_input:
        zero(space(memory, 0, 1, B * D * (n + q)))
    for h in range(_n_heads(heads, D, kind, rank)):
        V, W_flipped, W_K_flipped, a = _head(heads, h, D, kind, rank)
        V_bar, W_flipped_bar, W_K_flipped_bar, _ = _head(heads_bar, h, D, kind, rank)
        for first in range(0, B, step):
            last = min(first + step, B)
            c, e = (last - first) * q, (last - first) * n
            Z, G = space(memory, here, D, c), space(memory, here + D * c, D, c)
            there = here + 2 * D * c
            U, Y = space(memory, there, rank, c), space(memory, there + rank * c, rank, c)
            there += 2 * rank * c
            inverse, k_row = space(memory, there, 1, c), space(memory, there + c, 1, c)
            there += 2 * c
            after = there + n * width
            k, k_bar = space(memory, after, rank, e), space(memory, after + rank * e, rank, e)
            after += 2 * rank * e
            key_squares, key_sums = space(memory, after, 1, e), space(memory, after + e, 1, e)
            after += 2 * e
            query_squares, query_sums = space(memory, after, 1, c), space(memory, after + c, 1, c)
            T_total = space(memory, T_totals + first * D * n, D, e)
            X_total = space(memory, X_totals + first * D * q, D, c)
            product(flipped(U), columns(X, first * q, last * q), W_flipped)  # U = W X
            product(flipped(G), columns(p, first * q, last * q), V)  # G = V^T p
            if compares(kind):
                product(flipped(k), columns(T, first * n, last * n), W_K_flipped)
                column_products(key_squares, k, k)
                if kind == GAUSSIAN:
                    column_products(query_squares, U, U)
                if not at_once:
                    zero(k_bar)
            for b in range(first, last):
                before, keys_before = (b - first) * q, (b - first) * n  # columns of the prompts before
                for i in range(before, before + q, width):
                    j = min(i + width, before + q)
                    low, high = 0, n
                    if masked:
                        low, high = _seen(places, mask, q, i - before, j - before)
                    keys, keys_flipped = (
                        columns(T, b * n + low, b * n + high),
                        rows(T_flipped, b * n + low, b * n + high),
                    )
                    keys_total = columns(T_total, keys_before + low, keys_before + high)
                    k_keys = columns(k, keys_before + low, keys_before + high)
                    P = space(memory, there, high - low, j - i)
                    u, z, g, y = columns(U, i, j), columns(Z, i, j), columns(G, i, j), columns(Y, i, j)
                    r, k_ij = columns(inverse, i, j), columns(k_row, i, j)
                    some = columns(key_squares, keys_before + low, keys_before + high)
                    start, other = (
                        columns(rows(starts, low, high), i - before, j - before),
                        columns(query_squares, i, j),
                    )
                    # P = K(A), up to the factor r_i of column i
                    _pairs(P, keys, k_keys, u, r, kind, n_tokens, masked, start, some, other)
                    scaled_product(z, keys_flipped, P, r)  # Z = T P r
                    if kind != GAUSSIAN:  # where r is one and k zero
                        scale(g, r, z, k_ij)  # G <- r G, which keeps the r of P; k_i = <z_i, g_i>
                    if need_input:
                        add_scaled_product(keys_total, a, g, flipped(P))  # T_bar += a G P^T
                    slopes(P, r, k_ij, kind)  # P <- K'(A), and k <- 0 unless columns are normalised
                    if masked and kind == LINEAR:
                        _times(P, start)
                    if kind == SPARSEMAX:  # k is the mean of T^T G over the support
                        scaled_product(y, keys_flipped, P, r)
                        column_products(k_ij, y, g)
                    # Gamma = P o (T^T G - k), in place of P
                    if compares(kind):
                        by_key, by_query = (
                            columns(key_sums, keys_before + low, keys_before + high),
                            columns(query_sums, i, j),
                        )
                        zero(by_key)
                        zero(by_query)
                        times_product_with_sums(P, keys, g, k_ij, by_key, by_query)
                        if kind == GAUSSIAN:
                            product_less(y, flipped(k_keys), P, u, by_query)  # q_bar = k Gamma - q diag(Gamma^T 1)
                        else:
                            product(y, flipped(k_keys), P)  # the weights of a column do not depend on |q|
                        k_bar_keys = columns(k_bar, keys_before + low, keys_before + high)
                        # k_bar += q Gamma^T - k diag(Gamma 1)
                        if at_once:
                            product_less(k_bar_keys, flipped(u), flipped(P), k_keys, by_key)
                        else:
                            add_product_less(k_bar_keys, flipped(u), flipped(P), k_keys, by_key)
                    else:
                        times_product(P, keys, g, k_ij)
                        product(y, keys_flipped, P)  # Y = T Gamma
                        if need_input:
                            add_scaled_product(keys_total, a, u, flipped(P))  # T_bar += a W X Gamma^T
            if compares(kind):
                add_product(W_K_flipped_bar, rows(T_flipped, first * n, last * n), flipped(k_bar))
                if need_input:
                    add_scaled_product(T_total, a, W_K_flipped, k_bar)
            add_product(V_bar, rows(p_flipped, first * q, last * q), flipped(Z))  # V_bar += p Z^T
            add_product(W_flipped_bar, rows(X_flipped, first * q, last * q), flipped(Y))  # W_bar^T += X Y^T
            if need_input:
                add_scaled_product(X_total, a, W_flipped, Y)  # X_bar += a W^T Y
    if need_input:
        for first in range(0, B, step):
            last = min(first + step, B)
            sum_lanes(space(memory, T_totals + first * D * n, D, (last - first) * n), T_bar, first, n)
            if not all_tokens:
                sum_lanes(space(memory, X_totals + first * D * q, D, (last - first) * q), X_bar, first, q)
