"""Softmax attention heads."""

from __future__ import annotations

__all__ = ["SoftmaxAttention"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.encoders.layout import aligned_zeros, from_lanes, groups_of, plain, to_lanes
from wflow.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True)
class SoftmaxAttention:
    """Attention heads ``f(Z, theta) = V Z softmax_col(Z^T W Z)`` (Gao et al. 2024, section 2).

    Parameters
    ----------
    factored
        False: ``theta = (V, W)``, two D x D matrices. True: ``V = W_O W_V`` and ``W = W_K^T W_Q`` of rank at most
        ``rank``, and ``theta = (W_V (r x D), W_O (D x r), W_K (r x D), W_Q (r x D))``. Both row-major in this order.
    rank
        r of the factored form; None means D.

    Raises
    ------
    InputError
        For a rank that is not a positive integer, or a rank without the factored form.

    Examples
    --------
    One token: the softmax is one and f is linear.

    >>> head = SoftmaxAttention()
    >>> theta = np.array([[3.0, 7.0]])
    >>> head.mean(np.full((1, 1, 1), 2.0), theta, np.ones(1))
    array([[[6.]]])
    >>> SoftmaxAttention(factored=True, rank=2).n_parameters(5)
    40
    """

    factored: bool = False
    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None:
            if not self.factored:
                raise InputError(f"rank={self.rank!r} needs factored=True: the full form has no rank")
            if not isinstance(self.rank, (int, np.integer)) or self.rank < 1:
                raise InputError(f"rank must be a positive integer or None, got {self.rank!r}")

    def n_parameters(self, dimension: int) -> int:
        """2 D^2, or 4 r D in the factored form."""
        return 4 * (self.rank or dimension) * dimension if self.factored else 2 * dimension**2

    def groups(self, dimension: int) -> dict[str, slice]:
        """Where the matrices V, W (factored: W_V, W_O, W_K, W_Q) are among the p parameters."""
        names = ("W_V", "W_O", "W_K", "W_Q") if self.factored else ("V", "W")
        size = self.n_parameters(dimension) // len(names)
        return {name: slice(i * size, (i + 1) * size) for i, name in enumerate(names)}

    def _factors(self, parameters: Array, dimension: int) -> tuple[Array, Array, Array, Array]:
        """``W_V, W_O, W_K, W_Q`` of shapes (M, r, D), (M, D, r), (M, r, D), (M, r, D), as views."""
        r = self.rank or dimension
        parts = np.split(parameters, 4, axis=1)
        shapes = ((r, dimension), (dimension, r), (r, dimension), (r, dimension))
        value, output, key, query = (part.reshape(-1, *shape) for part, shape in zip(parts, shapes))
        return value, output, key, query

    def matrices(self, parameters: Array, dimension: int) -> tuple[Array, Array]:
        """``V`` and ``W`` of every head, each (M, D, D)."""
        if self.factored:
            value, output, key, query = self._factors(parameters, dimension)
            return output @ value, key.swapaxes(1, 2) @ query
        halves = parameters.reshape(-1, 2, dimension, dimension)
        return halves[:, 0], halves[:, 1]

    def _packed(self, tokens: Array, parameters: Array, weights: Array) -> tuple[Array, Array, Array]:
        from wflow.kernels.lanes import n_lanes

        lanes = n_lanes(tokens.dtype)
        V, W = self.matrices(parameters.astype(tokens.dtype, copy=False), tokens.shape[1])
        return to_lanes(V, lanes), to_lanes(W, lanes), to_lanes(weights.astype(tokens.dtype)[:, None], lanes)

    def _groups(self, tokens: Array, width: int) -> int:
        return groups_of(len(tokens), 2 * tokens.size * width * sum(tokens.shape[1:]))

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        """``sum_j a_j f(T_b, theta_j)``, shape (B, D, n)."""
        from wflow.kernels.attention import attention_mean

        tokens = plain(tokens)
        out = np.empty_like(tokens)
        attention_mean(tokens, *self._packed(tokens, parameters, weights), out, self._groups(tokens, len(parameters)))
        return out

    def _transpose(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, ...]:
        from wflow.kernels.attention import attention_vjp

        tokens, cotangent = plain(tokens), plain(cotangent)
        V, W, a = self._packed(tokens, parameters, weights)
        tokens_bar, groups = np.empty_like(tokens), self._groups(tokens, len(parameters))
        V_bar, W_bar = (aligned_zeros((groups, *V.shape), V.dtype) for _ in range(2))
        attention_vjp(tokens, V, W, a, cotangent, tokens_bar, V_bar, W_bar)
        width = len(parameters)
        return tokens_bar, from_lanes(V_bar.sum(axis=0), width), from_lanes(W_bar.sum(axis=0), width)

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        """The transpose of :meth:`mean` (see :class:`wflow.encoders.Encoder`)."""
        tokens_bar, V_bar, W_bar = self._transpose(tokens, parameters, weights, cotangent)
        if self.factored:
            value, output, key, query = self._factors(parameters, tokens.shape[1])
            parts: tuple[Array, ...] = (
                output.swapaxes(1, 2) @ V_bar,
                V_bar @ value.swapaxes(1, 2),
                query @ W_bar.swapaxes(1, 2),
                key @ W_bar,
            )
        else:
            parts = (V_bar, W_bar)
        return tokens_bar, np.concatenate([part.reshape(len(parameters), -1) for part in parts], axis=1)

    def pairing(self, tokens: Array, parameters: Array, cotangent: Array) -> Array:
        """``sum_b <f(T_b, theta_j), cotangent_b> = <V_j, sum_b p Z^T>``: f is linear in V. Shape (M,)."""
        _, V_bar, _ = self._transpose(tokens, parameters, np.zeros(len(parameters)), cotangent)
        V, _ = self.matrices(parameters, tokens.shape[1])
        out: Array = np.einsum("mij,mij->m", V, V_bar)
        return out
