"""Does weight decay bring one prompt to rest where the closed form says?

With weight decay lambda the prediction comes to rest where its velocity vanishes:

    u' = -l'(u)/4 - lambda u = 0,    min Q = min_u l(u) + 2 lambda |u|^2

for of all measures that predict u equal heads have the least second moment, 4 |u|^2. Measured: the prediction and Q
when the velocity has vanished, beside the root of one number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

import wflow
from validation.losses import LOSSES, loss_and_slope
from validation.studies.losses._one_token import CLASSES, DELTA, LABEL, START, TO_REST, heads, objective
from validation.study import Answer, Claim, Runs, within

COST = 1.0
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"loss": loss, "weight_decay": x} for loss in LOSSES for x in (0.03, 0.3)]


def measure(loss: str, weight_decay: float) -> Answer:
    """The first prediction and Q at rest, beside those of the minimiser."""
    Q = objective(loss, [LABEL[loss]], weight_decay)
    answer = wflow.solve(Q, heads(Q, START[loss]), (0, 30 / weight_decay), **TO_REST)
    u = np.reshape(Q.predict(answer.measure(-1)), -1)
    y = np.array([LABEL[loss]])

    def force(x: float) -> float:
        return float(loss_and_slope(loss, _predictions(loss, x), y, DELTA)[1][0, 0]) / 4 + weight_decay * x

    best = _predictions(loss, brentq(force, -20.0, 20.0, xtol=1e-15))
    least = loss_and_slope(loss, best, y, DELTA)[0] + 2 * weight_decay * float(np.sum(best**2))
    return {"u": u[0], "expected": float(best[0, 0]), "Q": answer.energy[-1], "least": least}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        words = f"{case['loss']}, lambda = {case['weight_decay']}: "
        out.append(within(words + "prediction at rest", a["u"], a["expected"], 1e-9))
        out.append(within(words + "Q at rest", a["Q"], a["least"], 1e-12))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _predictions(loss: str, x: float) -> NDArray[Any]:
    """The first prediction is x; those of the two other classes are -x/2, since all end with the sum 0."""
    others = [-x / (CLASSES - 1)] * (CLASSES - 1) if loss == "cross-entropy" else []
    return np.array([[x, *others]])
