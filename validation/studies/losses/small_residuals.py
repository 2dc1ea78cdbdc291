"""Is Huber's loss that of squares as long as no residual reaches delta?

    l(r) = r^2/2  for |r| <= delta,    delta |r| - delta^2/2  beyond

Measured: the particles at tau = 5 of one Transformer driven by squares, and by Huber's loss with delta = 100, which
no residual reaches, and 0.1, which some do. They are equal to round-off in the first case, and differ in the second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.agreement import problem
from validation.study import Answer, Claim, Runs, at_least, at_most
from wflow.controllers import Fixed

COST = 1.0
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"delta": 100.0}, {"delta": 0.1}]


def measure(delta: float) -> Answer:
    """The largest difference of a particle between the runs with Huber's loss and with squares."""
    Q, rho = problem("softmax", "none", "squares", 0, "float64")
    losses: list[dict[str, Any]] = [{"loss": "squares"}, {"loss": "huber", "huber_delta": delta}]
    steps: dict[str, Any] = {"scheme": "rk4", "controller": Fixed(0.1, monotone=False), "tol": 0, "progress": False}
    ends = []
    for loss in losses:
        objective = wflow.TransformerObjective(Q.dataset, Q.attention, Q.feedforward, 0.05, layers=2, **loss)
        ends.append(wflow.solve(objective, rho, (0, 5.0), **steps).measure(-1).blocks)
    squares, huber = ends
    return {"difference": max(float(np.abs(huber[block] - x).max()) for block, x in squares.items())}


def claims(runs: Runs) -> list[Claim]:
    large, small = (a["difference"] for _, a in runs)
    return [
        at_most("huber, residuals below delta: particles off those of squares", large, 1e-14),
        at_least("huber, residuals above delta: particles off those of squares", small, 1e-3),
    ]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
