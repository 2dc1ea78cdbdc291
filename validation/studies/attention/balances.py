"""Do the balances of the factors of a head decay at the rate 2 lambda?

For every kernel the first, for kernels of scores (W_K Z)^T (W_Q Z) the second decays as e^(-2 lambda tau):

    W_O^T W_O - W_V W_V^T,    W_K W_K^T - W_Q W_Q^T

Gaussian kernels are of W_K z_j - W_Q z_i: there rotations of the common space keep W_K' W_K^T + W_Q' W_Q^T symmetric,
and nothing keeps the second balance. Measured after a run, from the velocity: how far the rate of each balance is
from -2 lambda, relative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow
from validation.flows import random_data, random_measure
from validation.heads import DISTANCES, KERNELS
from validation.statistics import relative_gap
from validation.studies.attention._heads import D, attention
from validation.study import Answer, Claim, Runs, at_least, at_most
from validation.trajectory import finite_transformer
from wflow.controllers import Fixed

Array = NDArray[Any]

COST = 0.5
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"kernel": kernel, "weight_decay": 0.3} for kernel in KERNELS]


def measure(kernel: str, weight_decay: float) -> Answer:
    """How far rates are from -2 lambda, and the sum of products from being symmetric."""
    rng = np.random.default_rng(4)
    data = random_data(rng, 4, D, 4)
    Q = wflow.TransformerObjective(data, attention(kernel, 2, "causal", True), weight_decay=weight_decay, layers=2)
    start = random_measure(Q, {"theta": 3}, rng)
    start = start.replace(theta=0.6 * start.theta)
    run: dict[str, Any] = {"scheme": "heun", "controller": Fixed(0.1, monotone=False), "progress": False}
    rho, model = wflow.solve(Q, start, (0, 2.0), **run).measure(-1), finite_transformer(Q)

    def factors(x: Array) -> tuple[Array, ...]:
        W_V, W_O, W_K, W_Q = model.attention_matrices(x, D)
        return W_V, W_O.swapaxes(-1, -2), W_K, W_Q

    W, v = factors(rho.theta), factors(Q.velocity(rho)["theta"])
    moves = [dx @ x.swapaxes(-1, -2) for dx, x in zip(v, W)]
    grams = [x @ x.swapaxes(-1, -2) for x in W]
    gaps = []
    for i in (0, 2):
        change = moves[i + 1] - moves[i]
        rate = change + change.swapaxes(-1, -2) + 2 * weight_decay * (grams[i + 1] - grams[i])
        gaps.append(float(np.abs(rate).max() / np.abs(moves[i]).max()))
    turn = moves[2] + moves[3]
    symmetry = relative_gap(turn.swapaxes(-1, -2), turn)
    return {"values": gaps[0], "scores": gaps[1], "symmetry": symmetry}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        kernel = case["kernel"]
        out.append(at_most(f"{kernel}: rate of W_O^T W_O - W_V W_V^T off -2 lambda", a["values"], 1e-13))
        if kernel in DISTANCES:
            out.append(at_most(f"{kernel}: W_K' W_K^T + W_Q' W_Q^T off being symmetric", a["symmetry"], 1e-13))
            out.append(at_least(f"{kernel}: which W_K W_K^T - W_Q W_Q^T is not bound to", a["scores"], 1e-3))
        else:
            out.append(at_most(f"{kernel}: rate of W_K W_K^T - W_Q W_Q^T off -2 lambda", a["scores"], 1e-13))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
