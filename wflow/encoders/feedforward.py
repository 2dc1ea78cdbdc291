"""Feed-forward particles."""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "FeedForward"]

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_boolean, check_choice, check_integer
from wflow.encoders.compiled import Compiled, CompiledEncoder
from wflow.encoders.protocol import Group
from wflow.types import PositiveInt

Array = NDArray[Any]

#: The activations, by name. ``huberized-relu`` is 0, x^2/2, x - 1/2 on x <= 0, 0 <= x <= 1, x >= 1; ``gelu`` is
#: x Phi(x) with the normal distribution function, ``silu`` x sigmoid(x), ``elu`` e^x - 1 for x <= 0 and x beyond,
#: ``softplus`` log(1 + e^x).
ACTIVATIONS = ("identity", "relu", "huberized-relu", "tanh", "gelu", "sigmoid", "silu", "elu", "softplus")


@dataclass(frozen=True)
class FeedForward(CompiledEncoder):
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
    hidden: PositiveInt = 1
    bias: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", check_choice("activation", self.activation, ACTIVATIONS))
        object.__setattr__(self, "hidden", check_integer("hidden", self.hidden))
        object.__setattr__(self, "bias", check_boolean("bias", self.bias))

    def n_parameters(self, dimension: int) -> int:
        """m (2 D), or m (2 D + 1) with bias."""
        return self.hidden * (2 * check_integer("dimension", dimension) + self.bias)

    def groups(self, dimension: int) -> dict[str, Group]:
        """The matrices W_1 with fan-in D (with bias D + 1), and W_2 with fan-in m."""
        inner = self.hidden * (dimension + self.bias)
        return {
            "W_1": Group(slice(0, inner), dimension + self.bias),
            "W_2": Group(slice(inner, self.n_parameters(dimension)), self.hidden),
        }

    def reads(self, columns: Array, n_tokens: int) -> Array:
        """The same tokens: every token is treated on its own."""
        return columns

    def compiled(self, dimension: int) -> Compiled:
        """A particle as m hidden units that share its mass (see :class:`wflow.encoders.Compiled`)."""
        from wflow.kernels.feedforward import ACTIVATIONS as CODES
        from wflow.kernels.feedforward import BLOCK

        inner, outer = (group.place for group in self.groups(dimension).values())
        places = np.arange(self.n_parameters(dimension))
        rows = places[inner].reshape(self.hidden, -1), places[outer].reshape(dimension, self.hidden).T
        order = np.concatenate(rows, axis=1)
        return Compiled("feedforward", (int(self.bias), CODES[self.activation]), order, BLOCK, outer)
