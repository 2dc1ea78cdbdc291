"""With frozen scores, is the flow the matrix exponential of the tangent kernel of the values?

Predictions are linear in the values, so that at every number of heads, with the predictions u_H without heads,

    u' = -K_V (u - y)/N - lambda (u - u_H),    K_V = J J^T

and the gradients J of the numpy Transformer stay what they were. With the constant as one unknown more u(tau) =
e^(tau A) u(0). Measured: predictions to tau = 40 for five prompts whose tokens are all targets, relative to the first
residual.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.linalg import expm

import wflow
from validation.heads import KERNELS
from validation.kernel import prediction_gradients, state_of
from validation.studies.attention._heads import values_alone
from validation.study import Answer, Claim, Runs, at_most
from validation.trajectory import finite_transformer

COST = 1.0
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    widths, decays = ((2, 6, 24), (0.0, 0.05)) if full else ((2, 6), (0.0,))
    every = itertools.product(KERNELS, widths, decays)
    return [{"kernel": kernel, "M": M, "weight_decay": decay} for kernel, M, decay in every]


def measure(kernel: str, M: int, weight_decay: float) -> Answer:
    """How far predictions are from those of the linear system, and the share of the risk that is left."""
    rng, times = np.random.default_rng(2), [0.5, 2.0, 10.0, 40.0]
    Q, rho = values_alone(kernel, 5, weight_decay, 1.0, M, rng)
    answer = wflow.solve(
        Q, rho, (0, times[-1]), rtol=1e-12, atol=1e-14, save=wflow.SaveAt(tau=times), tol=0, progress=False
    )
    J = prediction_gradients(finite_transformer(Q), state_of(rho.blocks), Q.dataset)
    y, u_0, u_H = (x.ravel() for x in (Q.dataset.labels, Q.predict(rho), Q.dataset.read(Q.dataset.tokens)))
    A = np.zeros((len(y) + 1, len(y) + 1))
    A[:-1, :-1] = -J @ J.T / Q.dataset.n_prompts - weight_decay * np.eye(len(y))
    A[:-1, -1] = J @ (J.T @ y) / Q.dataset.n_prompts + weight_decay * u_H
    gaps = []
    for i, tau in enumerate(answer.frame_tau):
        exact = (expm(tau * A) @ np.append(u_0, 1.0))[:-1]
        gaps.append(np.abs(Q.predict(answer.measure(i)).ravel() - exact).max() / np.abs(u_0 - y).max())
    return {"gap": max(gaps), "share": answer.risk[-1] / answer.risk[0]}


def claims(runs: Runs) -> list[Claim]:
    out, words = [], "values alone, predictions against the matrix exponential to tau = 40"
    for kernel in KERNELS:
        worst = max(float(a["gap"]) for _, a in runs.of(kernel=kernel))
        out.append(at_most(f"{kernel}: {words}", worst, 1e-9))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
