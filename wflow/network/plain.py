"""The program, call by call."""

from __future__ import annotations

__all__ = ["PlainExecutor"]

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.measures import Measure
from wflow.network.blocks import Block, taken
from wflow.network.program import Program

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
        states = [taken(tokens, program.tokens[0])]
        states += [np.zeros((*tokens.shape[:2], len(kept)), tokens.dtype) for kept in program.tokens[1:]]
        calls = list(reversed(program.calls))
        for j, state in enumerate(states):
            if j > 0:
                state += taken(states[program.base[j]], program.base_places[j])
            while calls and calls[-1].state == j:
                call = calls.pop()
                out = self.blocks[call.block].mean(particles[self.places[call.block]], call, state)
                for target in call.targets:
                    states[target.state] += target.coefficient * taken(out, target.places)
        return states

    def adjoint(self, particles: list[Any], states: list[Array], cotangent: Array, sums: list[list[Array]]) -> None:
        """Pull the cotangent of the last state back, and add what the particles take of it to the sums."""
        program = self.program
        bars = [np.zeros_like(state) for state in states]
        bars[-1][...] = cotangent
        calls = list(program.calls)
        for j in range(len(states) - 1, -1, -1):
            while calls and calls[-1].state == j:
                call = calls.pop()
                # The cotangent of the result: p = sum of the targets' coefficient T_bar_target.
                p = np.zeros((*cotangent.shape[:2], len(call.queries)), cotangent.dtype)
                for target in call.targets:
                    _add_to(p, target.places, target.coefficient * bars[target.state])
                i = self.places[call.block]
                T_bar = self.blocks[call.block].vjp(particles[i], call, states[j], p, sums[i], j > 0)
                if T_bar is not None:
                    bars[j] += T_bar
            if j > 0:
                _add_to(bars[program.base[j]], program.base_places[j], bars[j])

    def gradient(self, particles: list[Any], sums: list[list[Array]]) -> dict[str, Array]:
        """The derivatives (S, M, p) by block."""
        return {name: block.gradient(*x) for (name, block), *x in zip(self.blocks.items(), particles, sums)}

    def pairings(self, particles: list[Any], sums: list[list[Array]]) -> dict[str, Array]:
        """``sum_b <f(T_b, beta_j), p_b>`` (S, M) by block."""
        return {name: block.pairings(*x) for (name, block), *x in zip(self.blocks.items(), particles, sums)}


def _add_to(total: Array, places: NDArray[np.int64], term: Array) -> None:
    """Add to some tokens: the transpose of :func:`wflow.network.blocks.taken`."""
    if len(places) == total.shape[2]:
        total += term
    else:
        total[:, :, places] += term
