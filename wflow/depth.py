"""Depth rules: how the tokens travel through the blocks, as data.

A rule is a straight-line program. *States* ``T_0 = H, T_1, ...`` are token arrays; every state but the first starts
from an earlier one, its *base*. *Evaluations* apply one averaged encoder at a state and add a multiple of the result to
later states:

    T_j = T_base(j) + sum over evaluations e with target j of  coefficient_e,j * mean_e(T_input(e))

The adjoint is the exact transpose of this program, so that gradients are those of the discrete objective to round-off,
whatever the rule. For the encoders of wflow itself both are compiled, kernels and all (:mod:`wflow.kernels.depth`).

===============  ==================================  =================================  ==============
rule             measures sit at                     depth weights                      order in 1/L
===============  ==================================  =================================  ==============
``split-euler``  l / L                               1/L                                1 (the finite Transformer)
``midpoint``     (l + 1/2) / L                       1/L                                2
``rk4-nodes``    0, 1/2, 1, 3/2, ... over L          (1, 4, 2, 4, ..., 2, 4, 1)/(6 L)   4
===============  ==================================  =================================  ==============

>>> rule = depth_rule("rk4-nodes", 2)
>>> rule.nodes, rule.weights * 12
(array([0.  , 0.25, 0.5 , 0.75, 1.  ]), array([1., 4., 2., 4., 1.]))
"""

from __future__ import annotations

__all__ = ["DEPTH_RULES", "Cut", "DepthRule", "Evaluation", "depth_rule"]

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_choice, check_integer

Array = NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """One averaged encoder, applied at one state.

    ``block`` is ``"theta"`` (attention) or ``"w"`` (feed-forward), ``slice`` the depth slice of the measure that it
    reads, ``targets`` the later states to which it adds, with coefficients.
    """

    block: str
    slice: int
    targets: tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False)
class DepthRule:
    """A depth rule for L layers. ``stages[j]`` are the evaluations whose input is state j."""

    name: str
    layers: int
    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]
    base: tuple[int, ...]
    stages: tuple[tuple[Evaluation, ...], ...]

    @property
    def n_slices(self) -> int:
        """S, the number of depth nodes."""
        return len(self.nodes)

    def narrow(self, blocks: Collection[str]) -> tuple[bool, ...]:
        """For every state, whether only those of its tokens matter that are read at the end.

        ``blocks`` are those whose encoders treat every token on its own.
        """
        out = [True] * len(self.base)
        for j in range(len(self.base) - 1, -1, -1):
            for evaluation in self.stages[j]:
                out[j] &= evaluation.block in blocks and all(out[target] for target, _ in evaluation.targets)
            if j > 0:
                out[self.base[j]] &= out[j]
        return tuple(out)

    def forward(
        self, tokens: Array, mean: Callable[[Evaluation, Array, Array | None], Array | None], cut: Cut
    ) -> list[Array]:
        """All states, from ``T_0 = tokens``; ``mean(e, T, columns)`` is an encoder's average, or None where it is
        absent. Narrow states, and what is added to no others, have the columns of ``cut`` alone."""
        states: list[Any] = [cut.to(0, tokens)] + [None] * (len(self.base) - 1)
        for j, evaluations in enumerate(self.stages):
            if j > 0:
                base = cut.to(j, states[self.base[j]])
                states[j] = base if states[j] is None else base + states[j]
            for evaluation in evaluations:
                value = mean(evaluation, states[j], cut.asked(j, evaluation))
                if value is not None:
                    for target, coefficient in evaluation.targets:
                        states[target] = _add(states[target], cut.to(target, coefficient * value))
        return states

    def adjoint(
        self,
        states: Sequence[Array],
        cotangent: Array,
        pull: Callable[[Evaluation, Array, Array, Array | None, bool], Array | None],
        cut: Cut,
    ) -> None:
        """Pull the cotangent of the last state back through all evaluations.

        ``pull(e, T, k, columns, wanted)`` is given the cotangent k of an evaluation's result, takes what it wants of it
        for the parameters, and returns the cotangent of T if that is wanted (None where the encoder is absent).
        """
        bars: list[Any] = [None] * (len(self.base) - 1) + [cotangent]
        for j in range(len(self.base) - 1, -1, -1):
            for evaluation in reversed(self.stages[j]):
                k, columns = None, cut.asked(j, evaluation)
                for target, coefficient in evaluation.targets:
                    bar = bars[target] if columns is not None else cut.back(j, target, bars[target])
                    k = _add(k, coefficient * bar)
                bars[j] = _add(bars[j], pull(evaluation, states[j], k, columns, j > 0))  # type: ignore[arg-type]
            if j > 0:
                bars[self.base[j]] = _add(bars[self.base[j]], cut.back(self.base[j], j, bars[j]))


@dataclass(frozen=True, eq=False)
class Cut:
    """Which states are narrow, and the columns that those have, of n."""

    narrow: tuple[bool, ...]
    columns: NDArray[np.intp]
    n_tokens: int

    def to(self, state: int, array: Array) -> Array:
        """What a state takes of an array, all of whose tokens are there or only the columns."""
        wide = array.shape[2] == self.n_tokens and len(self.columns) < self.n_tokens
        return array[:, :, self.columns] if self.narrow[state] and wide else array

    def asked(self, state: int, evaluation: Evaluation) -> Array | None:
        """The columns that an evaluation at a wide state is asked for, None for all that the state has."""
        targets = all(self.narrow[target] for target, _ in evaluation.targets)
        return self.columns if targets and not self.narrow[state] else None

    def back(self, state: int, later: int, bar: Array) -> Array:
        """The cotangent of a later state as one of an earlier state: zero at the tokens that it does not have."""
        if self.narrow[state] or not self.narrow[later]:
            return bar
        whole = np.zeros((*bar.shape[:2], self.n_tokens), bar.dtype)
        whole[:, :, self.columns] = bar
        return whole


def _add(total: Array | None, term: Array | None) -> Array | None:
    if total is None or term is None:
        return term if total is None else total
    return total + term


def _split_euler(layers: int) -> DepthRule:
    """``T^{l+1/2} = T^l + f/(2L)``, ``T^{l+1} = T^{l+1/2} + h/(2L)``: the Transformer itself."""
    half = 0.5 / layers
    stages: list[tuple[Evaluation, ...]] = []
    for l in range(layers):
        stages.append((Evaluation("theta", l, ((2 * l + 1, half),)),))
        stages.append((Evaluation("w", l, ((2 * l + 2, half),)),))
    base = tuple(range(-1, 2 * layers))
    return DepthRule(
        "split-euler", layers, np.arange(layers) / layers, np.full(layers, 1 / layers), base, (*stages, ())
    )


def _pair(slice_: int, *targets: tuple[int, float]) -> tuple[Evaluation, Evaluation]:
    """``g = (f + h)/2`` at one state."""
    halves = tuple((target, 0.5 * coefficient) for target, coefficient in targets)
    return Evaluation("theta", slice_, halves), Evaluation("w", slice_, halves)


def _midpoint(layers: int) -> DepthRule:
    """``T^{l+1} = T^l + g(T^l + g(T^l)/(2L))/L`` with one measure a layer."""
    step = 1 / layers
    stages: list[tuple[Evaluation, ...]] = []
    base = [-1]
    for l in range(layers):
        start = 2 * l
        stages += [_pair(l, (start + 1, step / 2)), _pair(l, (start + 2, step))]
        base += [start, start]
    nodes = (np.arange(layers) + 0.5) / layers
    return DepthRule("midpoint", layers, nodes, np.full(layers, step), tuple(base), (*stages, ()))


def _rk4_nodes(layers: int) -> DepthRule:
    """Classical Runge-Kutta of order 4, with a measure at every stage's depth."""
    step = 1 / layers
    stages: list[tuple[Evaluation, ...]] = []
    base = [-1]
    for l in range(layers):
        start, end = 4 * l, 4 * l + 4
        stages += [
            _pair(2 * l, (start + 1, step / 2), (end, step / 6)),
            _pair(2 * l + 1, (start + 2, step / 2), (end, step / 3)),
            _pair(2 * l + 1, (start + 3, step), (end, step / 3)),
            _pair(2 * l + 2, (end, step / 6)),
        ]
        base += [start] * 4
    nodes = np.arange(2 * layers + 1) / (2 * layers)
    weights = np.full(2 * layers + 1, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    return DepthRule("rk4-nodes", layers, nodes, weights / (6 * layers), tuple(base), (*stages, ()))


DEPTH_RULES: dict[str, Callable[[int], DepthRule]] = {
    "split-euler": _split_euler,
    "midpoint": _midpoint,
    "rk4-nodes": _rk4_nodes,
}


def depth_rule(name: str, layers: int) -> DepthRule:
    """The depth rule of this name for L layers.

    Raises
    ------
    InputError
        For another name, or unless ``layers`` is a positive integer.
    """
    return DEPTH_RULES[check_choice("depth", name, DEPTH_RULES)](check_integer("layers", layers))
