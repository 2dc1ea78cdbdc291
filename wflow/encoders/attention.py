"""Softmax attention heads."""

from __future__ import annotations

__all__ = ["SoftmaxAttention"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.encoders.layout import InRegisters, plain, workspace
from wflow.encoders.protocol import ByPacking
from wflow.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True)
class SoftmaxAttention(ByPacking):
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
        """``W_V, W_O, W_K, W_Q`` of shapes (..., r, D), (..., D, r), (..., r, D), (..., r, D), as views."""
        r = self.rank or dimension
        parts = np.split(parameters, 4, axis=-1)
        shapes = ((r, dimension), (dimension, r), (r, dimension), (r, dimension))
        value, output, key, query = (part.reshape(*part.shape[:-1], *shape) for part, shape in zip(parts, shapes))
        return value, output, key, query

    def matrices(self, parameters: Array, dimension: int) -> tuple[Array, Array]:
        """``V`` and ``W`` of every head, each (..., D, D), from parameters (..., p)."""
        if self.factored:
            value, output, key, query = self._factors(parameters, dimension)
            return output @ value, key.swapaxes(-1, -2) @ query
        return _squares(parameters, dimension)

    def packed(self, parameters: Array, weights: Array, dimension: int) -> PackedHeads:
        """Heads (S, M, p) with weights (S, M) in the kernels' layout: V and W transposed."""
        matrices = parameters
        if self.factored:
            matrices = _side_by_side(*self.matrices(parameters, dimension))
        V, W = np.arange(2 * dimension**2).reshape(2, dimension, dimension)
        order = np.concatenate([V.ravel(), W.T.ravel()])[None]
        return PackedHeads(self, dimension, parameters, InRegisters.of(matrices, weights, order, block=1))

    def slope(self, parameters: Array, matrices_bar: Array, dimension: int) -> Array:
        """The derivative by the parameters from that by V and W (..., 2 D^2): the chain rule."""
        if not self.factored:
            return matrices_bar
        value, output, key, query = self._factors(parameters, dimension)
        V_bar, W_bar = _squares(matrices_bar, dimension)
        return _side_by_side(
            output.swapaxes(-1, -2) @ V_bar,
            V_bar @ value.swapaxes(-1, -2),
            query @ W_bar.swapaxes(-1, -2),
            key @ W_bar,
        )


def _squares(matrices: Array, dimension: int) -> tuple[Array, Array]:
    """Numbers (..., 2 D^2) as two matrices (..., D, D)."""
    halves = matrices.reshape(*matrices.shape[:-1], 2, dimension, dimension)
    return halves[..., 0, :, :], halves[..., 1, :, :]


def _side_by_side(*matrices: Array) -> Array:
    """Matrices (..., i, k) as numbers (..., p)."""
    return np.concatenate([x.reshape(*x.shape[:-2], -1) for x in matrices], axis=-1)


@dataclass(frozen=True, eq=False)
class PackedHeads:
    """The heads of all slices in the kernels' layout (see :class:`wflow.encoders.protocol.Packed`)."""

    encoder: SoftmaxAttention
    dimension: int
    parameters: Array
    heads: InRegisters

    def _workspace(self, tokens: Array, n_chosen: int) -> Array:
        from wflow.kernels.attention import attention_space

        lanes = self.heads.registers.shape[-1]
        *_, size = attention_space(*tokens.shape, n_chosen, lanes)
        return workspace(size, lanes, tokens.dtype)

    def mean(self, l: int, tokens: Array, columns: Array | None = None) -> Array:
        from wflow.kernels.attention import attention_mean
        from wflow.kernels.pairs import SOFTMAX

        tokens = plain(tokens)
        chosen = np.arange(tokens.shape[2]) if columns is None else columns
        out = np.empty((*tokens.shape[:2], len(chosen)), tokens.dtype)
        attention_mean(tokens, chosen, self.heads.registers[l], SOFTMAX, self._workspace(tokens, len(chosen)), out)
        return out

    def vjp(
        self,
        l: int,
        tokens: Array,
        cotangent: Array,
        sums: tuple[Array, ...],
        columns: Array | None = None,
        wanted: bool = True,
    ) -> Array | None:
        from wflow.kernels.attention import attention_vjp
        from wflow.kernels.pairs import SOFTMAX

        tokens, cotangent = plain(tokens), plain(cotangent)
        B, D, n = tokens.shape
        chosen = np.arange(n) if columns is None else columns
        q = len(chosen)
        tokens_bar = np.empty((B if wanted else 0, D, n), tokens.dtype)
        chosen_bar = np.empty((B if wanted and q < n else 0, D, q), tokens.dtype)
        heads, memory = self.heads.registers[l], self._workspace(tokens, q)
        attention_vjp(tokens, chosen, heads, SOFTMAX, cotangent, memory, tokens_bar, chosen_bar, sums[0][l])
        if chosen_bar.size:
            tokens_bar[:, :, columns] += chosen_bar
        return tokens_bar if wanted else None

    def sums(self, count: int) -> tuple[Array, ...]:
        return (self.heads.sums(count),)

    def slope(self, sums: tuple[Array, ...]) -> Array:
        return self.encoder.slope(self.parameters, self.heads.total(sums[0]), self.dimension)

    def paired(self, sums: tuple[Array, ...]) -> Array:
        """``<V_j, sum_b p Z^T>``: f is linear in V."""
        V = slice(0, self.dimension**2)
        out: Array = np.einsum("smi,smi->sm", self.heads.points[..., V], self.heads.total(sums[0])[..., V])
        return out
