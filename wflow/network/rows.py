"""Derivatives prompt by prompt: what one sum over all prompts hides."""

from __future__ import annotations

__all__ = ["Panel", "panels"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_memory
from wflow.measures import Measure
from wflow.network.batches import Network
from wflow.network.blocks import Block, Evaluated
from wflow.network.plain import cotangent_of

Array = NDArray[Any]

#: Panels take about so many bytes; particles come in so many at a time, which fill the registers of kernels.
PANEL_BYTES, PARTICLES = 32 * 2**20, 8
#: Rows are made in groups whose derivatives take about so many bytes, which the second-level cache holds.
GROUP_BYTES = 2**20


class Panel(NamedTuple):
    """Derivatives of all predictions by some particles of one slice of a block.

    Row ``b K + k`` of ``rows`` (B K and zero rows up to a multiple of
    :data:`wflow.kernels.tangent.TILE`, columns) belongs to label k of prompt b.
    Columns stand by groups of coordinates, those of group i from ``edges[i]`` to ``edges[i + 1]``, and within a group
    by particles.
    """

    block: str
    rows: NDArray[np.float64]
    edges: list[int]


def panels(
    network: Network,
    rho: Measure,
    tokens: Array,
    factors: Mapping[str, NDArray[np.float64]],
    groups: Mapping[str, Sequence[slice]],
) -> Iterator[Panel]:
    """``c_{l,j} G^{bk}_{l,j}``, the derivative of label k of ``Read T_b(1)`` by ``beta_{l,j}`` over ``a_{l,j}``.

    It is summed over the calls of a slice, which come with their coefficients; all particles take their turn. The
    memory of a panel is used again for the next. What is done does not depend on the number of threads.

    Parameters
    ----------
    network, rho, tokens
        As in :meth:`Network.predict`.
    factors
        c by block, (S, M, p) or what broadcasts to it.
    groups
        By block, which of the p coordinates belong together.

    Raises
    ------
    InputError
        Where memory has no room for the states of all prompts, or for one panel.
    """
    from wflow.kernels.tangent import TILE

    executor, program = network.executor, network.program
    K, R = len(network.readout), len(tokens) * len(network.readout)
    check_memory(
        f"the states of {len(tokens)} prompts and their cotangents",
        (K + 1) * len(tokens) * network.shape[0] * sum(map(len, program.tokens)) * rho.dtype.itemsize,
        "take fewer prompts",
    )
    states, bars = _states(network, rho, tokens)
    for name, block in executor.blocks.items():
        points, weights, c = rho.points(name), rho.weights(name), np.broadcast_to(factors[name], rho.points(name).shape)
        S, M, p = points.shape
        width = min(M, max(1, PANEL_BYTES // (8 * R * p * PARTICLES)) * PARTICLES)
        padded = -(-R // TILE) * TILE
        check_memory(
            f"the derivatives of {R} predictions by {width} particles of {name}",
            8 * padded * width * p,
            "take fewer prompts",
        )
        memory = np.empty(padded * width * p)
        for l in range(S):
            calls = [Evaluated(e, states[e.state], cotangent_of(e, bars)) for e in program.calls if _is(e, name, l)]
            for first in range(0, M, width):
                part = slice(first, min(M, first + width))
                loaded = block.load(points[l : l + 1, part], weights[l : l + 1, part])
                m = part.stop - part.start
                edges = [0, *np.cumsum([m * (place.stop - place.start) for place in groups[name]]).tolist()]
                X = memory[: padded * m * p].reshape(padded, m * p)
                X[R:] = 0
                made = _Rows(block, loaded, calls, c[l, part], groups[name], edges, X[:R])
                network.share(made.write, made.groups)
                yield Panel(name, X, edges)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Work that threads share: the rows X (B K, columns) of a panel in groups of some."""

    block: Block
    particles: Any
    calls: list[Evaluated]
    factors: Array
    places: Sequence[slice]
    edges: list[int]
    X: Array

    @property
    def _step(self) -> int:
        return max(1, GROUP_BYTES // (8 * self.edges[-1]))

    @property
    def groups(self) -> int:
        """The number of groups of rows."""
        return -(-len(self.X) // self._step)

    def write(self, g: int) -> None:
        """The derivatives of a group of rows, times the factors, group of coordinates by group."""
        rows = slice(g * self._step, min(len(self.X), (g + 1) * self._step))
        G = self.block.rows(self.particles, self.calls, rows) * self.factors
        for place, left, right in zip(self.places, self.edges, self.edges[1:]):
            self.X[rows, left:right] = G[:, :, place].reshape(len(G), -1)


def _is(call: Any, block: str, slice_: int) -> bool:
    return bool(call.block == block and call.slice == slice_)


def _states(network: Network, rho: Measure, tokens: Array) -> tuple[list[Array], list[Array]]:
    """All states (B, D, width), and the cotangents (B K, D, width) that every label alone gives them."""
    executor, kept, D = network.executor, network.program.tokens, network.shape[0]
    K, particles = len(network.readout), executor.load(rho)
    states = [np.empty((len(tokens), D, len(at)), tokens.dtype) for at in kept]
    bars = [np.empty((len(tokens), K, D, len(at)), tokens.dtype) for at in kept]
    batches = [batch for group in network.groups(rho, len(tokens)) for batch in group]

    def work(i: int) -> None:
        batch, sums = batches[i], executor.sums(particles, False)
        for array in (x for arrays in sums for x in arrays):
            array[...] = 0
        found = executor.forward(particles, tokens[batch])
        for state, x in zip(states, found):
            state[batch] = x
        for k, read in enumerate(network.readout):
            cotangent = np.broadcast_to(read.reshape(D, -1), found[-1].shape).astype(tokens.dtype)
            for bar, x in zip(bars[1:], executor.adjoint(particles, found, cotangent, sums)[1:]):
                bar[batch, k] = x

    network.share(work, len(batches))
    return states, [bar.reshape(-1, *bar.shape[2:]) for bar in bars]
