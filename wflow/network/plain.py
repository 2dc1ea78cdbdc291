"""The program in numpy, for any encoder: what the compiled executor must agree with."""

from __future__ import annotations

__all__ = ["PlainExecutor"]

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.encoders.protocol import Encoder, pairing
from wflow.measures import Measure
from wflow.network.program import Program, ProgramCall

Array = NDArray[Any]


class PlainExecutor:
    """Runs a program by the methods ``mean`` and ``vjp`` of its encoders, call by call.

    Parameters
    ----------
    program, encoders
        The program, and the encoders of its blocks.
    """

    #: Encoders of users may not be made for several threads.
    threads = False

    def __init__(self, program: Program, encoders: Mapping[str, Encoder]) -> None:
        self.program, self.encoders = program, encoders

    def load(self, rho: Measure) -> Measure:
        """The particles as the passes read them."""
        return rho

    def sums(self, rho: Measure, pairings: bool) -> list[Array]:
        """Memory for the derivatives by the particles of every block and, on demand, for its pairings (S, M)."""
        shapes = [rho.points(block).shape for block in rho.blocks]
        return [np.empty(shape, rho.dtype) for shape in shapes] + [np.empty(shape[:2]) for shape in shapes if pairings]

    def forward(self, rho: Measure, tokens: Array) -> list[Array]:
        """All states, from tokens (B, D, n) on."""
        program = self.program
        states: list[Array] = [tokens[:, :, program.tokens[0]]]
        for kept in program.tokens[1:]:
            states.append(np.zeros((*tokens.shape[:2], len(kept)), tokens.dtype))
        calls = iter(program.calls)
        call = next(calls, None)
        for j, state in enumerate(states):
            if j > 0:
                state += states[program.base[j]][:, :, program.base_places[j]]
            while call is not None and call.state == j:
                mean = self.encoders[call.block].mean(self._whole(state, j), *_slice(rho, call))
                out = mean[:, :, program.tokens[j][call.queries]]
                for target in call.targets:
                    states[target.state] += target.coefficient * out[:, :, target.places]
                call = next(calls, None)
        return states

    def adjoint(self, rho: Measure, states: list[Array], cotangent: Array, sums: list[Array]) -> None:
        """Pull the cotangent of the last state back, and add what the particles take of it to the sums."""
        program, blocks = self.program, list(rho.blocks)
        bars = [np.zeros_like(state) for state in states]
        bars[-1][...] = cotangent
        calls = list(program.calls)
        for j in range(len(states) - 1, -1, -1):
            while calls and calls[-1].state == j:
                call = calls.pop()
                encoder, i, kept = self.encoders[call.block], blocks.index(call.block), program.tokens[j]
                T, p = self._whole(states[j], j), np.zeros((*cotangent.shape[:2], program.n_tokens), cotangent.dtype)
                for target in call.targets:
                    p[:, :, kept[call.queries][target.places]] += target.coefficient * bars[target.state]
                T_bar, bar = encoder.vjp(T, *_slice(rho, call), p)
                bars[j] += T_bar[:, :, kept]
                sums[i][call.slice] += bar
                if len(sums) > len(blocks):
                    sums[len(blocks) + i][call.slice] += pairing(encoder, T, rho.points(call.block)[call.slice], p)
            if j > 0:
                bars[program.base[j]][:, :, program.base_places[j]] += bars[j]

    def gradient(self, rho: Measure, sums: list[Array]) -> dict[str, Array]:
        """The derivatives (S, M, p) by block."""
        return dict(zip(rho.blocks, sums))

    def pairings(self, rho: Measure, sums: list[Array]) -> dict[str, Array]:
        """``sum_b <f(T_b, beta_j), cotangent_b>`` (S, M) by block."""
        return dict(zip(rho.blocks, sums[len(rho.blocks) :]))

    def _whole(self, state: Array, j: int) -> Array:
        """A state with all n tokens, zero where it keeps none: places mean something to an encoder."""
        kept = self.program.tokens[j]
        if len(kept) == self.program.n_tokens:
            return state
        whole = np.zeros((*state.shape[:2], self.program.n_tokens), state.dtype)
        whole[:, :, kept] = state
        return whole


def _slice(rho: Measure, call: ProgramCall) -> tuple[Array, Array]:
    """The particles (M, p) and weights (M,) that a call averages over."""
    return rho.points(call.block)[call.slice], rho.weights(call.block)[call.slice]
