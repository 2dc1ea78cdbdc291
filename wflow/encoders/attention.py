"""Softmax attention heads."""

from __future__ import annotations

__all__ = ["SoftmaxAttention"]

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_boolean, check_integer
from wflow.encoders.compiled import Compiled, CompiledEncoder
from wflow.encoders.protocol import Group
from wflow.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True)
class SoftmaxAttention(CompiledEncoder):
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
        object.__setattr__(self, "factored", check_boolean("factored", self.factored))
        if self.rank is not None:
            if not self.factored:
                raise InputError(f"rank={self.rank!r} needs factored=True: the full form has no rank")
            object.__setattr__(self, "rank", check_integer("rank", self.rank))

    def n_parameters(self, dimension: int) -> int:
        """2 D^2, or 4 r D in the factored form."""
        dimension = check_integer("dimension", dimension)
        return 4 * (self.rank or dimension) * dimension if self.factored else 2 * dimension**2

    def groups(self, dimension: int) -> dict[str, Group]:
        """The matrices V, W (factored: W_V, W_O, W_K, W_Q); fan-in D, of W_O the rank."""
        names = ("W_V", "W_O", "W_K", "W_Q") if self.factored else ("V", "W")
        size, r = self.n_parameters(dimension) // len(names), self.rank or dimension
        fan_in = [r if name == "W_O" else dimension for name in names]
        return {name: Group(slice(i * size, (i + 1) * size), fan_in[i]) for i, name in enumerate(names)}

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

    def compiled(self, dimension: int) -> Compiled:
        """V and the transpose of W, of the kernels for attention (see :class:`wflow.encoders.Compiled`)."""
        from wflow.kernels.pairs import KINDS

        V, W = np.arange(2 * dimension**2).reshape(2, dimension, dimension)
        order = np.concatenate([V.ravel(), W.T.ravel()])[None]
        linear = self.groups(dimension)["W_O" if self.factored else "V"].place
        full = Compiled("attention", (KINDS["softmax"], 0), order, 1, linear)
        if not self.factored:
            return full
        # Not lambdas: objectives travel to other processes.
        numbers, pull_back = (partial(f, dimension=dimension) for f in (self._numbers, self._pull_back))
        return replace(full, numbers=numbers, pull_back=pull_back)

    def _numbers(self, parameters: Array, dimension: int) -> Array:
        """V and W (..., 2 D^2) of factored heads."""
        return _side_by_side(*self.matrices(parameters, dimension))

    def _pull_back(self, parameters: Array, matrices_bar: Array, dimension: int) -> Array:
        """The derivative by the factors from that by V and W (..., 2 D^2).

        V = W_O W_V: ``W_V_bar = W_O^T V_bar``, ``W_O_bar = V_bar W_V^T``; W = W_K^T W_Q: ``W_K_bar = W_Q W_bar^T``,
        ``W_Q_bar = W_K W_bar``.
        """
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
