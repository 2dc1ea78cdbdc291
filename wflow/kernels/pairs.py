"""Weights of pairs of tokens: what attention makes of scores, by kind, and the derivative.

Scores ``A`` (n, q) have a row for every key j and a column for every query i. Their weights are
``P_ji = K_ji(A) inverse_i``, and the pull-back of a cotangent S of P to the scores is

    Gamma_ji = slope_ji inverse_i (S_ji - k_i),    k_i = sum_j P_ji S_ji if columns are normalised, else k = 0.

============  ==================================  ====================  =========  ==========
kind          K                                   inverse               slope      normalised
============  ==================================  ====================  =========  ==========
``softmax``   ``e^(A_ji - max of column i)``      1/(sum of column i)   K          yes
============  ==================================  ====================  =========  ==========

One more kind is a name in ``KINDS`` and a branch in both functions.
"""

from __future__ import annotations

__all__ = ["KINDS", "SOFTMAX", "slopes", "weights"]

from wflow.kernels.compile import part
from wflow.kernels.simd.products import softmax

#: The kinds, by the number under which the kernels know them.
KINDS = {"softmax": 0}
SOFTMAX = KINDS["softmax"]


@part
def weights(A, inverse, kind):
    """``A <- K(A)``, and the row ``inverse`` (1 x q); one where columns are not normalised."""
    if kind == SOFTMAX:
        softmax(A, inverse)


@part
def slopes(K, k, kind):
    """``K <- slope``; and ``k <- 0`` where columns are not normalised. The slope of the softmax is K itself."""
