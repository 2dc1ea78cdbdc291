"""Feed-forward particles."""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "FeedForward"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.encoders.layout import aligned_zeros, from_lanes, groups_of, plain, to_lanes
from wflow.errors import InputError

Array = NDArray[Any]

#: The activations, by name; ``huberized-relu`` is 0, x^2/2, x - 1/2 on x <= 0, 0 <= x <= 1, x >= 1.
ACTIVATIONS = ("identity", "relu", "huberized-relu", "tanh", "gelu")


@dataclass(frozen=True)
class FeedForward:
    """Feed-forward particles ``h(Z, w) = W_2 act(W_1 Z)`` with m hidden units (Gao et al. 2024, section 2).

    ``w = (W_1 (m x D), W_2 (D x m))``, row-major in this order. With ``bias``, W_1 is m x (D + 1) and its last column
    multiplies a constant one. At a kink the derivative is that from the left (relu: 0 at 0).

    Parameters
    ----------
    activation
        One of identity, relu, huberized-relu, tanh, gelu (``x Phi(x)``, exact).
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

    activation: str = "relu"
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

    def _neurons(self, parameters: Array, dimension: int) -> tuple[Array, Array]:
        """Inner weights (M m, D or D + 1) and outer weights (M m, D): a particle is m neurons that share its mass."""
        m, inner = self.hidden, dimension + self.bias
        W_1, W_2 = parameters[:, : m * inner], parameters[:, m * inner :]
        return W_1.reshape(-1, inner), W_2.reshape(-1, dimension, m).swapaxes(1, 2).reshape(-1, dimension)

    def _packed(self, tokens: Array, parameters: Array, weights: Array) -> tuple[Array, Array, Array, int]:
        from wflow.kernels.feedforward import ACTIVATIONS as CODES
        from wflow.kernels.lanes import n_lanes

        lanes = n_lanes(tokens.dtype)
        A, C = self._neurons(parameters.astype(tokens.dtype, copy=False), tokens.shape[1])
        a = np.repeat(weights.astype(tokens.dtype), self.hidden)[:, None]
        return (
            to_lanes(A, lanes),
            to_lanes(C, lanes),
            to_lanes(a, lanes),
            CODES[self.activation],
        )

    def _groups(self, tokens: Array, width: int) -> int:
        return groups_of(len(tokens), 2 * tokens.size * width * self.hidden)

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        """``sum_j a_j h(T_b, w_j)``, shape (B, D, n)."""
        from wflow.kernels.feedforward import feedforward_mean

        tokens = plain(tokens)
        out = np.empty_like(tokens)
        feedforward_mean(tokens, *self._packed(tokens, parameters, weights), out, self._groups(tokens, len(parameters)))
        return out

    def _transpose(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, ...]:
        from wflow.kernels.feedforward import feedforward_vjp

        tokens, cotangent = plain(tokens), plain(cotangent)
        A, C, a, code = self._packed(tokens, parameters, weights)
        tokens_bar, groups = np.empty_like(tokens), self._groups(tokens, len(parameters))
        A_bar, C_bar = (aligned_zeros((groups, *x.shape), x.dtype) for x in (A, C))
        feedforward_vjp(tokens, A, C, a, code, cotangent, tokens_bar, A_bar, C_bar)
        units = len(parameters) * self.hidden
        return tokens_bar, from_lanes(A_bar.sum(axis=0), units), from_lanes(C_bar.sum(axis=0), units)

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        """The transpose of :meth:`mean` (see :class:`wflow.encoders.Encoder`)."""
        tokens_bar, A_bar, C_bar = self._transpose(tokens, parameters, weights, cotangent)
        width = len(parameters)
        W_2_bar = C_bar.reshape(width, self.hidden, -1).swapaxes(1, 2)
        return tokens_bar, np.concatenate([A_bar.reshape(width, -1), W_2_bar.reshape(width, -1)], axis=1)

    def pairing(self, tokens: Array, parameters: Array, cotangent: Array) -> Array:
        """``sum_b <h(T_b, w_j), cotangent_b> = <W_2, sum_b p act(U)^T>``: h is linear in W_2. Shape (M,)."""
        _, _, C_bar = self._transpose(tokens, parameters, np.zeros(len(parameters)), cotangent)
        _, C = self._neurons(parameters, tokens.shape[1])
        out: Array = np.einsum("ui,ui->u", C, C_bar).reshape(len(parameters), self.hidden).sum(axis=1)
        return out
