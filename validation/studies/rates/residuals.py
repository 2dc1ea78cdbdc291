"""Do residuals obey the equation of the tangent kernel?

Along the flow, with J the gradients of the predictions in its metric and r = y_hat - y,

    dr/dtau = -(K r/B + lambda J beta),  K = J J^T.

The left side is taken from differences of the predictions of wflow along its velocity, J from the numpy Transformer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import panels
from validation.kernel import flatten, prediction_gradients, state_of
from validation.statistics import relative_gap
from validation.studies.rates._model import BASE, problem, residual
from validation.study import Answer, Claim, Runs, at_most
from validation.trajectory import finite_transformer
from wflow.figures.style import PALETTE

COST = 3.0
CAPTION = (
    "Left: largest difference of both sides of the equation over the largest entry of one. Right: the same of K by "
    "wflow and J J^T by the numpy Transformer."
)


def cases(full: bool) -> list[dict[str, Any]]:
    return [{**BASE, "weight_decay": x} for x in (0.0, 0.05)]


def measure(task: str, B: int, width: int, seed: int, weight_decay: float) -> Answer:
    """Both differences at several tau."""
    objective, rho0 = problem(task, B, width, seed, weight_decay)
    answer = wflow.solve(objective, rho0, (0, 30), rtol=1e-6, save=wflow.SaveAt(tau=[1.0, 3.0, 10.0]))
    model, gaps, kernels, step = finite_transformer(objective), [], [], 1e-5
    for i in range(answer.n_frames):
        rho = answer.measure(i)
        v, state = objective.velocity(rho), state_of(rho.blocks)
        moved = [rho.replace(**{name: x + h * v[name] for name, x in rho.blocks.items()}) for h in (step, -step)]
        ahead, behind = (objective.predict(x) for x in moved)
        J, r = prediction_gradients(model, state, objective.dataset), residual(objective, rho)
        expected = -J @ (J.T @ r / B + weight_decay * flatten(state))
        gaps.append(relative_gap((ahead - behind) / (2 * step), expected))
        K = wflow.tangent_kernel(objective, rho)
        kernels.append(relative_gap(J @ J.T, K))
    return {"tau": answer.frame_tau, "gap": np.array(gaps), "kernel": np.array(kernels)}


def claims(runs: Runs) -> list[Claim]:
    gap, kernel = (max(answer[name].max() for _, answer in runs) for name in ("gap", "kernel"))
    return [
        at_most("dr/dtau of wflow against -(K r/B + lambda J beta), largest relative difference", gap, 1e-7),
        at_most("K of wflow against J J^T of the numpy Transformer, largest relative difference", kernel, 1e-12),
    ]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2)
    for k, (case, answer) in enumerate(runs):
        line: dict[str, Any] = {"color": PALETTE[k], "marker": "os"[k], "ms": 4, "lw": 0.6}
        for axes, name in zip(row, ("gap", "kernel")):
            axes.semilogy(answer["tau"], answer[name], **line, label=f"$\\lambda={case['weight_decay']:g}$")
    for axes, label in zip(row, (r"difference of $dr/d\tau$", "difference of $K$")):
        axes.set(xlabel="$\\tau$", ylabel=label)
    row[1].set_ylim(1e-16, 1e-14)
    row[0].legend()
    return drawing
