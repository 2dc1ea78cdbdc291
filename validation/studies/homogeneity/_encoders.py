"""The encoders of this study, and the Transformers made of them."""

from __future__ import annotations

__all__ = ["ALONE", "HOMOGENEOUS", "NEURONS", "SIZES", "D", "encoders", "is_linear", "norms", "outer_of", "transformer"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow
from wflow.encoders import ACTIVATIONS, Group

Array = NDArray[np.float64]
Scalar = Callable[[Array], Array]

#: The dimension of tokens.
D = 4
#: The kinds of outer weights that are not linear: their size b.
SIZES = {"bounded, b = 1": 1.0, "bounded, b = 1/4": 0.25, "frozen, b = 1": 1.0, "frozen, b = 1/4": 0.25}
NEURONS = tuple(name for name in ACTIVATIONS if name != "identity")
HOMOGENEOUS = (*NEURONS, "linear attention")
ALONE = "tanh neurons alone"


@dataclass(frozen=True)
class Through:
    """An encoder whose outer weights enter through a function of one number, applied to every entry."""

    base: Any
    function: Scalar
    slope: Scalar

    def n_parameters(self, dimension: int) -> int:
        return int(self.base.n_parameters(dimension))

    def groups(self, dimension: int) -> dict[str, Group]:
        groups: dict[str, Group] = self.base.groups(dimension)
        return groups

    def _inside(self, parameters: Array, dimension: int) -> tuple[Array, slice]:
        outer, inside = outer_of(self, dimension), parameters.copy()
        inside[:, outer] = self.function(parameters[:, outer])
        return inside, outer

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        out: Array = self.base.mean(tokens, self._inside(parameters, tokens.shape[1])[0], weights)
        return out

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        inside, outer = self._inside(parameters, tokens.shape[1])
        tokens_bar, bar = self.base.vjp(tokens, inside, weights, cotangent)
        bar[:, outer] *= self.slope(parameters[:, outer])
        return tokens_bar, bar


def outer_of(encoder: Any, dimension: int = D) -> slice:
    """Where the outer weights are."""
    groups: dict[str, Group] = encoder.groups(dimension)
    return groups["V" if "V" in groups else "W_2"].place


def _through(base: Any, name: str) -> Through:
    """The encoder with outer weights that are bounded by b or frozen."""
    b = SIZES[name]
    if name.startswith("bounded"):
        return Through(base, lambda c: b * np.tanh(c / b), lambda c: 1 - np.tanh(c / b) ** 2)
    return Through(base, lambda c: b * np.sign(c), np.zeros_like)


def encoders() -> dict[str, Any]:
    """All that are tested, one by one."""
    attention = {"softmax attention": wflow.SoftmaxAttention(), "linear attention": wflow.Attention("linear")}
    neurons = {f"{name} neurons": wflow.FeedForward(name) for name in NEURONS}
    nonlinear = {}
    for kind in ("bounded, b = 1", "frozen, b = 1"):
        nonlinear[f"attention, V {kind}"] = _through(wflow.SoftmaxAttention(), kind)
        nonlinear[f"tanh neurons, c {kind}"] = _through(wflow.FeedForward("tanh"), kind)
    return attention | neurons | nonlinear


def is_linear(name: str) -> bool:
    """Whether the outer weights of an encoder enter linearly."""
    return "bounded" not in name and "frozen" not in name


def transformer(name: str) -> tuple[Any, Any]:
    """Attention and neurons."""
    if name in SIZES:
        return _through(wflow.SoftmaxAttention(), name), _through(wflow.FeedForward("tanh"), name)
    if name == ALONE:
        return None, wflow.FeedForward("tanh")
    if name == "linear attention":
        return wflow.Attention("linear"), wflow.FeedForward("relu")
    return wflow.SoftmaxAttention(), wflow.FeedForward(name)


def norms(x: Array) -> Array:
    """Over all but the first axis."""
    return np.asarray(np.sqrt(np.sum(x.reshape(len(x), -1) ** 2, axis=1)))
