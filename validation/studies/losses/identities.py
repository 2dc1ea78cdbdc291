"""Do Q and the predictions of a Transformer change as dissipation and tangent kernel say?

Along the flow of every loss, the second without weight decay:

    dQ/dtau = -|v|^2,    du/dtau = -K l'(u)/B,    K = J J^T

The tangent kernel K is made of the gradients J of the predictions, here those of the numpy Transformer, and knows
nothing of the loss. Measured at six times of a run in small steps: derivatives along the velocity by differences of
order 6; and the fall of Q beside the integral of |v|^2.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.integrate import cumulative_simpson

import wflow
from validation.agreement import problem
from validation.derivatives import along
from validation.kernel import prediction_gradients, state_of
from validation.losses import LOSSES, loss_and_slope
from validation.statistics import relative_gap
from validation.study import Answer, Claim, Runs, at_most
from validation.trajectory import finite_transformer
from wflow.controllers import Fixed

COST = 1.0
CAPTION = ""

CLAIMED = {
    "slope": ("dQ/dtau against -|v|^2, relative", 1e-9),
    "motion": ("du/dtau against -K l'(u)/B, relative", 1e-8),
    "lost": ("the fall of Q against the integral of |v|^2, relative", 1e-6),
}


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"loss": loss, "seed": seed} for loss in LOSSES for seed in range(5 if full else 1)]


def measure(loss: str, seed: int) -> Answer:
    """The largest relative differences of the three identities."""
    Q, rho = problem("softmax", "causal", loss, seed, "float64")
    steps: dict[str, Any] = {"scheme": "rk4", "controller": Fixed(0.01, monotone=False)}
    answer = wflow.solve(Q, rho, (0, 5.0), save=wflow.SaveAt(every=1.0), tol=0, progress=False, **steps)
    falls = cumulative_simpson(answer.dissipation, x=answer.tau, initial=0)
    lost = answer.energy[0] - answer.energy
    frames = [answer.measure(i) for i in range(answer.n_frames)]
    slopes = [abs(along(Q.value, frame, Q.velocity(frame)) / -Q.dissipation(frame) - 1) for frame in frames]
    motions = [_motion(Q, frame) for frame in frames]
    return {"slope": max(slopes), "motion": max(motions), "lost": np.abs(falls - lost).max() / lost[-1]}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for loss, (name, (text, limit)) in itertools.product(LOSSES, CLAIMED.items()):
        out.append(at_most(f"{loss}: {text}", max(a[name] for _, a in runs.of(loss=loss)), limit))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _motion(Q: wflow.TransformerObjective, frame: wflow.Measure) -> float:
    """How far du/dtau is from -K l'(u)/B without decay, for particles of equal weights, as gradients of numpy take."""
    encoders = Q.attention, Q.feedforward
    free = wflow.TransformerObjective(
        Q.dataset, *encoders, layers=2, loss=Q.loss, huber_delta=Q.huber_delta, mobility=Q.mobility
    )
    rho = wflow.Particles(weights=None, **frame.blocks)
    u = np.reshape(free.predict(rho), (Q.dataset.n_prompts, -1))
    J = prediction_gradients(finite_transformer(free), state_of(rho.blocks), Q.dataset)
    slope = loss_and_slope(Q.loss, u, Q.dataset.labels, Q.huber_delta)[1]
    expected = -J @ (J.T @ slope.ravel()) / len(u)
    moved = np.ravel(along(free.predict, rho, free.velocity(rho)))
    return relative_gap(moved, expected)
