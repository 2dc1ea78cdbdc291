"""Do residuals move by the tangent kernel?

Without weight decay the residuals r of B prompts obey, whatever the network,

    dr/dtau = -K r/B,    K_ik = int <grad q_i, grad q_k> d rho dt

with the gradients of the predictions q, here those of the numpy Transformer, for particles of unequal weights.
Measured at three times of a run: the derivative of the predictions along the velocity, by differences of order 6,
relative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import wflow
from validation.agreement import by_numpy
from validation.derivatives import along
from validation.flows import random_data, random_measure
from validation.statistics import relative_gap
from validation.study import Answer, Claim, Runs, at_most

COST = 0.4
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"tau": [0.0, 0.5, 2.0]}]


def measure(tau: Sequence[float]) -> Answer:
    """The largest relative difference."""
    rng, encoders = np.random.default_rng(3), (wflow.SoftmaxAttention(), wflow.FeedForward("tanh"))
    data, worst = random_data(rng, 5, 3, 4), 0.0
    Q = wflow.TransformerObjective(data, *encoders, layers=2)
    start = random_measure(Q, {"theta": 4, "w": 5}, rng)
    for s in tau:
        rho = wflow.solve(Q, start, (0, s), rtol=1e-8).measure(-1) if s else start
        predictions, gradients = Q.predict(rho), []
        for k, prediction in enumerate(predictions):  # one prompt with the residual -1: the velocity is the gradient
            prompt = wflow.Dataset(data.tokens[[k]], [prediction + 1], data.readout)
            gradients.append(by_numpy(wflow.TransformerObjective(prompt, *encoders, layers=2), rho)[2])
        mass = {b: rho.mass(b)[..., None] for b in rho.blocks}
        K = np.array([[sum(np.sum(mass[b] * f[b] * g[b]) for b in f) for g in gradients] for f in gradients])
        moved = along(Q.predict, rho, Q.velocity(rho))
        expected = -K @ (predictions - data.labels) / data.n_prompts
        worst = max(worst, relative_gap(moved, expected))
    return {"difference": worst}


def claims(runs: Runs) -> list[Claim]:
    ((_, a),) = runs
    return [at_most("lambda = 0: dr/dtau and -K r/B, relative", a["difference"], 1e-8)]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
