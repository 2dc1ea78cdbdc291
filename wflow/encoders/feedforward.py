"""Feed-forward particles."""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "FeedForward"]

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from wflow.encoders.layout import InRegisters, plain, workspace
from wflow.encoders.protocol import ByPacking, widened
from wflow.errors import InputError

Array = NDArray[Any]

#: The activations, by name. ``huberized-relu`` is 0, x^2/2, x - 1/2 on x <= 0, 0 <= x <= 1, x >= 1; ``gelu`` is
#: x Phi(x) with the normal distribution function, ``silu`` x sigmoid(x), ``elu`` e^x - 1 for x <= 0 and x beyond,
#: ``softplus`` log(1 + e^x).
ACTIVATIONS = ("identity", "relu", "huberized-relu", "tanh", "gelu", "sigmoid", "silu", "elu", "softplus")


@dataclass(frozen=True)
class FeedForward(ByPacking):
    """Feed-forward particles ``h(Z, w) = W_2 act(W_1 Z)`` with m hidden units (Gao et al. 2024, section 2).

    ``w = (W_1 (m x D), W_2 (D x m))``, row-major in this order. With ``bias``, W_1 is m x (D + 1) and its last column
    multiplies a constant one. At a kink the derivative is that from the left (relu: 0 at 0).

    Parameters
    ----------
    activation
        One of identity, relu, huberized-relu, tanh, gelu (``x Phi(x)``, exact), sigmoid, silu (``x sigmoid(x)``),
        elu (``e^x - 1`` for ``x <= 0``, x beyond), softplus (``log(1 + e^x)``).
    hidden
        m, the number of hidden units of one particle.
    bias
        Whether units have a bias. Prompts with a row of ones need none.

    Raises
    ------
    InputError
        For another activation, or unless ``hidden`` is a positive integer.

    Examples
    --------
    >>> neuron = FeedForward("relu", bias=True)
    >>> w = np.array([[2.0, -1.0, 5.0]])  # W_1 = (2, bias -1), W_2 = 5
    >>> neuron.mean(np.array([[[1.0, 0.0]]]), w, np.ones(1))
    array([[[5., 0.]]])
    """

    activation: Annotated[str, ACTIVATIONS] = "relu"
    hidden: int = 1
    bias: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if not isinstance(self.hidden, (int, np.integer)) or isinstance(self.hidden, bool) or self.hidden < 1:
            raise InputError(f"hidden must be a positive integer, got {self.hidden!r}")

    def n_parameters(self, dimension: int) -> int:
        """m (2 D), or m (2 D + 1) with bias."""
        return self.hidden * (2 * dimension + self.bias)

    def groups(self, dimension: int) -> dict[str, slice]:
        """Where the matrices W_1, W_2 are among the p parameters."""
        inner = self.hidden * (dimension + self.bias)
        return {"W_1": slice(0, inner), "W_2": slice(inner, self.n_parameters(dimension))}

    def packed(self, parameters: Array, weights: Array, dimension: int) -> PackedNeurons:
        """Neurons (S, M, p) with weights (S, M) in the kernels' layout: a particle is m neurons that share its mass."""
        from wflow.kernels.feedforward import BLOCK

        inner, outer = self.groups(dimension).values()
        places = np.arange(self.n_parameters(dimension))
        rows = places[inner].reshape(self.hidden, -1), places[outer].reshape(dimension, self.hidden).T
        order = np.concatenate(rows, axis=1)
        return PackedNeurons(self, dimension, InRegisters.of(parameters, weights, order, BLOCK))


@dataclass(frozen=True, eq=False)
class PackedNeurons:
    """The neurons of all slices in the kernels' layout (see :class:`wflow.encoders.protocol.Packed`)."""

    encoder: FeedForward
    dimension: int
    neurons: InRegisters

    def _given(self, l: int) -> tuple[Any, ...]:
        """What the kernels are told of slice l."""
        from wflow.kernels.feedforward import ACTIVATIONS as CODES

        return self.neurons.registers[l], int(self.encoder.bias), CODES[self.encoder.activation]

    def _workspace(self, tokens: Array) -> Array:
        from wflow.kernels.feedforward import feedforward_space

        lanes = self.neurons.registers.shape[-1]
        *_, size = feedforward_space(*tokens.shape, lanes)
        return workspace(size, lanes, tokens.dtype)

    def mean(self, l: int, tokens: Array, columns: Array | None = None) -> Array:
        from wflow.kernels.feedforward import feedforward_mean

        tokens = plain(tokens if columns is None else tokens[:, :, columns])
        out = np.empty_like(tokens)
        feedforward_mean(tokens, *self._given(l), self._workspace(tokens), out)
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
        from wflow.kernels.feedforward import feedforward_vjp

        asked, cotangent = plain(tokens if columns is None else tokens[:, :, columns]), plain(cotangent)
        bar = np.empty((len(asked) if wanted else 0, *asked.shape[1:]), tokens.dtype)
        feedforward_vjp(asked, *self._given(l), cotangent, self._workspace(asked), bar, sums[0][l])
        if not wanted or columns is None:
            return bar if wanted else None
        return widened(bar, columns, tokens.shape[2])

    def sums(self, count: int) -> tuple[Array, ...]:
        return (self.neurons.sums(count),)

    def slope(self, sums: tuple[Array, ...]) -> Array:
        return self.neurons.total(sums[0])

    def paired(self, sums: tuple[Array, ...]) -> Array:
        """``<W_2, sum_b p act(U)^T>``: h is linear in W_2."""
        W_2 = self.encoder.groups(self.dimension)["W_2"]
        out: Array = np.einsum("smi,smi->sm", self.neurons.points[..., W_2], self.slope(sums)[..., W_2])
        return out
