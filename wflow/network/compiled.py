"""The program as one compiled pass, where all blocks have a compiled form."""

from __future__ import annotations

__all__ = ["CompiledExecutor"]

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from wflow.encoders.compiled import Packed, Passes, program_arrays
from wflow.network.blocks import CompiledBlock, taken
from wflow.network.plain import PlainExecutor
from wflow.network.program import Program

Array = NDArray[Any]


class CompiledExecutor(PlainExecutor):
    """Runs a program by :mod:`wflow.kernels.depth`."""

    threads = True

    def __init__(self, program: Program, blocks: Mapping[str, CompiledBlock]) -> None:
        super().__init__(program, blocks)
        calls = [
            (c.state, self.places[c.block], c.slice, c.queries, blocks[c.block].sees(c), c.targets)
            for c in program.calls
        ]
        arrays = program_arrays(program.base, program.base_places, [len(kept) for kept in program.tokens], calls)
        forms = [block.form for block in blocks.values()]
        self.passes = Passes(*arrays, forms, next(iter(blocks.values())).dimension, program.n_tokens)

    def forward(self, particles: list[Packed], tokens: Array) -> list[Array]:
        """All states, from tokens (B, D, n) on, in one array."""
        flat = self.passes.empty(taken(tokens, self.program.tokens[0]))
        self.passes.forward(particles, flat)
        return [self.passes.state(flat, j) for j in range(len(self.program.tokens))]

    def adjoint(
        self, particles: list[Packed], states: list[Array], cotangent: Array, sums: list[list[Array]]
    ) -> list[Array]:
        """Pull the cotangent of the last state back, and add what the particles take of it to the sums.

        Returns the cotangents of all states, of which that of the first is not complete.
        """
        flat = states[0].base
        assert flat is not None, "the states of forward lie in one array"
        bars = self.passes.adjoint(particles, flat, cotangent, [arrays[0] for arrays in sums])
        return [self.passes.state(bars, j) for j in range(len(states))]
