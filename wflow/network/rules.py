"""Depth rules: how the tokens travel through the blocks, as data.

A rule is a straight-line program. *States* ``T_0 = H, T_1, ...`` are token arrays; every state but the first starts
from an earlier one, its *base*. *Calls* apply one averaged encoder at a state and add a multiple of the result to
later states:

    T_j = T_base(j) + sum over calls e with target j of  coefficient_e,j * mean_e(T_state(e))

===============  ==================================  =================================  ==============
rule             measures sit at                     depth weights                      order in 1/L
===============  ==================================  =================================  ==============
``split-euler``  l / L                               1/L                                1 (the finite Transformer)
``midpoint``     (l + 1/2) / L                       1/L                                2
``rk4-nodes``    0, 1/2, 1, 3/2, ... over L          (1, 4, 2, 4, ..., 2, 4, 1)/(6 L)   4
===============  ==================================  =================================  ==============

>>> rule = depth_rule("rk4-nodes", 2)
>>> rule.order, rule.nodes, rule.weights * 12
(4, array([0.  , 0.25, 0.5 , 0.75, 1.  ]), array([1., 4., 2., 4., 1.]))
"""

from __future__ import annotations

__all__ = ["DEPTH_RULES", "Call", "DepthRule", "depth_rule"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_choice, check_integer, check_memory

#: About what a call takes in a rule and in the programs made of it.
CALL_BYTES = 4000


@dataclass(frozen=True)
class Call:
    """One averaged encoder, applied at one state.

    ``block`` is ``"theta"`` or ``"w"``, ``slice`` the depth slice of the measure that it reads, ``state`` the state at
    which it is applied, ``targets`` the later states to which it adds, with coefficients.
    """

    block: str
    slice: int
    state: int
    targets: tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False)
class DepthRule:
    """A depth rule for L layers: ``base`` by state (-1 for the first), and calls in the order of their states.

    ``order`` is that of its error in 1/L. The S measures sit at ``nodes``, with the weights ``weights`` in depth.
    """

    name: str
    order: int
    layers: int
    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]
    base: tuple[int, ...]
    calls: tuple[Call, ...]

    @property
    def n_slices(self) -> int:
        """S, the number of depth nodes."""
        return len(self.nodes)


def _split_euler(layers: int) -> DepthRule:
    """``T^{l+1/2} = T^l + f/(2L)``, ``T^{l+1} = T^{l+1/2} + h/(2L)``: the Transformer itself."""
    half = 0.5 / layers
    calls = [
        Call(block, l, state, ((state + 1, half),))
        for l in range(layers)
        for block, state in (("theta", 2 * l), ("w", 2 * l + 1))
    ]
    nodes, weights = np.arange(layers) / layers, np.full(layers, 1 / layers)
    return DepthRule("split-euler", 1, layers, nodes, weights, tuple(range(-1, 2 * layers)), tuple(calls))


def _pair(slice_: int, state: int, *targets: tuple[int, float]) -> tuple[Call, Call]:
    """``g = (f + h)/2`` at one state."""
    halves = tuple((target, 0.5 * coefficient) for target, coefficient in targets)
    return Call("theta", slice_, state, halves), Call("w", slice_, state, halves)


def _midpoint(layers: int) -> DepthRule:
    """``T^{l+1} = T^l + g(T^l + g(T^l)/(2L))/L`` with one measure a layer."""
    step = 1 / layers
    calls: list[Call] = []
    base = [-1]
    for l in range(layers):
        start = 2 * l
        calls += [*_pair(l, start, (start + 1, step / 2)), *_pair(l, start + 1, (start + 2, step))]
        base += [start, start]
    nodes = (np.arange(layers) + 0.5) / layers
    return DepthRule("midpoint", 2, layers, nodes, np.full(layers, step), tuple(base), tuple(calls))


def _rk4_nodes(layers: int) -> DepthRule:
    """Classical Runge-Kutta of order 4, with a measure at every stage's depth."""
    step = 1 / layers
    calls: list[Call] = []
    base = [-1]
    for l in range(layers):
        start, end = 4 * l, 4 * l + 4
        calls += [
            *_pair(2 * l, start, (start + 1, step / 2), (end, step / 6)),
            *_pair(2 * l + 1, start + 1, (start + 2, step / 2), (end, step / 3)),
            *_pair(2 * l + 1, start + 2, (start + 3, step), (end, step / 3)),
            *_pair(2 * l + 2, start + 3, (end, step / 6)),
        ]
        base += [start] * 4
    nodes = np.arange(2 * layers + 1) / (2 * layers)
    weights = np.full(2 * layers + 1, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    return DepthRule("rk4-nodes", 4, layers, nodes, weights / (6 * layers), tuple(base), tuple(calls))


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
        For another name, unless ``layers`` is a positive integer, and for more layers than memory has room for.
    """
    rule, layers = DEPTH_RULES[check_choice("depth", name, DEPTH_RULES)], check_integer("layers", layers)
    check_memory(f"{layers} layers", CALL_BYTES * len(rule(1).calls) * layers, "take fewer")
    return rule(layers)
