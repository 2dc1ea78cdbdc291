"""Does the risk of many prompts fall like a power of the training time?

Each mode of the kernel falls like e^{-k_i tau/B}. Where the k_i are spread over decades,

    R = sum_i c_i e^{-2 k_i tau/B}

looks like a power of tau over a window, until the slowest mode is left alone after the time B/(2 k). Theory predicts no
power.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import wflow
from validation.drawing import line_of, panels
from validation.statistics import power_law
from validation.studies.rates._model import BASE, SCHEME, frozen_risk, problem, residual
from validation.study import Answer, Claim, Runs
from wflow.figures.style import PALETTE

Array = NDArray[Any]

CAPTION = (
    "Left: risk for many prompts, with the first kernel frozen, and the power law of the fit. Right: all eigenvalues "
    "of the first and the last kernel."
)


def COST(B: int, **case: Any) -> float:
    """A Transformer with twice the prompts takes more steps, too."""
    return 90.0 if B > 32 else 25.0


def cases(full: bool) -> list[dict[str, Any]]:
    return [{**BASE, "B": 64 if full else 32, "end": 500.0}]


def measure(task: str, B: int, width: int, seed: int, end: float) -> Answer:
    """R over tau, that of the frozen first kernel, and the eigenvalues at both ends."""
    objective, rho0 = problem(task, B, width, seed)
    answer = wflow.solve(objective, rho0, (0, end), scheme=SCHEME, rtol=1e-3)
    first, last = (wflow.tangent_kernel(objective, answer.measure(i)) for i in (0, -1))
    return {
        "tau": answer.tau,
        "R": answer.risk,
        "first": np.linalg.eigvalsh(first),
        "last": np.linalg.eigvalsh(last),
        "frozen": frozen_risk(first, residual(objective, rho0), answer.tau),
    }


def claims(runs: Runs) -> list[Claim]:
    return []


def findings(runs: Runs) -> list[str]:
    ((case, run),) = runs
    tau, R = _window(run)
    fit, local = power_law(tau, R), np.diff(np.log(R)) / np.diff(np.log(tau))
    B, last = case["B"], run["last"]
    return [
        f"B = {B}: the last kernel has eigenvalues from {last[0]:.2g} to {last[-1]:.2g}, and R falls over "
        f"{tau[0]:.3g} <= tau <= {tau[-1]:.3g} like tau to the power {fit.exponent:.2f} (95 %: {fit.interval[0]:.2f} "
        f"to {fit.interval[1]:.2f}), with local exponents from {local.max():.2f} to {local.min():.2f}: a power law "
        f"{'in this window' if np.ptp(local) < 0.3 else 'only roughly'}. The slowest mode has the life time B/(2 k) = "
        f"{B / (2 * last[0]):.3g}. With the frozen first kernel R would end at {run['frozen'][-1]:.2g} instead of "
        f"{run['R'][-1]:.2g}."
    ]


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2)
    ((case, run),) = runs
    tau, R = _window(run)
    fit = power_law(tau, R)
    left.loglog(run["tau"][1:], run["R"][1:], **line_of(0, label="flow"))
    left.loglog(run["tau"][1:], run["frozen"][1:], **line_of(1, label="frozen kernel"))
    left.loglog(tau, fit.constant * tau**fit.exponent, color="k", lw=0.6, label=f"$\\tau^{{{fit.exponent:.2f}}}$")
    for k, name in enumerate(("first", "last")):
        right.semilogy(np.arange(1, case["B"] + 1), run[name][::-1], "os"[k], ms=3, color=PALETTE[k], label=name)
    left.set(xlabel="$\\tau$", ylabel="$R$")
    right.set(xlabel="number", ylabel=f"eigenvalues, $B={case['B']}$")
    for axes in (left, right):
        axes.legend()
    return drawing


def _window(run: Answer) -> tuple[Array, Array]:
    """R at log-spaced training times of the second half of its decades."""
    tau = np.geomspace(0.06 * run["tau"][-1], run["tau"][-1], 16)
    return tau, np.exp(np.interp(np.log(tau), np.log(run["tau"][1:]), np.log(run["R"][1:])))
