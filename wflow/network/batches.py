"""Prompts in groups, groups among threads, and their sums in an order that does not depend on who did what.

``partial(particles, prompts)`` is a function of its arguments alone: the loss of some prompts and the derivatives by
all particles. The groups of prompts are a function of the problem's sizes, and their results are added along a fixed
binary tree, so that every bit of the result is the same for any number of threads.
"""

from __future__ import annotations

__all__ = ["Network", "tree_sum"]

import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wflow.encoders.protocol import Encoder, optional
from wflow.losses import Loss
from wflow.measures import Measure
from wflow.network.blocks import Block, CompiledBlock
from wflow.network.compiled import CompiledExecutor
from wflow.network.plain import PlainExecutor
from wflow.network.program import Program
from wflow.network.rules import DepthRule

Array = NDArray[Any]
T = TypeVar("T")

#: Prompts travel through the depth in batches: their states take at most so many bytes, and the kernels' sums over
#: heads about so many, which the second-level cache holds.
STATE_BYTES, SUM_BYTES = 32 * 2**20, 2**20
#: A register of the kernels.
REGISTER_BYTES = 64
#: There are two groups where there is so much work, in multiplications, and more where each has this much.
GROUPED_WORK, GROUP_WORK = 2_000_000, 30_000_000
#: A group has at least about so many prompts, divided by n (1 + n/D): work grows with that, and setting the group's sum
#: of derivatives to zero and adding it takes less than a hundredth of it.
GROUP_PROMPTS = 1000


class Network:
    """The network of a depth rule, read at the end: predictions, and the risk with its derivatives.

    Parameters
    ----------
    rule
        The depth rule.
    encoders
        By block.
    readout
        Shape (K, D, n).
    """

    def __init__(self, rule: DepthRule, encoders: Mapping[str, Encoder], readout: Array) -> None:
        columns = np.flatnonzero(readout.any(axis=(0, 1)))
        self.encoders, self.shape = encoders, readout.shape[1:]
        self.program = Program.of(rule, encoders, columns, self.shape[1])
        self.readout = readout[:, :, columns].reshape(len(readout), -1)

    @cached_property
    def executor(self) -> PlainExecutor:
        """One compiled pass if all encoders have a compiled form, else call by call."""
        kinds = {name: CompiledBlock if optional(e, "compiled") else Block for name, e in self.encoders.items()}
        executor: type[PlainExecutor] = PlainExecutor if Block in kinds.values() else CompiledExecutor
        D = self.shape[0]
        return executor(self.program, {n: kind(self.encoders[n], self.program, D) for n, kind in kinds.items()})

    def predict(self, rho: Measure, tokens: Array) -> NDArray[np.float64]:
        """``Read T(1)`` for tokens (B, D, n): shape (B, K)."""
        particles, groups = self.executor.load(rho), self.groups(rho, len(tokens))
        out = np.empty((len(tokens), len(self.readout)))

        def work(g: int) -> None:
            for batch in groups[g]:
                out[batch] = self._read(self.executor.forward(particles, tokens[batch])[-1])

        self.share(work, len(groups))
        return out

    def value_and_gradient(
        self, rho: Measure, tokens: Array, targets: Array, loss: Loss, pairings: bool = False
    ) -> tuple[float, dict[str, Array]]:
        """``sum_b l(Read T_b(1), y_b) / B`` of a loss l, for tokens (B, D, n) and targets (B, K), and its derivatives.

        Those are, by block, ``sum_b grad_beta <f(T_b, beta_j), p_b>`` (S, M, p), summed over the calls of a slice with
        their coefficients, without the weights; with ``pairings``, ``sum_b <f(T_b, beta_j), p_b>`` (S, M).
        """
        executor = self.executor
        particles, groups = executor.load(rho), self.groups(rho, len(tokens))
        pool: list[list[list[Array]]] = []  # memory that nobody uses

        def partial(g: int) -> tuple[float, list[list[Array]]]:
            """The risk that a group adds, and the derivatives."""
            try:  # not a look before: another thread may be quicker
                sums = pool.pop()
            except IndexError:
                sums = executor.sums(particles, pairings)
            for array in chain(*sums):
                array[...] = 0
            risk = 0.0
            for batch in groups[g]:
                states = executor.forward(particles, tokens[batch])
                total, gradient = loss.sum_and_gradient(self._read(states[-1]), targets[batch])
                risk += total / len(tokens)
                cotangent = (gradient / len(tokens)) @ self.readout
                executor.adjoint(particles, states, cotangent.reshape(states[-1].shape).astype(tokens.dtype), sums)
            return risk, sums

        def add(a: Any, b: Any) -> Any:
            with np.errstate(over="ignore", invalid="ignore"):  # whoever looks at the sum says what is wrong
                for total, term in zip(chain(*a[1]), chain(*b[1])):
                    np.add(total, term, out=total)
            pool.append(b[1])
            return a[0] + b[0], a[1]

        risk, sums = tree_sum(partial, len(groups), add, self.share)
        return risk, (executor.pairings if pairings else executor.gradient)(particles, sums)

    def overflow(self, rho: Measure, tokens: Array) -> str:
        """The first prompt and depth at which tokens are no finite numbers, and what encoders know of the reason, in
        words; empty where all are."""
        particles, kept = self.executor.load(rho), self.program.tokens
        for batch in (batch for group in self.groups(rho, len(tokens)) for batch in group):
            for j, state in enumerate(self.executor.forward(particles, tokens[batch])):
                if not np.isfinite(state).all():
                    b, d, i = (int(k) for k in np.argwhere(~np.isfinite(state))[0])
                    where = f"state {j} of {len(kept) - 1} in depth, row {d}, column {int(kept[j][i])}"
                    known = [optional(encoder, "why_overflow") for encoder in self.encoders.values()]
                    reasons = "".join(f": {words}" for why in known if why is not None and (words := why()))
                    return f"the tokens of prompt {b + batch.start} are {state[b, d, i]} at {where}{reasons}"
        return ""

    def _read(self, final: Array) -> NDArray[np.float64]:
        """``Read T(1)`` of the last state, shape (B, K)."""
        return final.reshape(len(final), -1).astype(np.float64) @ self.readout.T

    def groups(self, rho: Measure, n_prompts: int) -> list[list[slice]]:
        """The prompts in groups of batches, a function of the problem's sizes alone."""
        (D, n), bytes_ = self.shape, rho.dtype.itemsize
        batch, groups = STATE_BYTES // (3 * len(self.program.tokens) * D * n * bytes_), 1
        if self.executor.threads:
            batch = min(batch, SUM_BYTES // (2 * D * n * REGISTER_BYTES))
            work = 2 * n_prompts * n * sum(rho.points(block).size for block in rho.blocks)
            if work > GROUPED_WORK:
                groups = max(2, min(round(n_prompts * n * (1 + n / D) / GROUP_PROMPTS), work // GROUP_WORK))
        groups = min(groups, n_prompts)
        return [
            _parts(group, -(-(group.stop - group.start) // max(1, batch)))
            for group in _parts(slice(0, n_prompts), groups)
        ]

    def share(self, work: Callable[[int], None], count: int) -> None:
        """``work(0), ..., work(count - 1)``, by several threads if the executor is made for them."""
        from wflow.kernels.threads import in_threads

        in_threads(work, count, alone=not self.executor.threads)


def tree_sum(
    term: Callable[[int], T],
    count: int,
    add: Callable[[T, T], T],
    share: Callable[[Callable[[int], None], int], None],
) -> T:
    """The sum of ``term(0), ..., term(count - 1)`` along a binary tree, the same for any order in which they are made.

    Terms 2i and 2i + 1 are added, then the sums 2i and 2i + 1 of those, and so on; what has no partner goes up as it
    is. A thread adds as soon as both partners are there, so that few sums wait: one a thread, and one a level.

    Examples
    --------
    >>> def in_turn(work, count):
    ...     for i in reversed(range(count)):
    ...         work(i)
    >>> tree_sum(str, 5, lambda a, b: f"({a}{b})", in_turn)
    '(((01)(23))4)'
    """
    waiting: dict[tuple[int, int], T] = {}
    lock = threading.Lock()

    def work(i: int) -> None:
        total, width, level = term(i), count, 0
        while width > 1:
            partner = i ^ 1
            if partner < width:
                with lock:
                    if (level, partner) not in waiting:
                        waiting[level, i] = total
                        return
                    other = waiting.pop((level, partner))
                total = add(total, other) if i < partner else add(other, total)
            i, width, level = i // 2, -(-width // 2), level + 1
        waiting[level, 0] = total

    share(work, count)
    return waiting.popitem()[1]


def _parts(whole: slice, count: int) -> list[slice]:
    """A slice in so many parts of about the same size."""
    edges = [whole.start + (whole.stop - whole.start) * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]
