"""Do fifty heads leave the trap of one head when their values are trained too?

    u = (1/50) sum_j v_j . K(w_j),    all w_j near 2

One head that starts there and trains W_Q alone never fits, be it softmax or Gaussian. With W_V, W_O and W_Q trained
the values move as well, and fit the prompt. Measured: the risk at tau = 200, which is round-off if they do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.studies.attention._trap import trap, trap_heads
from validation.study import Answer, Claim, Runs, at_most
from wflow.controllers import Fixed

COST = 1.0
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"kernel": kernel, "seed": 0} for kernel in ("softmax", "gaussian")]


def measure(kernel: str, seed: int) -> Answer:
    """The risk at the start and at the end."""
    w = 2 + 0.3 * np.random.default_rng(seed).standard_normal(50)
    Q = trap(kernel, ("W_V", "W_O", "W_Q"))
    run: dict[str, Any] = {"scheme": "heun", "controller": Fixed(0.1, monotone=False), "tol": 0, "progress": False}
    answer = wflow.solve(Q, trap_heads(w), (0, 200.0), **run)
    return {"R": answer.risk[-1], "start": answer.risk[0]}


def claims(runs: Runs) -> list[Claim]:
    words = "50 heads from inside it, values trained: risk"
    return [at_most(f"the trap: {case['kernel']}, {words}", a["R"], 1e-28) for case, a in runs]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
