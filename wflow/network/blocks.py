"""The particles of one block under the calls of a program: by the methods of any encoder, or by compiled kernels.

Both kinds of blocks have the same methods. *Particles* are what :meth:`load` makes of points (S, M, p) and weights
(S, M); *sums* are arrays to which derivatives are added, in a layout of the block's choice.
"""

from __future__ import annotations

__all__ = ["Block", "CompiledBlock", "Evaluated", "taken"]

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wflow.encoders.compiled import Packed, Passes, aligned_empty
from wflow.encoders.protocol import Encoder, called_mean, called_vjp, optional, pairing
from wflow.network.program import Program, ProgramCall

Array = NDArray[Any]


class Evaluated(NamedTuple):
    """A call with the tokens T (B, D, width) of its state and the cotangents p (rows, D, q) of its results.

    *Rows* are prompts with one cotangent after another, the same number of each: row r belongs to prompt
    ``r // (rows / B)``.
    """

    call: ProgramCall
    tokens: Array
    cotangents: Array


class Block:
    """A block of any encoder, by its methods ``mean`` and ``vjp``, which see all n tokens of a prompt."""

    def __init__(self, encoder: Encoder, program: Program, dimension: int) -> None:
        self.encoder, self.program = encoder, program

    def load(self, points: Array, weights: Array) -> Any:
        """The particles as calls read them."""
        return points, weights

    def sums(self, particles: Any, pairings: bool) -> list[Array]:
        """Memory for the derivatives by the particles and, on demand, for their pairings (S, M)."""
        points, _ = particles
        return [np.empty_like(points)] + [np.empty(points.shape[:2])] * pairings

    def mean(self, particles: Any, call: ProgramCall, T: Array) -> Array:
        """``sum_j a_j f(T_b, beta_j)`` at the queries of a call: (B, D, q) from the tokens that its state keeps."""
        (points, weights), kept = particles, self.program.tokens[call.state]
        out = called_mean(self.encoder, self._whole(T, kept), points[call.slice], weights[call.slice])
        return taken(out, kept[call.queries])

    def vjp(
        self, particles: Any, call: ProgramCall, T: Array, p: Any, sums: list[Array], need_input: bool
    ) -> Array | None:
        """The transpose: adds to the sums, without weights, and returns the cotangent of T if there is need of it."""
        (points, weights), kept, l = particles, self.program.tokens[call.state], call.slice
        T, p = self._whole(T, kept), self._whole(p, kept[call.queries])
        T_bar, bar = called_vjp(self.encoder, T, points[l], weights[l], p)
        sums[0][l] += bar
        if len(sums) > 1:
            sums[1][l] += pairing(self.encoder, T, points[l], p)
        return taken(T_bar, kept)

    def rows(self, particles: Any, calls: Sequence[Evaluated], rows: slice) -> Array:
        """The derivatives (rows, M, p) by the particles of one slice, row by row (see :class:`Evaluated`)."""
        points, _ = particles
        out = np.zeros((rows.stop - rows.start, *points.shape[1:]), points.dtype)
        for call, T, p in calls:
            alone, per = call._replace(slice=0), len(p) // len(T)
            for i, r in enumerate(range(rows.start, rows.stop)):
                self.vjp(particles, alone, T[r // per : r // per + 1], p[r : r + 1], [out[i : i + 1]], False)
        return out

    def gradient(self, particles: Any, sums: list[Array]) -> Array:
        """The derivatives (S, M, p)."""
        return sums[0]

    def pairings(self, particles: Any, sums: list[Array]) -> Array:
        """``sum_b <f(T_b, beta_j), p_b>`` (S, M), for sums that were made for them."""
        return sums[1]

    def _whole(self, array: Array, kept: NDArray[np.int64]) -> Array:
        """Some of n tokens as all of them, zero elsewhere: places mean something to an encoder."""
        if len(kept) == self.program.n_tokens:
            return array
        whole = np.zeros((*array.shape[:2], self.program.n_tokens), array.dtype)
        whole[:, :, kept] = array
        return whole


class CompiledBlock(Block):
    """A block of an encoder with a compiled form, by kernels that see no more tokens than they need."""

    def __init__(self, encoder: Encoder, program: Program, dimension: int) -> None:
        super().__init__(encoder, program, dimension)
        self.form, self.dimension = optional(encoder, "compiled")(dimension), dimension
        self._alone: dict[tuple[int, int], Passes] = {}  # calls one by one

    def load(self, points: Array, weights: Array) -> Packed:
        """The particles in registers."""
        return Packed.of(self.form, points, weights)

    def sums(self, particles: Packed, pairings: bool) -> list[Array]:
        """Memory for the derivatives by the particles; pairings need no other."""
        return [particles.sums()]

    def mean(self, particles: Packed, call: ProgramCall, T: Array) -> Array:
        passes = self._passes(call)
        flat = passes.empty(T)
        passes.forward([particles.slice(call.slice)], flat)
        return passes.state(flat, 1)

    def vjp(
        self, particles: Packed, call: ProgramCall, T: Array, p: Array, sums: list[Array], need_input: bool
    ) -> Array | None:
        passes, l = self._passes(call), call.slice
        bars = passes.adjoint([particles.slice(l)], passes.empty(T), p, [sums[0][l : l + 1]], need_input)
        return passes.state(bars, 0) if need_input else None

    def rows(self, particles: Packed, calls: Sequence[Evaluated], rows: slice) -> Array:
        sums = aligned_empty((rows.stop - rows.start, *particles.registers.shape), particles.registers.dtype)
        sums[...] = 0
        for call, T, p in calls:
            self._passes(call).adjoint_rows(particles, T, p, rows, sums)
        return particles.gradient(sums[:, 0])

    def gradient(self, particles: Packed, sums: list[Array]) -> Array:
        return particles.gradient(sums[0])

    def pairings(self, particles: Packed, sums: list[Array]) -> Array:
        out: Array = self.form.pairing(particles.parameters, particles.gradient(sums[0]))
        return out

    def sees(self, call: ProgramCall) -> NDArray[np.bool_] | None:
        """Which of the tokens that its state keeps the queries of a call see; None for all."""
        kept = self.program.tokens[call.state]
        return None if self.form.sees is None else self.form.sees(kept, kept[call.queries], self.program.n_tokens)

    def _passes(self, call: ProgramCall) -> Passes:
        key = call.slice, call.state
        if key not in self._alone:
            kept, n = self.program.tokens[call.state], self.program.n_tokens
            self._alone[key] = Passes.of_call(self.form, kept, call.queries, self.dimension, n)
        return self._alone[key]


def taken(array: Array, places: NDArray[np.int64]) -> Array:
    """The tokens of an array (B, D, n) at some places, in order; the array itself where they are all."""
    return array if len(places) == array.shape[2] else array[:, :, places]
