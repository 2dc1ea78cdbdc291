"""Attention heads ``f(T, X) = V T P``, ``P = K(A)`` of scores A, averaged over heads, and the exact transpose.

T are the tokens of a prompt, the keys; X are its queries, some of the same tokens; :mod:`wflow.kernels.pairs` has the
weights P by kind. Scores are ``A = T^T W X``; the Gaussian kinds add the terms ``z^T N_K z`` of keys and ``x^T N_Q x``
of queries with symmetric N, which make a square of them (a normalised one needs those of keys alone). Pairs may be
hidden (see :func:`_is_seen`).

Everything is a product of small matrices whose entries are registers over heads (see :mod:`wflow.kernels.simd`). What
belongs to single tokens is done for several prompts at once; what belongs to pairs of tokens, for so few queries that
it stays in the first-level cache, and for the keys alone that one of them sees. Heads are packed with W transposed (see
:mod:`wflow.kernels.packing`), so that fewer kinds of products are compiled.
"""

from __future__ import annotations

__all__ = ["attention_mean", "attention_space", "attention_vjp"]

import numpy as np

from wflow.kernels.compile import kernel, part
from wflow.kernels.pairs import GAUSSIAN, GAUSSIAN_NORMALISED, LINEAR, SPARSEMAX, slopes, weights
from wflow.kernels.simd.lanes import add, fma, mul
from wflow.kernels.simd.matrices import at, columns, extent, flipped, number_space, put, rows, space
from wflow.kernels.simd.products import (
    TILE_COLUMNS,
    add_product,
    add_scaled_product,
    add_sums,
    column_products,
    number_registers,
    product,
    product_from,
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
def attention_space(B, D, n, q, kind, lanes):
    """Prompts at a time, queries at a time, and the registers of space for sums and matrices, and in all."""
    prompts = min(B, max(1, TOKEN_REGISTERS // (D * q)))
    width = -(-q // -(-n * q // PAIR_REGISTERS))
    numbers = B * D * (n + q) + prompts * q * (4 * D + 2) + n * width
    if kind in (GAUSSIAN, GAUSSIAN_NORMALISED):
        numbers += prompts * (D + 2) * (n + q)
    size = numbers + 2 * (number_registers(B * D * n, lanes) + 2 * number_registers(B * D * q, lanes))
    size += number_registers(n * q, lanes)
    return prompts, width, numbers, size


@kernel
def _squares(kind):
    """How many matrices N a kind has."""
    return 2 if kind == GAUSSIAN else 1 if kind == GAUSSIAN_NORMALISED else 0


@kernel
def _head(heads, h, D, kind):
    """``V``, ``W^T`` and the weight of head h, and where its matrices N start."""
    size = (2 + _squares(kind)) * D * D
    first = h * (size + 1)
    V, W_flipped = space(heads, first, D, D), space(heads, first + D * D, D, D)
    return V, W_flipped, space(heads, first + size, 1, 1), first + 2 * D * D


@kernel
def _square(N, tokens, NT, terms):
    """``N T`` and the terms ``z^T N z`` (1 x columns) for every column z of the tokens T, with symmetric N."""
    product(flipped(NT), tokens, N)
    column_products(terms, tokens, NT)


@kernel
def _square_bar(N_bar, tokens, tokens_flipped, NT, sums, need_input, a, total):
    """Its transpose at the cotangents ``sums`` of the terms: ``N_bar += sum of sums_i z_i z_i^T``, and
    ``total_i += 2 a sums_i N z_i``, the derivative by tokens, if there is need of it. NT is overwritten."""
    D, c = extent(NT)
    twice = add(at(a, 0, 0), at(a, 0, 0))
    for d in range(D):
        for i in range(c):
            s = at(sums, 0, i)
            if need_input:
                put(total, d, i, fma(mul(twice, s), at(NT, d, i), at(total, d, i)))
            put(NT, d, i, mul(s, at(tokens, d, i)))
    add_product(N_bar, tokens_flipped, flipped(NT))


@kernel
def _seen(places, mask, q, n, i, j):
    """The keys that some of the queries i, ..., j - 1 see: all between the first and after the last; all n without a
    mask."""
    if mask < 0:
        return 0, n
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
def _pairs(P, keys, u, inverse, kind, n_tokens, masked, starts, key_terms, query_terms):
    """``P = K(A)`` for the scores ``A = T^T U``, up to the factor ``inverse`` of every column."""
    if masked and kind != LINEAR:
        product_from(P, keys, u, starts)
    else:
        product(P, keys, u)
    weights(P, inverse, kind, n_tokens, masked, key_terms, query_terms)
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
def attention_mean(tokens, queries, heads, kind, n_tokens, places, mask, memory, out):
    """``out_b = sum_j a_j V_j T_b K(A_bj)``.

    tokens (B, D, n), of which the columns ``queries`` (q,) are X, in order, of prompts with n_tokens; heads (registers,
    lanes) as packed: V, W^T, matrices N, and weights; kind of :data:`wflow.kernels.pairs.KINDS`; places and mask as by
    :func:`_is_seen`; memory (registers, lanes) as by :func:`attention_space`; out (B, D, q).
    """
    (B, D, n), q, lanes = tokens.shape, queries.size, memory.shape[1]
    step, width, numbers, _ = attention_space(B, D, n, q, kind, lanes)
    squares, masked = _squares(kind), mask >= 0
    if masked:  # the fewer queries at a time, the fewer keys between those that they see
        width = min(width, TILE_COLUMNS)
    T, T_flipped, X, _, numbers = _keys_and_queries(tokens, queries, memory, numbers)
    starts = _starts(places, mask, n, q, kind, memory, numbers)
    totals, here = 0, B * D * q
    zero(space(memory, totals, 1, B * D * q))
    for h in range(heads.shape[0] // ((2 + squares) * D * D + 1)):
        V, W_flipped, a, N = _head(heads, h, D, kind)
        for first in range(0, B, step):
            last = min(first + step, B)
            c = (last - first) * q
            U, Z = space(memory, here, D, c), space(memory, here + D * c, D, c)
            inverse = space(memory, here + 2 * D * c, 1, c)
            e, there = (last - first) * n, here + (2 * D + 1) * c + n * width
            key_terms, query_terms = space(memory, there, 1, e), space(memory, there + e, 1, c)
            product(flipped(U), columns(X, first * q, last * q), W_flipped)  # U^T = X^T W^T
            if squares > 0:
                NT = space(memory, there + e + c, D, e)
                _square(space(heads, N, D, D), columns(T, first * n, last * n), NT, key_terms)
            if squares > 1:
                NX = space(memory, there + e + c, D, c)
                _square(space(heads, N + D * D, D, D), columns(X, first * q, last * q), NX, query_terms)
            for b in range(first, last):
                before, keys_before = (b - first) * q, (b - first) * n  # columns of the prompts before
                for i in range(before, before + q, width):
                    j = min(i + width, before + q)
                    low, high = _seen(places, mask, q, n, i - before, j - before)
                    P = space(memory, here + (2 * D + 1) * c, high - low, j - i)
                    keys, keys_flipped = (
                        columns(T, b * n + low, b * n + high),
                        rows(T_flipped, b * n + low, b * n + high),
                    )
                    some, other = columns(key_terms, keys_before + low, keys_before + high), columns(query_terms, i, j)
                    start, r = columns(rows(starts, low, high), i - before, j - before), columns(inverse, i, j)
                    _pairs(P, keys, columns(U, i, j), r, kind, n_tokens, masked, start, some, other)
                    # Z = T P: the products of a column are normalised, not its weights
                    scaled_product(columns(Z, i, j), keys_flipped, P, r)
            total = space(memory, totals + first * D * q, D, c)
            add_scaled_product(total, a, V, Z)  # + a V Z
    for first in range(0, B, step):
        last = min(first + step, B)
        sum_lanes(space(memory, totals + first * D * q, D, (last - first) * q), out, first, q)


@kernel
def attention_vjp(tokens, queries, heads, kind, n_tokens, places, mask, cotangent, memory, T_bar, X_bar, heads_bar):
    """The transpose of :func:`attention_mean`, which computes the weights P again.

    With ``Z = T P``, ``G = V^T p``, ``Gamma`` the pull-back of ``T^T G`` to the scores, and ``Y = T Gamma``, it adds
    ``V_bar_j += sum_b p Z^T`` and ``W_bar_j += sum_b Y X^T``, without a_j, and writes
    ``T_bar_b = sum_j a_j (G P^T + W X Gamma^T)`` and ``X_bar_b = sum_j a_j W^T Y``: the sum of both in T_bar where all
    tokens are queries; none of the two where T_bar is empty. The terms of keys and queries have the sums of Gamma over
    rows and columns as cotangents (see :func:`_square_bar`).

    cotangent p (B, D, q), T_bar (B, D, n), X_bar (B, D, q), heads_bar like heads; the rest as there.
    """
    (B, D, n), q, lanes = tokens.shape, queries.size, memory.shape[1]
    step, width, numbers, _ = attention_space(B, D, n, q, kind, lanes)
    squares, masked = _squares(kind), mask >= 0
    if masked:
        width = min(width, TILE_COLUMNS)
    T, T_flipped, X, X_flipped, numbers = _keys_and_queries(tokens, queries, memory, numbers)
    p, p_flipped, numbers = side_by_side(cotangent, np.arange(q), 0, memory, numbers)
    starts = _starts(places, mask, n, q, kind, memory, numbers)
    need_input, all_tokens = T_bar.size > 0, q == n
    T_totals, X_totals, here = 0, 0 if all_tokens else B * D * n, B * D * (n + q)
    if need_input:
        zero(space(memory, 0, 1, B * D * (n + q)))
    for h in range(heads.shape[0] // ((2 + squares) * D * D + 1)):
        V, W_flipped, a, N = _head(heads, h, D, kind)
        V_bar, W_flipped_bar, _, _ = _head(heads_bar, h, D, kind)
        for first in range(0, B, step):
            last = min(first + step, B)
            c, e = (last - first) * q, (last - first) * n
            U, Z = space(memory, here, D, c), space(memory, here + D * c, D, c)
            G, Y = space(memory, here + 2 * D * c, D, c), space(memory, here + 3 * D * c, D, c)
            inverse, k = space(memory, here + 4 * D * c, 1, c), space(memory, here + (4 * D + 1) * c, 1, c)
            there = here + (4 * D + 2) * c + n * width
            key_terms, query_terms = space(memory, there, 1, e), space(memory, there + e, 1, c)
            key_sums, query_sums = space(memory, there + e + c, 1, e), space(memory, there + 2 * e + c, 1, c)
            NT, NX = space(memory, there + 2 * (e + c), D, e), space(memory, there + 2 * (e + c) + D * e, D, c)
            T_total = space(memory, T_totals + first * D * n, D, e)
            X_total = space(memory, X_totals + first * D * q, D, c)
            product(flipped(U), columns(X, first * q, last * q), W_flipped)  # U = W X
            product(flipped(G), columns(p, first * q, last * q), V)  # G = V^T p
            if squares > 0:
                _square(space(heads, N, D, D), columns(T, first * n, last * n), NT, key_terms)
                zero(key_sums)
            if squares > 1:
                _square(space(heads, N + D * D, D, D), columns(X, first * q, last * q), NX, query_terms)
            for b in range(first, last):
                before, keys_before = (b - first) * q, (b - first) * n  # columns of the prompts before
                for i in range(before, before + q, width):
                    j = min(i + width, before + q)
                    low, high = _seen(places, mask, q, n, i - before, j - before)
                    keys, keys_flipped = (
                        columns(T, b * n + low, b * n + high),
                        rows(T_flipped, b * n + low, b * n + high),
                    )
                    keys_total = columns(T_total, keys_before + low, keys_before + high)
                    P = space(memory, here + (4 * D + 2) * c, high - low, j - i)
                    u, z, g, y = columns(U, i, j), columns(Z, i, j), columns(G, i, j), columns(Y, i, j)
                    r, k_ij = columns(inverse, i, j), columns(k, i, j)
                    some, other = columns(key_terms, keys_before + low, keys_before + high), columns(query_terms, i, j)
                    start = columns(rows(starts, low, high), i - before, j - before)
                    _pairs(
                        P, keys, u, r, kind, n_tokens, masked, start, some, other
                    )  # up to the factor r_i of column i
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
                    times_product(P, keys, g, k_ij)  # Gamma = P o (T^T G - k), in place of P
                    product(y, keys_flipped, P)  # Y = T Gamma
                    if need_input:
                        add_scaled_product(keys_total, a, u, flipped(P))  # T_bar += a W X Gamma^T
                    if squares > 0:
                        some = columns(key_sums, keys_before + low, keys_before + high)
                        add_sums(P, some, columns(query_sums, i, j))
            add_product(V_bar, rows(p_flipped, first * q, last * q), flipped(Z))  # V_bar += p Z^T
            add_product(W_flipped_bar, rows(X_flipped, first * q, last * q), flipped(Y))  # W_bar^T += X Y^T
            if need_input:
                add_scaled_product(X_total, a, W_flipped, Y)  # X_bar += a W^T Y
            if squares > 0:
                some, some_flipped = columns(T, first * n, last * n), rows(T_flipped, first * n, last * n)
                N_bar = space(heads_bar, N, D, D)
                _square_bar(N_bar, some, some_flipped, NT, key_sums, need_input, a, T_total)
            if squares > 1:
                some, some_flipped = columns(X, first * q, last * q), rows(X_flipped, first * q, last * q)
                N_bar = space(heads_bar, N + D * D, D, D)
                _square_bar(N_bar, some, some_flipped, NX, query_sums, need_input, a, X_total)
    if need_input:
        for first in range(0, B, step):
            last = min(first + step, B)
            sum_lanes(space(memory, T_totals + first * D * n, D, (last - first) * n), T_bar, first, n)
            if not all_tokens:
                sum_lanes(space(memory, X_totals + first * D * q, D, (last - first) * q), X_bar, first, q)
