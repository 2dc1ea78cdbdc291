"""Weights of pairs of tokens: what attention makes of scores, by kind, and the derivative.

Scores ``A`` (n, q) have a row for every key j and a column for every query i. Their weights are
``P_ji = K_ji(A) inverse_i``, and the pull-back of a cotangent S of P to the scores is

    Gamma_ji = slope_ji inverse_i (S_ji - k_i),    k_i = sum_j S_ji slope_ji / sum_j slope_ji, or 0.

=======================  ==================================  ====================  ==============  =====
kind                     K                                   inverse               slope           k
=======================  ==================================  ====================  ==============  =====
``softmax``              ``e^(A_ji - max of column i)``      1/(sum of column i)   K               mean
``gaussian``             ``e^min(A_ji, 0)``                  1                     K               0
``gaussian-normalised``  as softmax                                                                mean
``sigmoid``              ``1/(1 + e^-A_ji)``                 1                     K (1 - K)       0
``linear``               ``A_ji``                            1/(tokens)            1               0
``relu``                 ``max(A_ji, 0)``                    1/(tokens)            1 where K > 0   0
``sparsemax``            ``max(A_ji - t_i, 0)``, of sum 1    1                     1 where K > 0   mean
=======================  ==================================  ====================  ==============  =====

The scores of hidden pairs are minus infinity, and their weights exact zeros; the caller does that for the linear kind.

One more kind is a name in ``KINDS`` and a branch in both functions.
"""

from __future__ import annotations

__all__ = ["GAUSSIAN", "KINDS", "LINEAR", "SPARSEMAX", "compares", "slopes", "weights"]

from wflow.kernels.compile import kernel, part
from wflow.kernels.simd.lanes import add, div, fma, lane_sum, mul, splat, sub, tanh, vmax, where_negative
from wflow.kernels.simd.matrices import at, extent, put
from wflow.kernels.simd.products import gaussian, gaussian_of_seen, softmax, softmax_of_seen

#: The kinds, by the number under which the kernels know them.
KINDS = {
    "softmax": 0,
    "gaussian": 1,
    "gaussian-normalised": 2,
    "sigmoid": 3,
    "linear": 4,
    "relu": 5,
    "sparsemax": 6,
}
SOFTMAX, GAUSSIAN, GAUSSIAN_NORMALISED = (KINDS[name] for name in ("softmax", "gaussian", "gaussian-normalised"))
SIGMOID, LINEAR, RELU, SPARSEMAX = (KINDS[name] for name in ("sigmoid", "linear", "relu", "sparsemax"))


@part
def compares(kind):
    """Whether scores are distances of keys and queries."""
    return kind in (GAUSSIAN, GAUSSIAN_NORMALISED)


@part
def weights(A, inverse, kind, n_tokens, masked, key_squares, query_squares):
    """``A <- K(A)``, and the row ``inverse`` (1 x q), of prompts of so many tokens, with scores of minus infinity if
    ``masked``. From scores of Gaussians, half the squares of keys (1 x n) and queries (1 x q) are still to be taken."""
    if kind in (SOFTMAX, GAUSSIAN_NORMALISED):
        if kind == GAUSSIAN_NORMALISED:
            _less_squares(A, key_squares)
        if masked:
            softmax_of_seen(A, inverse)
        else:
            softmax(A, inverse)
    elif kind == SPARSEMAX:
        _sparsemax(A, inverse)
    else:
        if kind == GAUSSIAN and masked:
            gaussian_of_seen(A, key_squares, query_squares)
        elif kind == GAUSSIAN:
            gaussian(A, key_squares, query_squares)
        _entrywise(A, inverse, kind, n_tokens)


@part
def slopes(K, inverse, k, kind):
    """``K <- slope``; ``k <- 0`` where it is no mean, and else k is that of ``K inverse`` already, but for sparsemax:
    there ``inverse <- 1/(sum of the slopes)``. The slope of the softmax is K itself."""
    if kind == SPARSEMAX:
        _support(K, inverse)
    elif kind not in (SOFTMAX, GAUSSIAN_NORMALISED):
        _entrywise_slopes(K, k, kind)


@kernel
def _less_squares(A, key_squares):
    """``A_ji -= 1/2 key_squares_j``."""
    (n, q), half = extent(A), splat(A, -0.5)
    for j in range(n):
        term = mul(half, at(key_squares, 0, j))
        for i in range(q):
            put(A, j, i, add(at(A, j, i), term))


@kernel
def _entrywise(A, inverse, kind, n_tokens):
    """The weights of kinds that treat every score on its own."""
    (n, q), nothing, half, one = extent(A), splat(A, 0.0), splat(A, 0.5), splat(A, 1.0)
    factor = splat(A, 1 / n_tokens) if kind in (LINEAR, RELU) else one
    for i in range(q):
        put(inverse, 0, i, factor)
    if kind in (GAUSSIAN, LINEAR):
        return
    for j in range(n):
        for i in range(q):
            x = at(A, j, i)
            if kind == SIGMOID:  # sigma(x) = (1 + tanh(x/2))/2
                y = fma(half, tanh(mul(half, x)), half)
            else:
                y = where_negative(x, nothing, x)
            put(A, j, i, y)


@kernel
def _entrywise_slopes(K, k, kind):
    """Their slopes."""
    (n, q), nothing, one = extent(K), splat(K, 0.0), splat(K, 1.0)
    for i in range(q):
        put(k, 0, i, nothing)
    if kind == GAUSSIAN:
        return
    for j in range(n):
        for i in range(q):
            y = at(K, j, i)
            if kind == SIGMOID:
                y = mul(y, sub(one, y))
            elif kind == RELU:
                y = where_negative(y, nothing, one)
            else:
                y = one
            put(K, j, i, y)


@kernel
def _sparsemax(A, inverse):
    """Columns projected onto the simplex: ``max(A_ji - t_i, 0)`` with the sum 1 (Martins and Astudillo 2016).

    With ``x = A - max``, Michelot's iteration ``t <- (sum of x over x > t, minus 1)/(number of them)`` from ``t = -1``
    takes away what is not in the support until nothing is, after at most n steps.
    """
    (n, q), nothing, one = extent(A), splat(A, 0.0), splat(A, 1.0)
    for i in range(q):
        put(inverse, 0, i, one)
        top = at(A, 0, i)
        for j in range(1, n):
            top = vmax(at(A, j, i), top)
        for j in range(n):
            put(A, j, i, sub(at(A, j, i), top))
        t, before = sub(nothing, one), -1.0
        for _ in range(n + 1):
            total, count = nothing, nothing
            for j in range(n):
                x = at(A, j, i)
                outside = sub(x, t)  # where NaN it counts, so that columns with NaN become NaN
                total = add(total, where_negative(outside, nothing, x))
                count = add(count, where_negative(outside, nothing, one))
            t = div(sub(total, one), count)
            size = lane_sum(count)
            if size == before:
                break
            before = size
        for j in range(n):
            x = sub(at(A, j, i), t)
            put(A, j, i, where_negative(x, nothing, x))


@kernel
def _support(K, inverse):
    """``K <- 1 where K > 0``, and one over the number of ones in every column."""
    (n, q), nothing, one = extent(K), splat(K, 0.0), splat(K, 1.0)
    for i in range(q):
        count = nothing
        for j in range(n):
            y = where_negative(at(K, j, i), nothing, one)
            count = add(count, y)
            put(K, j, i, y)
        put(inverse, 0, i, div(one, count))
