"""Do predictions of equal prompts with different labels go to the minimiser that statistics knows?

All prompts have one prediction, which moves by u' = -mean_b l'(u, y_b)/4 and comes to rest where that mean vanishes:

    squares          u = mean_b y_b
    Huber            sum_b clip(u - y_b, -delta, delta) = 0
    logistic         u = ln(p/(1 - p))             p the share of the label 1
    cross-entropy    u_k = ln p_k + constant       p_k the frequency of class k

Measured: predictions at rest. One label of the first two is an outlier, which moves the mean and not Huber's
estimate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

import wflow
from validation.studies.losses._one_token import DELTA, TO_REST, heads, objective
from validation.study import Answer, Claim, Runs, at_most

COST = 1.0
CAPTION = ""

NAMES = {
    "squares": "the mean",
    "huber": "Huber's estimate",
    "logistic": "log odds",
    "cross-entropy": "log frequencies",
}
LABELS: dict[str, Any] = {
    "squares": [0.3, -0.5, 1.0, 0.2, 9.0],
    "huber": [0.3, -0.5, 1.0, 0.2, 9.0],
    "logistic": [1.0, 1.0, -1.0, 1.0, 1.0],
    "cross-entropy": [0, 1, 2, 1, 1],
}


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"loss": loss} for loss in NAMES]


def measure(loss: str) -> Answer:
    """Predictions at rest beside the minimiser."""
    labels = np.array(LABELS[loss])
    Q = objective(loss, labels)
    answer = wflow.solve(Q, heads(Q, 0.0), (0, 800.0), **TO_REST)
    u = np.atleast_2d(np.reshape(Q.predict(answer.measure(-1)), (len(labels), -1)))[0]
    return {"u": u, "expected": _minimiser(loss, labels, u)}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        gap = float(np.abs(a["u"] - a["expected"]).max())
        words = f"{case['loss']}: equal prompts with different labels, off {NAMES[case['loss']]}"
        out.append(at_most(words, gap, 1e-9))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _minimiser(loss: str, labels: NDArray[Any], u: NDArray[Any]) -> NDArray[Any]:
    """Of the mean loss in closed form; u says the constant that cross-entropy leaves open."""
    if loss == "squares":
        return np.array([labels.mean()])
    if loss == "huber":
        return np.array([brentq(lambda x: np.clip(x - labels, -DELTA, DELTA).sum(), -10.0, 10.0, xtol=1e-15)])
    if loss == "logistic":
        share = np.mean(labels > 0)
        return np.array([np.log(share / (1 - share))])
    logs = np.log(np.bincount(labels) / len(labels))
    return np.asarray(logs - logs.mean() + u.mean())
