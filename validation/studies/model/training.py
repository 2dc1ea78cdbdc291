"""Do wflow and the numpy Transformer train alike?

Softmax heads and tanh neurons with biases in four layers, ten prompts. Measured, relative: Q, R, |v|^2 and the
particles of 40 explicit steps,

    x_{k+1} = x_k + h sum_i b_i v_i,    h = 0.05

of order 1, 2 and 4, by the solver and by the numpy Transformer's own loop. They are equal up to round-off of float64
and of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.agreement import TOLERANCE
from validation.flows import random_data, random_measure
from validation.statistics import relative_gap
from validation.study import Answer, Claim, Runs, at_most
from validation.trajectory import finite_transformer
from wflow.controllers import Fixed

COST = 0.5
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"scheme": s, "dtype": dtype, "seed": 3} for dtype in TOLERANCE for s in ("euler", "heun", "rk4")]


def measure(scheme: str, dtype: str, seed: int) -> Answer:
    """The largest relative difference of series and particles."""
    rng = np.random.default_rng(seed)
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh", 2, True)
    objective = wflow.TransformerObjective(random_data(rng, 10, 3, 4), *encoders, weight_decay=0.02, layers=4)
    rho = random_measure(objective, {"theta": 6, "w": 9}, rng, np.dtype(dtype))
    answer = wflow.solve(objective, rho, (0, 2.0), scheme=scheme, controller=Fixed(0.05, monotone=False), tol=0)
    start = (rho.theta.astype(float), rho.w.astype(float))
    method: Any = "gd" if scheme == "euler" else scheme
    history = finite_transformer(objective).train(
        *start, objective.dataset, 0.05, 40, method, rho.weights("theta"), rho.weights("w")
    )
    assert history.theta is not None and history.w is not None
    pairs = [(answer.energy, history.energy), (answer.risk, history.risk), (answer.dissipation, history.dissipation)]
    pairs += [(answer.measure(-1).theta, history.theta), (answer.measure(-1).w, history.w)]
    return {"difference": max(relative_gap(a, b) for a, b in pairs)}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        statement = f"40 steps of {case['scheme']} by both implementations, {case['dtype']}"
        out.append(at_most(statement, a["difference"], TOLERANCE[case["dtype"]]))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
