"""A depth rule with the tokens that matter: the program that both executors run.

What is not read at the end need not be computed. Going back from the tokens that the readout reads, every state keeps
those that later states and calls depend on (:func:`wflow.encoders.protocol.reads`), and every call is asked for its
results at *queries* alone, the tokens that its targets keep.

>>> from wflow.encoders import FeedForward, SoftmaxAttention
>>> from wflow.network.rules import depth_rule
>>> encoders = {"theta": SoftmaxAttention(), "w": FeedForward()}
>>> program = Program.of(depth_rule("split-euler", 2), encoders, np.array([3]), n_tokens=4)
>>> [len(tokens) for tokens in program.tokens]  # attention reads all, the last neurons one
[4, 4, 4, 1, 1]
"""

from __future__ import annotations

__all__ = ["Program", "ProgramCall", "Target"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from wflow.encoders.protocol import Encoder, reads
from wflow.network.rules import DepthRule

Integers = NDArray[np.int64]


class Target(NamedTuple):
    """A state to which a call adds, the coefficient, and the places of the state's tokens among the queries."""

    state: int
    coefficient: float
    places: Integers


class ProgramCall(NamedTuple):
    """A call of a rule; ``queries`` are places among the tokens of its state."""

    block: str
    slice: int
    state: int
    queries: Integers
    targets: tuple[Target, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """States and calls of a network.

    Parameters
    ----------
    tokens
        For every state, which of the n tokens it keeps, in order.
    base
        The state from which each starts; -1 for the first.
    base_places
        Where its tokens are among those of its base.
    calls
        In the order of their states.
    n_tokens
        n.
    """

    tokens: tuple[Integers, ...]
    base: tuple[int, ...]
    base_places: tuple[Integers, ...]
    calls: tuple[ProgramCall, ...]
    n_tokens: int

    @classmethod
    def of(cls, rule: DepthRule, encoders: Mapping[str, Encoder], columns: Integers, n_tokens: int) -> Self:
        """The program of a rule whose last state is read at some columns of n tokens."""
        calls = [call for call in rule.calls if call.block in encoders]
        of_state: dict[int, list[int]] = {}
        for e, call in enumerate(calls):
            of_state.setdefault(call.state, []).append(e)
        needed = [np.zeros(n_tokens, bool) for _ in rule.base]
        needed[-1][columns] = True
        queries: list[Integers] = [columns] * len(calls)
        for j in range(len(needed) - 1, -1, -1):  # what later states need of this one is known
            for e in of_state.get(j, []):
                call = calls[e]
                queries[e] = np.flatnonzero(np.any([needed[target] for target, _ in call.targets], axis=0))
                needed[j][reads(encoders[call.block], queries[e], n_tokens)] = True
            if rule.base[j] >= 0:
                needed[rule.base[j]] |= needed[j]
        tokens = tuple(np.flatnonzero(mask) for mask in needed)
        base_places = tuple(
            np.searchsorted(tokens[base], tokens[j]) if base >= 0 else tokens[j][:0] for j, base in enumerate(rule.base)
        )
        placed = tuple(
            ProgramCall(
                call.block,
                call.slice,
                call.state,
                np.searchsorted(tokens[call.state], at),
                tuple(Target(state, c, np.searchsorted(at, tokens[state])) for state, c in call.targets),
            )
            for call, at in zip(calls, queries)
        )
        return cls(tokens, rule.base, base_places, placed, n_tokens)
