"""Do linear models come to rest at the solution of their ridge regression?

Constant encoders and frozen features predict, with the means m of the particles,

    y_hat = Read H + 1/2 sum over blocks <m, psi>,

so that the flow rests at the minimum of E (y_hat - y)^2/2 + lambda |m|^2/2. Its Q and R are known to round-off, and R
exceeds its floor, that of lambda = 0, by O(lambda^2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import common_legend, panels
from validation.fits import grows_as
from validation.studies.weight_decay._flow import by_lambda, excess
from validation.studies.weight_decay._problems import END
from validation.study import Answer, Claim, Runs, at_most
from wflow.figures.style import PALETTE
from wflow.problems import constant_encoders, two_layer
from wflow.schemes import BDF2

COST = 2.0
CAPTION = (
    "Risk (left) and objective (middle) above the floor of the risk where the flow comes to rest (points) and by ridge "
    "regression (lines). Right: their relative difference, filled for R, open for Q."
)
MODELS = {"constant-encoders": constant_encoders, "two-layer": two_layer}


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"problem": p, "weight_decay": x} for p in MODELS for x in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)]


def measure(problem: str, weight_decay: float) -> Answer:
    """Q and R where the flow comes to rest, and the exact ones; the floor of R without decay."""
    exact = MODELS[problem](weight_decay=weight_decay)
    answer = wflow.solve(exact.energy, exact.rho0, (0, END / weight_decay), scheme=BDF2(), rtol=1e-3, atol=1e-6)
    Q, R = _ridge(problem, exact.energy.dataset, weight_decay)
    _, floor = _ridge(problem, exact.energy.dataset, 0.0)
    return {"Q": answer.energy[-1], "R": answer.risk[-1], "exact_Q": Q, "exact_R": R, "floor": floor}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for problem in MODELS:
        some = by_lambda(runs, problem=problem)
        for letter in "QR":
            gap = max(_gap(run, letter) for run in some.values())
            out.append(at_most(f"{problem}: relative error of {letter}_inf - floor, lambda = 1e-5 to 0.1", gap, 1e-5))
        small = [x for x in some if x < 2e-3]
        text = f"{problem}: exponent of R_inf - floor, lambda <= 0.001"
        out.append(grows_as(text, small, [excess(some[x], "R") for x in small], 2))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, row = panels(3)
    for k, problem in enumerate(MODELS):
        some, color = by_lambda(runs, problem=problem), PALETTE[k]
        for axes, letter, face in zip(row, "RQ", (color, "white")):
            style: dict[str, Any] = {"color": color, "marker": "os"[k], "ms": 3.5, "ls": "none"}
            axes.loglog([*some], [run[f"exact_{letter}"] - run["floor"] for run in some.values()], color=color, lw=0.6)
            axes.loglog([*some], [excess(run, letter) for run in some.values()], **style, label=problem)
            row[2].loglog([*some], [_gap(run, letter) for run in some.values()], **style, mfc=face)
    for axes, label in zip(row, ("$R_\\infty$ - floor", "$Q_\\infty$ - floor", "relative difference")):
        axes.set(xlabel="weight decay $\\lambda$", ylabel=label)
    common_legend(row[0], "outside upper center", ncols=2)
    return drawing


def _ridge(problem: str, data: wflow.Dataset, weight_decay: float) -> tuple[float, float]:
    """Q and R of the ridge regression, m its solution."""
    blocks = 2 if problem == "constant-encoders" else 1
    psi = np.ones((data.n_prompts, 1)) if problem == "constant-encoders" else data.tokens[:, :-1, -1]
    offset = data.labels - data.read(data.tokens)
    design = 0.5 * np.tile(psi, (1, blocks)) / np.sqrt(data.n_prompts)
    ridge = np.sqrt(weight_decay) * np.eye(design.shape[1])
    target = np.concatenate([offset / np.sqrt(data.n_prompts), np.zeros(len(ridge))])
    m = np.linalg.lstsq(np.vstack([design, ridge]), target, rcond=None)[0]
    R = 0.5 * np.sum((design @ m - target[: data.n_prompts]) ** 2)
    return float(R + 0.5 * weight_decay * m @ m), float(R)


def _gap(run: Answer, letter: str) -> float:
    """The error of Q or R relative to what the exact one has above the floor."""
    return float(abs(run[letter] - run[f"exact_{letter}"]) / (run[f"exact_{letter}"] - run["floor"]))
