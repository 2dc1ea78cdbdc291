"""The program, call by call."""

from __future__ import annotations

__all__ = ["PlainExecutor", "cotangent_of"]

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.measures import Measure
from wflow.network.blocks import Block, taken
from wflow.network.program import Program, ProgramCall

Array = NDArray[Any]


class PlainExecutor:
    """Runs a program with numpy between the calls, whatever the blocks: what compiled passes must agree with.

    Parameters
    ----------
    program
        States and calls.
    blocks
        By name.
    """

    #: Whether threads may share the work: encoders of users may not be made for several.
    threads = False

    def __init__(self, program: Program, blocks: Mapping[str, Block]) -> None:
        self.program, self.blocks, self.places = program, blocks, {name: i for i, name in enumerate(blocks)}

    def load(self, rho: Measure) -> list[Any]:
        """The particles of all blocks as calls read them."""
        return [block.load(rho.points(name), rho.weights(name)) for name, block in self.blocks.items()]

    def sums(self, particles: list[Any], pairings: bool) -> list[list[Array]]:
        """Memory for derivatives by the particles of every block and, on demand, for pairings."""
        return [block.sums(loaded, pairings) for block, loaded in zip(self.blocks.values(), particles)]

    def forward(self, particles: list[Any], tokens: Array) -> list[Array]:
        """All states, from tokens (B, D, n) on."""
        program = self.program
        states: list[Any] = [taken(tokens, program.tokens[0]), *[None] * (len(program.tokens) - 1)]
        calls = list(reversed(program.calls))
        for j in range(len(states)):
            if j > 0:
                base = taken(states[program.base[j]], program.base_places[j])
                states[j] = base if states[j] is None else base + states[j]
            while calls and calls[-1].state == j:
                call = calls.pop()
                out = self.blocks[call.block].mean(particles[self.places[call.block]], call, states[j])
                for target in call.targets:
                    term = target.coefficient * taken(out, target.places)
                    states[target.state] = term if states[target.state] is None else states[target.state] + term
        return states

    def adjoint(
        self, particles: list[Any], states: list[Array], cotangent: Array, sums: list[list[Array]]
    ) -> list[Array]:
        """Pull the cotangent of the last state back, and add what the particles take of it to the sums.

        Returns the cotangents of all states, of which that of the first is not complete.
        """
        program = self.program
        bars: list[Any] = [*[None] * (len(states) - 1), cotangent]
        calls = list(program.calls)
        for j in range(len(states) - 1, -1, -1):
            width = states[j].shape[2]
            while calls and calls[-1].state == j:
                call = calls.pop()
                i, p = self.places[call.block], cotangent_of(call, bars)
                T_bar = self.blocks[call.block].vjp(particles[i], call, states[j], p, sums[i], j > 0)
                if T_bar is not None:
                    bars[j] = _added(bars[j], np.arange(width), T_bar, width)
            if j > 0:
                base = program.base[j]
                bars[base] = _added(bars[base], program.base_places[j], bars[j], states[base].shape[2])
        return bars

    def gradient(self, particles: list[Any], sums: list[list[Array]]) -> dict[str, Array]:
        """The derivatives (S, M, p) by block."""
        return {name: block.gradient(*x) for (name, block), *x in zip(self.blocks.items(), particles, sums)}

    def pairings(self, particles: list[Any], sums: list[list[Array]]) -> dict[str, Array]:
        """``sum_b <f(T_b, beta_j), p_b>`` (S, M) by block."""
        return {name: block.pairings(*x) for (name, block), *x in zip(self.blocks.items(), particles, sums)}


def cotangent_of(call: ProgramCall, bars: list[Array]) -> Array:
    """The cotangent of the result of a call: ``p = sum of the targets' coefficient T_bar_target``."""
    p: Array | None = None
    for target in call.targets:
        p = _added(p, target.places, target.coefficient * bars[target.state], len(call.queries))
    assert p is not None, "a call has targets"
    return p


def _added(total: Array | None, places: NDArray[np.int64], term: Array, width: int) -> Array:
    """The sum with a term at some of so many tokens: the transpose of :func:`wflow.network.blocks.taken`."""
    if len(places) == width:
        return term if total is None else total + term
    out = np.zeros((*term.shape[:2], width), term.dtype) if total is None else total.copy()
    out[:, :, places] += term
    return out
