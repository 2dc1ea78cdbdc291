"""Are steps of JKO those of the implicit Euler method for the prediction?

JKO minimises Q(rho) + d^2(rho, rho_k)/(2 h). For one prompt that is an implicit step of its prediction, and of the
gap d of cross-entropy with three classes:

    u_{k+1} = u_k - h l'(u_{k+1})/4,    d_{k+1} = d_k + 3 h/(4 (e^{d_{k+1}} + 2))

Measured: how far the prediction, or the gap, is after five long steps, h = 2, from five roots of one number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq

import wflow
from validation.losses import LOSSES, loss_and_slope
from validation.studies.losses._one_token import CLASSES, DELTA, LABEL, START, gap_of, heads, objective
from validation.study import Answer, Claim, Runs, at_most

COST = 1.0
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"loss": loss} for loss in LOSSES]


def measure(loss: str) -> Answer:
    """How far the prediction, or the gap, is from that of implicit steps."""
    h, steps = 2.0, 5
    Q = objective(loss, [LABEL[loss]])
    answer = wflow.solve(Q, heads(Q, START[loss]), (0, h * steps), scheme="jko", dtau=h, tol=0, progress=False)
    x = START[loss]
    for _ in range(steps):
        x = brentq(lambda z, x=x: z - x + h / 4 * _slope(loss, z), -50.0, 50.0, xtol=1e-15)
    u = np.reshape(Q.predict(answer.measure(-1)), (1, -1))
    return {"gap": abs(float(gap_of(loss, u)[0]) - x)}


def claims(runs: Runs) -> list[Claim]:
    words = "five steps of JKO against implicit steps by hand"
    return [at_most(f"{case['loss']}: {words}", a["gap"], 1e-4) for case, a in runs]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _slope(loss: str, z: float) -> float:
    """By which, divided by 4, the prediction or the gap z falls."""
    if loss == "cross-entropy":
        return float(-CLASSES / (np.exp(z) + CLASSES - 1))
    return float(loss_and_slope(loss, [[z]], [LABEL[loss]], DELTA)[1][0, 0])
