"""Encoders that compiled kernels serve: their form as data, and the passes that read it.

An encoder has a compiled form if its class has a method ``compiled(dimension)`` that returns a :class:`Compiled`: which
family of kernels it belongs to, with which options, and where the numbers that these read stand among its parameters.
"""

from __future__ import annotations

__all__ = ["Compiled", "CompiledEncoder", "Packed", "Passes", "one_call", "program_arrays"]

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wflow.checks import check_array, check_result
from wflow.errors import InputError
from wflow.measures.measure import frozen

Array = NDArray[Any]
Integers = NDArray[np.int64]

#: A cache line.
LINE_BYTES = 64
#: Workspaces of up to so many bytes are kept for the next call.
KEPT_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Compiled:
    """The compiled form of an encoder for tokens of one dimension.

    Parameters
    ----------
    family
        The kernels that serve it: ``"attention"`` or ``"feedforward"``.
    options
        Two integers that they read at run time (see :mod:`wflow.kernels.depth`).
    order
        (parts, k): where the k numbers of each part of a particle, a head or a hidden neuron, stand among the numbers.
    block
        How many registers of parts the kernels take at a time.
    linear
        Parameters in which f is linear: ``<f, p> = <beta[linear], grad_beta[linear] <f, p>>``.
    numbers
        The numbers (..., k parts) that kernels read, from parameters (..., p), where they are not the same.
    pull_back
        Its transposed derivative: from parameters (..., p) and the derivative by the numbers to that by the parameters.
    sees
        ``sees(keys, queries, n_tokens)``, of tokens by their places in a prompt: whether each query sees each key
        (keys, queries). None where all see all.
    """

    family: str
    options: tuple[int, int]
    order: Integers
    block: int
    linear: slice
    numbers: Callable[[Array], Array] | None = None
    pull_back: Callable[[Array, Array], Array] | None = None
    sees: Callable[[Integers, Integers, int], NDArray[np.bool_]] | None = None

    def pairing(self, parameters: Array, parameters_bar: Array) -> Array:
        """``<f(., beta_j), p>`` (...,) from the derivative ``parameters_bar`` (..., p) of the same by ``beta_j``."""
        out: Array = np.einsum("...i,...i->...", parameters[..., self.linear], parameters_bar[..., self.linear])
        return out


@dataclass(frozen=True, eq=False)
class Packed:
    """The particles (S, M, p) of a block as its kernels read them: ``registers`` (S, registers, lanes)."""

    form: Compiled
    parameters: Array
    registers: Array

    @classmethod
    def of(cls, form: Compiled, parameters: Array, weights: Array) -> Self:
        """Particles (S, M, p) with weights (S, M)."""
        from wflow.kernels.packing import pack
        from wflow.kernels.simd.lanes import n_lanes

        numbers = parameters if form.numbers is None else form.numbers(parameters)
        (S, M, _), (parts, k), lanes = numbers.shape, form.order.shape, n_lanes(numbers.dtype)
        registers = aligned_empty((S, -(-M * parts // lanes) * (k + 1), lanes), numbers.dtype)
        # As measures have them, read only: compiled once for a precision.
        points, mass = frozen(np.ascontiguousarray(numbers)), frozen(np.ascontiguousarray(weights, np.float64))
        pack(points, mass, form.order, form.block, registers)
        return cls(form, parameters, registers)

    def slice(self, l: int) -> Packed:
        """The particles of one slice."""
        return Packed(self.form, self.parameters[l : l + 1], self.registers[l : l + 1])

    def sums(self) -> Array:
        """Memory for a sum of derivatives, in the layout of the registers; whatever stands there."""
        return aligned_empty(self.registers.shape, self.registers.dtype)

    def gradient(self, sums: Array) -> Array:
        """The derivative by the parameters (S, M, p) from such a sum, or from several sums of one slice."""
        from wflow.kernels.packing import unpack

        bar = np.empty((len(sums), self.parameters.shape[1], self.form.order.size), self.parameters.dtype)
        unpack(sums, self.form.order, self.form.block, bar)
        return bar if self.form.pull_back is None else self.form.pull_back(self.parameters, bar)


def program_arrays(
    base: Sequence[int],
    base_places: Sequence[Integers],
    widths: Sequence[int],
    calls: Iterable[tuple[int, int, int, Integers, Array | None, Sequence[tuple[int, float, Integers]]]],
) -> tuple[tuple[Array, ...], Integers]:
    """A program as :mod:`wflow.kernels.depth` reads it, and its places.

    For every state, its base (-1 for none), the places of its tokens among those of the base, and how many they are;
    for every call, in the order of states, its state, block, slice and queries, which of the state's tokens these see
    (None for all), and its targets with coefficients and the places of their tokens among the queries.
    """
    places: list[Integers] = []
    end = 0

    def put(array: Integers) -> int:
        """Add places, and return where they start."""
        nonlocal end
        places.append(array)
        end += len(array)
        return end - len(array)

    base_at, rows, targets = [put(array) for array in base_places], [], []
    states = []
    for state, block, slice_, queries, sees, ends in calls:
        targets += [(target, put(at), coefficient) for target, coefficient, at in ends]
        mask = -1 if sees is None or sees.all() else put(_mask(sees))
        rows.append((block, slice_, len(queries), put(queries), mask, len(targets)))
        states.append(state)
    last = np.cumsum(np.bincount(states, minlength=len(base)))
    of_calls = [np.array(column, np.int64) for column in zip(*rows)]
    target, target_at, coefficient = (np.array(column) for column in zip(*targets))
    start = np.concatenate([[0], np.cumsum(widths)[:-1]])
    of_states = [np.array(x, np.int64) for x in (base, widths, start, base_at, last)]
    return (*of_states, *of_calls, target, target_at, coefficient.astype(float)), np.concatenate(places)


def _mask(sees: Array) -> Integers:
    """Which keys every query sees (keys, queries), as :func:`wflow.kernels.attention._is_seen` reads it.

    Examples
    --------
    >>> _mask(np.tri(3, dtype=bool).T)  # no holes; the first keys, and those after the last
    array([0, 0, 0, 0, 1, 2, 3])
    """
    first, last = sees.argmax(axis=0), len(sees) - sees[::-1].argmax(axis=0)
    if np.array_equal(sees.sum(axis=0), last - first):
        return np.concatenate([[0], first, last])
    return np.concatenate([[1], first, last, sees.ravel()])


@lru_cache(maxsize=256)
def one_call(n_tokens: int, queries: tuple[int, ...], sees: bytes | None) -> tuple[tuple[Array, ...], Integers]:
    """The program ``T_1 = mean(T_0)`` at some of n tokens, of which queries see those that are True (or None)."""
    at = np.array(queries)
    pairs = None if sees is None else np.frombuffer(sees, bool).reshape(n_tokens, len(at))
    call = 0, 0, 0, at, pairs, [(1, 1.0, np.arange(len(at)))]
    return program_arrays([-1, -1], [at[:0]] * 2, [n_tokens, len(at)], [call])


class Passes:
    """A program through blocks with compiled forms, forward and back (see :mod:`wflow.kernels.depth`).

    Parameters
    ----------
    program, places
        As by :func:`program_arrays`.
    forms
        Those of the blocks, one or two.
    dimension, n_tokens
        D, and n of whole prompts.
    """

    def __init__(
        self,
        program: tuple[Array, ...],
        places: Integers,
        forms: Sequence[Compiled],
        dimension: int,
        n_tokens: int,
    ) -> None:
        from wflow.kernels.depth import FAMILIES

        self.program, self.places, self.dimension, self.n_tokens = program, places, dimension, n_tokens
        self.families = np.array([(FAMILIES.index(form.family), *form.options) for form in forms], np.int64)
        _, widths, starts, _, last, block, _, count, *_ = program
        state = np.searchsorted(last, np.arange(len(block)), side="right")
        rows = zip(block.tolist(), widths[state].tolist(), count.tolist())
        self._shapes = {(forms[b].family, forms[b].options, width, queries) for b, width, queries in rows}
        self._ranges = list(zip(starts.tolist(), widths.tolist()))
        self._total = int(widths.sum())  # of all states, in tokens
        self._registers: dict[tuple[int, int], int] = {}

    @classmethod
    def of_call(cls, form: Compiled, kept: Integers, queries: Integers, dimension: int, n_tokens: int) -> Self:
        """The passes of one call, from a state that keeps some of n tokens, at some places among those."""
        sees = None if form.sees is None else form.sees(kept, kept[queries], n_tokens).tobytes()
        return cls(*one_call(len(kept), tuple(queries.tolist()), sees), [form], dimension, n_tokens)

    def state(self, flat: Array, j: int) -> Array:
        """State j (B, D, width) in the array that holds all of them."""
        size, (start, width) = flat.size // self._total, self._ranges[j]
        return flat[size * start : size * (start + width)].reshape(-1, self.dimension, width)

    def empty(self, tokens: Array) -> Array:
        """Memory for all states, zero after the first, which is ``tokens`` (B, D, width)."""
        B, D, _ = tokens.shape
        flat = np.zeros(B * D * self._total, tokens.dtype)
        self.state(flat, 0)[...] = tokens
        return flat

    def _arguments(self, blocks: Sequence[Packed], flat: Array) -> tuple[Any, ...]:
        """What the kernels of both directions are told: B, D, the particles, their families, and memory."""
        lanes, D = blocks[0].registers.shape[-1], self.dimension
        B = flat.size // (D * self._total)
        if (B, lanes) not in self._registers:
            self._registers[B, lanes] = self._space(B, lanes)
        first = second = blocks[0].registers
        if len(blocks) > 1:  # the passes are compiled for two blocks, of which a program may call one
            second = blocks[1].registers
        return B, D, first, second, self.families, workspace(self._registers[B, lanes], lanes, flat.dtype)

    def _space(self, B: int, lanes: int) -> int:
        """The registers of memory that kernels need for so many prompts."""
        from wflow.kernels.attention import attention_space
        from wflow.kernels.feedforward import feedforward_space

        D, sizes = self.dimension, []
        for family, options, n, q in self._shapes:
            attends = family == "attention"
            space = attention_space(B, D, n, q, *options, lanes) if attends else feedforward_space(B, D, q, lanes)
            sizes.append(space[-1])
        return int(max(sizes))

    def forward(self, blocks: Sequence[Packed], flat: Array) -> None:
        """Fill the states after the first, which are zero."""
        from wflow.kernels.depth import forward

        forward(self.program, self.places, self.n_tokens, flat, *self._arguments(blocks, flat))

    def adjoint(
        self, blocks: Sequence[Packed], flat: Array, cotangent: Array, sums: Sequence[Array], need_input: bool = False
    ) -> Array:
        """Pull the cotangent of the last state back, and add derivatives by the parameters to the sums of the blocks.

        Returns the cotangents of all states, flat; that of the first is complete only if ``need_input``.
        """
        from wflow.kernels.depth import adjoint

        bars = np.zeros_like(flat)
        self.state(bars, -1)[...] = cotangent
        particles = self._arguments(blocks, flat)
        adjoint(self.program, self.places, self.n_tokens, flat, bars, *particles, sums[0], sums[-1], need_input)
        return bars

    def adjoint_rows(self, block: Packed, tokens: Array, cotangents: Array, rows: slice, sums: Array) -> None:
        """Add the derivatives of one call (see :func:`one_call`) by the particles of one slice, row by row.

        tokens (B, D, width) and cotangents (all rows, D, queries), as many rows of every prompt; sums (rows, 1,
        registers, lanes) of some of the rows.
        """
        from wflow.kernels.tangent import adjoint_rows

        per, width = len(cotangents) // len(tokens), self.dimension * self._ranges[0][1]
        prompts = tokens[rows.start // per : -(-rows.stop // per)]
        states = np.zeros((len(prompts), self.dimension * self._total), tokens.dtype)
        states[:, :width] = prompts.reshape(len(prompts), -1)
        bars = np.zeros((rows.stop - rows.start, states.shape[1]), tokens.dtype)
        bars[:, width:] = cotangents[rows].reshape(len(bars), -1)
        _, D, particles, _, families, memory = self._arguments([block], states[0])
        first, program = rows.start % per, (self.program, self.places, self.n_tokens)
        adjoint_rows(*program, states, bars, first, per, D, particles, families, memory, sums)


class CompiledEncoder:
    """The methods of :class:`wflow.encoders.Encoder` for an encoder with a compiled form, by its kernels."""

    def n_parameters(self, dimension: int) -> int:
        """p, the number of parameters for tokens of dimension D."""
        raise NotImplementedError

    def compiled(self, dimension: int) -> Compiled:
        """The compiled form for tokens of dimension D."""
        raise NotImplementedError

    def _alone(self, tokens: Array, parameters: Array, weights: Array) -> tuple[Passes, list[Packed], Array]:
        """The program of one call, its particles, and memory for its states; kernels do not look at shapes."""
        tokens = check_array("tokens", tokens, 3, "(B, D, n)", finite=False)
        if 0 in tokens.shape:
            raise InputError(f"tokens must not be empty, got shape {tokens.shape}")
        D, n = tokens.shape[1:]
        parameters = check_array("parameters", parameters, 2, "(M, p)", finite=False)
        shape = len(parameters), self.n_parameters(D)
        parameters = check_result("parameters must have shape", parameters, shape, tokens.dtype)
        weights = check_result("weights must have shape", weights, shape[:1])
        passes = Passes.of_call(self.compiled(D), np.arange(n), np.arange(n), D, n)
        return passes, [Packed.of(self.compiled(D), parameters[None], weights[None])], passes.empty(tokens)

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        """``sum_j a_j f(T_b, beta_j)``, shape (B, D, n)."""
        passes, blocks, flat = self._alone(tokens, parameters, weights)
        passes.forward(blocks, flat)
        return passes.state(flat, 1)

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        """The transpose of :meth:`mean` (see :class:`wflow.encoders.Encoder`)."""
        passes, blocks, flat = self._alone(tokens, parameters, weights)
        cotangent = check_result("cotangent must have shape", cotangent, np.shape(tokens), flat.dtype)
        sums = blocks[0].sums()
        sums[...] = 0
        bars = passes.adjoint(blocks, flat, cotangent, [sums], need_input=True)
        return passes.state(bars, 0), blocks[0].gradient(sums)[0]

    def pairing(self, tokens: Array, parameters: Array, cotangent: Array) -> Array:
        """``sum_b <f(T_b, beta_j), cotangent_b>``, shape (M,)."""
        parameters = check_array("parameters", parameters, 2, "(M, p)", finite=False)
        _, bar = self.vjp(tokens, parameters, np.zeros(len(parameters)), cotangent)
        return self.compiled(np.shape(tokens)[1]).pairing(parameters, bar)


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Memory that starts with a cache line: a register that straddles two takes the kernels twice as long to read."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + LINE_BYTES, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE_BYTES  # (memory.ctypes takes ten times as long)
    out: Array = memory[start : start + size].view(dtype).reshape(shape)
    return out


_kept = threading.local()


def workspace(registers: int, lanes: int, dtype: DTypeLike) -> Array:
    """Memory of at least so many registers (registers, lanes), which the next call in this thread may use again."""
    key = np.dtype(dtype).char
    memory: Array | None = getattr(_kept, key, None)
    if memory is None or len(memory) < registers:
        memory = aligned_empty((registers, lanes), dtype)
        if memory.nbytes <= KEPT_BYTES:
            setattr(_kept, key, memory)
    return memory
