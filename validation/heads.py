"""Attention heads by hand: the weights of every kernel, masks, and what pulls cotangents back through them.

A head mixes values, ``f = V Z K``, with weights ``K_{ji}`` of the key j for the query i, made of scores ``A_{ji}``. For
the kernels of two Gaussians ``A_{ji} = -(s/2) |W_K z_j - W_Q z_i|^2``, for the others ``A = s (W_K Z)^T (W_Q Z)``, or
``s Z^T W Z`` of a full head. With a mask m in {0, 1} and n tokens::

    softmax, gaussian-normalised   K = m e^A / sum_k m e^A      Gamma = K (S - sum_k K S)
    gaussian                       K = m e^A                    Gamma = K S
    sigmoid                        K = m / (1 + e^{-A})         Gamma = K (1 - K) S
    linear                         K = m A/n                    Gamma = m S/n
    relu                           K = m max(A, 0)/n            Gamma = m 1{A > 0} S/n
    sparsemax                      K = argmin |K - A|           Gamma = 1{K > 0} (S - mean of S where K > 0)

sparsemax projects every column onto the simplex of the keys that are seen. Gamma is the cotangent of A that belongs
to the cotangent S of K. Arrays have shape (..., D, n), the scores (..., n, n) with keys down the rows.
"""

from __future__ import annotations

__all__ = ["KERNELS", "Head", "mask_of", "softmax_columns", "sparsemax_columns", "sum_of_outer"]

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Array = NDArray[np.floating[Any]]
Seen = NDArray[np.bool_]

#: What a mask may be: None, "causal", ("local", w), or an array m[j, i] that is 1 where query i sees key j.
Mask = Any

DISTANCES: Final = ("gaussian", "gaussian-normalised")
KERNELS: Final = ("softmax", *DISTANCES, "sigmoid", "linear", "relu", "sparsemax")


def mask_of(mask: Mask, n: int) -> Seen:
    """The mask of n tokens as an array, true where query i (the column) sees key j (the row).

    Examples
    --------
    >>> mask_of("causal", 3).astype(int)
    array([[1, 1, 1],
           [0, 1, 1],
           [0, 0, 1]])
    """
    key, query = np.indices((n, n))
    if mask is None:
        return np.ones((n, n), dtype=bool)
    if isinstance(mask, str):
        if mask != "causal":
            raise ValueError(f"mask must be None, 'causal', ('local', w) or an (n, n) array, got {mask!r}")
        return np.asarray(key <= query)
    if isinstance(mask, (tuple, list)) and mask[0] == "local":
        return np.asarray(np.abs(key - query) <= mask[1])
    seen = np.asarray(np.asarray(mask) != 0)
    if seen.shape != (n, n) or not seen.any(axis=0).all():
        raise ValueError(f"a mask of {n} tokens needs shape {(n, n)} and a key for every query, got {seen.shape}")
    return seen


def softmax_columns(scores: ArrayLike) -> Array:
    """Softmax down the rows of every column, ``P_{ji} = exp(S_{ji}) / sum_k exp(S_{ki})``.

    The largest entry of a column is subtracted first, which leaves P alone and cannot overflow.

    Parameters
    ----------
    scores
        Shape (..., n, n); the column ``i`` holds the scores that the query ``i`` gives to the keys ``j``, -inf for
        those that it does not see.

    Returns
    -------
    Array
        The same shape; every column sums to one.

    Examples
    --------
    >>> softmax_columns([[0.0, 1000.0], [0.0, 0.0]])
    array([[0.5, 1. ],
           [0.5, 0. ]])
    """
    S = np.asarray(scores)
    exponentials = np.exp(S - S.max(axis=-2, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-2, keepdims=True))


def sparsemax_columns(scores: ArrayLike) -> Array:
    """Every column projected onto the simplex: ``K = max(A - t, 0)`` with the level t at which it sums to one.

    Of the scores in falling order those belong to the support whose ``1 + k A_(k)`` exceeds the sum of the first k.

    Examples
    --------
    >>> sparsemax_columns([[0.0, 0.5], [0.4, 3.0]]).round(12)
    array([[0.3, 0. ],
           [0.7, 1. ]])
    """
    A = np.asarray(scores)
    falling = -np.sort(-A, axis=-2)
    sums, k = np.cumsum(falling, axis=-2), np.arange(1, A.shape[-2] + 1, dtype=A.dtype)[:, None]
    size = (1 + k * falling > sums).sum(axis=-2, keepdims=True)
    level = (np.take_along_axis(sums, size - 1, axis=-2) - 1) / size.astype(A.dtype)
    return np.asarray(np.maximum(A - level, 0))


def sum_of_outer(left: Array, right: Array) -> Array:
    """``sum_b left_b right_b^T`` for left (..., B, r, n) and right (..., B, c, n): shape (..., r, c)."""
    return np.asarray((left @ _transposed(right)).sum(axis=-3))


def _transposed(x: Array) -> Array:
    """Every matrix of a batch transposed."""
    return x.swapaxes(-1, -2)


@dataclass(frozen=True)
class Head:
    """A kernel with its mask and scale; its matrices are (V, W), or four if it is factored, (W_V, W_O, W_K, W_Q).

    Examples
    --------
    Two tokens 1 and 2, D = 1, ``V = 3`` and ``W_K = W_Q = 1``: of the first token ``3 + 6 e^{-1/2}``.

    >>> one = np.ones((1, 1))
    >>> Head("gaussian", True).value(np.array([[[1.0, 2.0]]]), 3 * one, one, one, one)
    array([[[6.63918396, 7.81959198]]])
    """

    kernel: str = "softmax"
    factored: bool = False
    mask: Mask = None
    scale: float = 1.0

    def value(self, Z: Array, *matrices: Array) -> Array:
        """``f = V Z K``, with ``V = W_O W_V`` if factored."""
        out, values, keys, queries = self._parts(Z, matrices)
        K = self._weights(self._scores(keys, queries))
        return np.asarray(values @ K if out is None else out @ (values @ K))

    def vjp(self, Z: Array, p: Array, *matrices: Array) -> tuple[Array, list[Array]]:
        """Derivatives of ``<f, p>``: in Z by prompt, in the matrices summed over prompts.

        A token enters as a value, as a key (j) and as a query (i).
        """
        out, values, keys, queries = self._parts(Z, matrices)
        A = self._scores(keys, queries)
        K = self._weights(A)
        mixed_bar = p if out is None else _transposed(out) @ p  # of values @ K
        values_bar = mixed_bar @ _transposed(K)
        gamma = self._pulled_back(A, K, _transposed(values) @ mixed_bar)
        keys_bar, queries_bar = self._scores_bar(keys, queries, gamma)
        if out is None:
            V, W = matrices
            Z_bar = _transposed(V) @ values_bar + keys_bar + _transposed(W) @ queries_bar
            return Z_bar, [sum_of_outer(values_bar, Z), sum_of_outer(queries_bar, Z)]
        W_V, _, W_K, W_Q = matrices
        Z_bar = _transposed(W_V) @ values_bar + _transposed(W_K) @ keys_bar + _transposed(W_Q) @ queries_bar
        bars = (values_bar, Z), (p, values @ K), (keys_bar, Z), (queries_bar, Z)
        return Z_bar, [sum_of_outer(*pair) for pair in bars]

    def _parts(self, Z: Array, matrices: tuple[Array, ...]) -> tuple[Array | None, Array, Array, Array]:
        """What multiplies mixed values (None: nothing), values, keys and queries."""
        if self.factored:
            W_V, W_O, W_K, W_Q = matrices
            return W_O, W_V @ Z, W_K @ Z, W_Q @ Z
        V, W = matrices
        return None, V @ Z, Z, W @ Z

    def _scores(self, keys: Array, queries: Array) -> Array:
        if self.kernel in DISTANCES:
            difference = keys[..., :, :, None] - queries[..., :, None, :]
            return np.asarray(-0.5 * self.scale * (difference**2).sum(axis=-3))
        return np.asarray(self.scale * (_transposed(keys) @ queries))

    def _scores_bar(self, keys: Array, queries: Array, gamma: Array) -> tuple[Array, Array]:
        """Cotangents of the keys and the queries from that of the scores."""
        if self.kernel in DISTANCES:
            pulled = self.scale * gamma[..., None, :, :] * (keys[..., :, :, None] - queries[..., :, None, :])
            return -pulled.sum(axis=-1), pulled.sum(axis=-2)
        return self.scale * (queries @ _transposed(gamma)), self.scale * (keys @ gamma)

    def _weights(self, A: Array) -> Array:
        n = A.shape[-1]
        seen = mask_of(self.mask, n)
        if self.kernel == "sparsemax":
            return sparsemax_columns(np.where(seen, A, -np.inf))
        if self.kernel in ("softmax", "gaussian-normalised"):
            return softmax_columns(np.where(seen, A, -np.inf))
        if self.kernel == "gaussian":
            return np.asarray(seen * np.exp(A))
        if self.kernel == "sigmoid":
            return np.asarray(seen * expit(A))
        return np.asarray(seen * (A if self.kernel == "linear" else np.maximum(A, 0)) / n)

    def _pulled_back(self, A: Array, K: Array, S: Array) -> Array:
        n = A.shape[-1]
        seen = mask_of(self.mask, n)
        if self.kernel == "sparsemax":
            support = K > 0
            mean = (support * S).sum(axis=-2, keepdims=True) / support.sum(axis=-2, keepdims=True).astype(S.dtype)
            return np.asarray(support * (S - mean))
        if self.kernel in ("softmax", "gaussian-normalised"):
            return np.asarray(K * (S - (K * S).sum(axis=-2, keepdims=True)))
        if self.kernel == "gaussian":
            return K * S
        if self.kernel == "sigmoid":
            return np.asarray(K * expit(-A) * S)
        return np.asarray(seen * (S if self.kernel == "linear" else (A > 0) * S) / n)
