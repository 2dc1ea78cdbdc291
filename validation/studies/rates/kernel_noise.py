"""How far is the first kernel of M particles from that of their law?

K is a mean over particles, so that over independent draws

    (E |K - E K|^2)^{1/2} ~ M^{-1/2}.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import wflow
from validation.drawing import log_log, panels
from validation.statistics import bootstrap, power_law
from validation.studies.rates._model import problem
from validation.study import Answer, Claim, Runs, within
from wflow import initial
from wflow.figures.style import PALETTE

Array = NDArray[Any]

COST = 3.0
CAPTION = "Relative spread of the first kernel over independent particles; thin line: slope -1/2."


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"width": m, "draws": 48 if full else 24} for m in [4, 8, 16, 32, *([64] if full else [])]]


def measure(width: int, draws: int) -> Answer:
    """The kernels of independent first particles for the same data, shape (draws, B, B)."""
    objective, _ = problem("linear", 4, width, 0)
    law = initial.gaussian(std=0.3)
    some = [law.sample(objective, width, rng=1000 + seed) for seed in range(draws)]
    return {"kernels": np.array([wflow.tangent_kernel(objective, rho) for rho in some])}


def claims(runs: Runs) -> list[Claim]:
    widths, samples = [case["width"] for case, _ in runs], np.stack([a["kernels"] for _, a in runs], axis=1)

    def exponent(draws: Array) -> float:
        return power_law(widths, [_spread(draws[:, i]) for i in range(len(widths))]).exponent

    text = "exponent in M of the spread of the first kernel over independent particles"
    return [within(text, exponent(samples), -0.5, 0.1, interval=bootstrap(exponent, samples, seed=0))]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, axes = panels(1)
    widths = np.array([case["width"] for case, _ in runs])
    spread = np.array([_spread(a["kernels"]) / np.linalg.norm(a["kernels"].mean(axis=0)) for _, a in runs])
    log_log(axes, widths.tolist(), spread)
    axes.plot(widths, spread, "o", ms=4, color=PALETTE[0])
    axes.plot(widths, spread[0] * (widths / widths[0]) ** -0.5, color="0.4", lw=0.6)
    axes.set(xlabel="width $M$", ylabel="relative spread of $K$")
    return drawing


def _spread(kernels: Array) -> float:
    """The rms distance from their mean."""
    return float(np.sqrt(np.mean(np.sum((kernels - kernels.mean(axis=0)) ** 2, axis=(1, 2)))))
