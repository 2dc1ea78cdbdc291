"""The compiled passes through the depth, for attention heads in theta and neurons in w."""

from __future__ import annotations

__all__ = ["Passes", "States"]

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.depth import Cut, DepthRule
from wflow.encoders.layout import workspace

Array = NDArray[Any]


class States(list[Array]):
    """All states of a pass, and the arrays of the wide and of the narrow ones that they are in."""

    def __init__(self, wide: Array, slim: Array, narrow: NDArray[np.bool_]) -> None:
        super().__init__(slim[j] if is_narrow else wide[j] for j, is_narrow in enumerate(narrow))
        self.wide, self.slim = wide, slim


class Passes:
    """What :meth:`wflow.depth.DepthRule.forward` and ``adjoint`` do, by :mod:`wflow.kernels.depth`.

    ``program`` is the rule in arrays: base and narrow by state; the columns of narrow states; for every state the
    number of evaluations up to it; block (0 theta, 1 w), slice and whether columns alone are asked for, and the number
    of targets up to it, by evaluation; state and coefficient by target.
    """

    def __init__(self, rule: DepthRule, cut: Cut, blocks: set[str]) -> None:
        last: list[int] = []
        evaluations: list[tuple[int, int, bool, int]] = []
        targets: list[tuple[int, float]] = []
        for state, stage in enumerate(rule.stages):
            for evaluation in stage:
                if evaluation.block in blocks:
                    targets += evaluation.targets
                    asked = cut.asked(state, evaluation) is not None
                    evaluations.append((int(evaluation.block == "w"), evaluation.slice, asked, len(targets)))
            last.append(len(evaluations))
        block, where, asks, last_target = (np.array(x, np.int64) for x in zip(*evaluations))
        self.narrow = np.array(cut.narrow)
        columns = np.array(cut.columns, np.int64)
        states = np.array(rule.base, np.int64), self.narrow, columns, np.array(last, np.int64)
        ends, coefficients = np.array([t for t, _ in targets], np.int64), np.array([c for _, c in targets])
        self.program = (*states, block, where, asks.astype(bool), last_target, ends, coefficients)

    def _given(self, packed: Mapping[str, Any], tokens: Array) -> tuple[Any, ...]:
        """What both passes are told of the particles, and memory for them."""
        from wflow.kernels.attention import attention_space
        from wflow.kernels.feedforward import ACTIVATIONS, feedforward_space
        from wflow.kernels.simd.lanes import n_lanes

        (B, D, n), theta, w = tokens.shape, packed.get("theta"), packed.get("w")
        lanes = n_lanes(tokens.dtype)
        nothing: Array = np.empty((0, 0, lanes), tokens.dtype)  # an absent block: the passes are compiled for both
        heads = nothing if theta is None else theta.heads.registers
        neurons = nothing if w is None else w.neurons.registers
        widths = n, self.program[2].size
        sizes = [attention_space(B, D, n, q, lanes)[-1] for q in widths]
        sizes += [feedforward_space(B, D, q, lanes)[-1] for q in widths]
        bias, activation = (0, 0) if w is None else (int(w.encoder.bias), ACTIVATIONS[w.encoder.activation])
        return heads, neurons, bias, activation, workspace(max(sizes), lanes, tokens.dtype)

    def forward(self, packed: Mapping[str, Any], tokens: Array) -> States:
        """All states, from tokens (B, D, n) on."""
        from wflow.kernels.depth import forward

        J, columns = len(self.narrow), self.program[2]
        wide = np.zeros((J, *tokens.shape), tokens.dtype)
        slim = np.zeros((J, *tokens.shape[:2], columns.size), tokens.dtype)
        if self.narrow[0]:
            slim[0] = tokens[:, :, columns]
        else:
            wide[0] = tokens
        forward(self.program, wide, slim, *self._given(packed, tokens))
        return States(wide, slim, self.narrow)

    def adjoint(
        self, packed: Mapping[str, Any], states: States, cotangent: Array, sums: Mapping[str, tuple[Array, ...]]
    ) -> None:
        """Pull the cotangent of the last state back, and add derivatives by the parameters to the sums."""
        from wflow.kernels.depth import adjoint

        heads, neurons, *others = self._given(packed, states.wide[0])
        bars = (sums[block][0] if block in sums else absent for block, absent in (("theta", heads), ("w", neurons)))
        adjoint(self.program, states.wide, states.slim, cotangent, heads, neurons, *others, *bars)
