"""The program by compiled kernels, for encoders that have a compiled form."""

from __future__ import annotations

__all__ = ["CompiledExecutor"]

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from wflow.encoders.compiled import Packed, Passes, program_arrays
from wflow.encoders.protocol import Encoder, optional
from wflow.measures import Measure
from wflow.network.program import Program

Array = NDArray[Any]


class CompiledExecutor:
    """Runs a program by one compiled pass (see :mod:`wflow.kernels.depth`).

    Parameters
    ----------
    program, encoders
        The program, and the encoders of its blocks, each with a compiled form.
    dimension
        D.
    """

    threads = True

    def __init__(self, program: Program, encoders: Mapping[str, Encoder], dimension: int) -> None:
        blocks = list(encoders)
        calls = [
            (call.state, blocks.index(call.block), call.slice, call.queries, call.targets) for call in program.calls
        ]
        widths = [len(kept) for kept in program.tokens]
        arrays = program_arrays(program.base, program.base_places, widths, calls)
        self.forms = {block: optional(encoder, "compiled")(dimension) for block, encoder in encoders.items()}
        self.passes = Passes(*arrays, list(self.forms.values()), dimension)
        self.tokens = program.tokens[0]

    def load(self, rho: Measure) -> list[Packed]:
        """The particles as the passes read them."""
        return [Packed.of(form, rho.points(block), rho.weights(block)) for block, form in self.forms.items()]

    def sums(self, particles: list[Packed], pairings: bool) -> list[Array]:
        """Memory for the derivatives by the particles of every block; pairings need no other."""
        return [packed.sums() for packed in particles]

    def forward(self, particles: list[Packed], tokens: Array) -> list[Array]:
        """All states, from tokens (B, D, n) on, in one array."""
        flat = self.passes.empty(tokens if len(self.tokens) == tokens.shape[2] else tokens[:, :, self.tokens])
        self.passes.forward(particles, flat)
        return self.passes.states(flat)

    def adjoint(self, particles: list[Packed], states: list[Array], cotangent: Array, sums: list[Array]) -> None:
        """Pull the cotangent of the last state back, and add what the particles take of it to the sums."""
        flat = states[0].base
        assert flat is not None, "the states of forward lie in one array"
        self.passes.adjoint(particles, flat, cotangent, sums)

    def gradient(self, particles: list[Packed], sums: list[Array]) -> dict[str, Array]:
        """The derivatives (S, M, p) by block."""
        return {block: packed.gradient(total) for block, packed, total in zip(self.forms, particles, sums)}

    def pairings(self, particles: list[Packed], sums: list[Array]) -> dict[str, Array]:
        """``sum_b <f(T_b, beta_j), cotangent_b>`` (S, M) by block: f is linear in some of the parameters."""
        gradient = self.gradient(particles, sums)
        return {block: p.form.pairing(p.parameters, gradient[block]) for block, p in zip(self.forms, particles)}
