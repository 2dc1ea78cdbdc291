"""Heads of every kernel, and problems whose values are trained alone."""

from __future__ import annotations

__all__ = ["PROMPTS", "TOKENS", "D", "attention", "values_alone"]

from typing import Any

import numpy as np

import wflow
from validation.flows import random_measure
from validation.heads import DISTANCES

PROMPTS, TOKENS, D = 6, 4, 3


def attention(kernel: str, rank: int | None = None, mask: Any = None, factored: bool = False) -> wflow.Attention:
    """Attention of a kernel, factored where it must be."""
    factored = factored or kernel in DISTANCES
    return wflow.Attention(kernel, mask, factored, rank if factored else None)


def values_alone(
    kernel: str, N: int, weight_decay: float, std: float, M: int, rng: np.random.Generator
) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """One layer whose values are trained alone; the first row of every token is a target; scores are of size std."""
    data = wflow.Dataset(
        rng.standard_normal((N, D, TOKENS)), rng.standard_normal((N, TOKENS)), [(0, i) for i in range(TOKENS)]
    )
    heads = attention(kernel)
    frozen = ("W_V", "W_K", "W_Q") if heads.factored else ("W",)
    Q = wflow.TransformerObjective(
        data, heads, weight_decay=weight_decay, layers=1, mobility=dict.fromkeys(frozen, 0.0)
    )
    rho = random_measure(Q, {"theta": M}, rng)
    scores = np.repeat([1.0, std], [rho.theta.shape[2] // 2] * 2)
    return Q, wflow.Particles(theta=rho.theta * scores)
