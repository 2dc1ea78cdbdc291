"""The flow of a single token of dimension one, linearised around its limit."""

from __future__ import annotations

__all__ = ["DECAY", "MIDDLE", "RADIUS", "STEP", "TIMES", "distance", "linearised", "prompts"]

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

import wflow

Array = NDArray[np.float64]

#: The values, the weight decay, and the steps of training.
MIDDLE, RADIUS, DECAY, STEP, TIMES = 1.0, 1.5, 0.05, 0.25, 16


def prompts() -> wflow.Dataset:
    """Three prompts of one number; the labels ask for T(1) = 0.6 H and a little more or less."""
    H = np.array([0.5, 1.0, 1.5])
    return wflow.Dataset(H[:, None, None], 0.6 * H + np.array([0.1, -0.1, 0.05]))


@cache
def linearised() -> dict[str, Array]:
    """The limit S of ``ln T(1)/H``, L times its depth error, and what is left of a small difference in S."""
    data = prompts()
    H, y = data.tokens[:, 0, 0], data.labels
    a, b = np.mean(H * H), np.mean(H * y)

    def slope(tau: float, state: Array) -> Array:
        S, depth, left = state
        force, stiffness = a * np.exp(2 * S) - b * np.exp(S), 2 * a * np.exp(2 * S) - b * np.exp(S)
        lost = -0.25 * (stiffness * (depth - S * S / 2) - force * S) - DECAY * depth
        return np.array([-0.25 * force - DECAY * S, lost, -(0.25 * stiffness + DECAY) * left])

    tau = STEP * np.arange(TIMES + 1)
    S, depth, left = solve_ivp(slope, (0, tau[-1]), [MIDDLE / 2, 0, 1], t_eval=tau, rtol=1e-10, atol=1e-12).y
    return {"tau": tau, "S": S, "depth": depth - S * S / 2, "left": left}


def distance(V: Array, times: int) -> float:
    """The conditional distance W_2 of sorted values (L, M) from the law that the flow makes of theirs: uniform.

    Of one layer ``W_2^2 = sum_j int (v_j - x(u))^2 du`` over ((j-1)/M, j/M) with the quantile function x linear.
    """
    L, M = V.shape
    end = linearised()
    decay = np.exp(-DECAY * end["tau"][times])
    low = decay * (MIDDLE - RADIUS) + 2 * (end["S"][times] - decay * end["S"][0])
    edges = low + 2 * RADIUS * decay * np.arange(M + 1) / M
    before, after = V - edges[:-1], V - edges[1:]
    return float(np.sqrt(np.sum((before**3 - after**3) / (3 * (edges[1] - edges[0]))) / (L * M)))
