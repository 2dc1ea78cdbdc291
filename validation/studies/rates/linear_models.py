"""Do linear models and single tokens come to rest at their exact rates?

Predictions approach their last values like e^{-mu tau}, with mu in closed form:

    constant encoders    1/2 + lambda
    frozen features      smallest eigenvalue of E psi psi^T/4, plus lambda
    one token            -dF/dS where F(S) = 0,  dS/dtau = F(S) = -(a P^2 - b P)/(2 c) - lambda S,
                         c = 1 + S/(2 L),  P = c^{2 L},  a = E x^2,  b = E x y

The last is the solution of the layers themselves, with the same means in all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq

import wflow
from validation.drawing import line_of, panels
from validation.study import Answer, Claim, Runs, within
from wflow.problems import constant_encoders, single_token, two_layer

COST = 1.0
CAPTION = (
    "Left: distance of R from its last value over that at the start; the thin line is e^{-mu tau} with the exact rate "
    "mu. Right: the same times e^{mu tau}, which tends to a constant."
)
MODELS = {"constant-encoders": constant_encoders, "two-layer": two_layer, "single-token": single_token}


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"problem": p, "weight_decay": 0.1} for p in MODELS]


def measure(problem: str, weight_decay: float) -> Answer:
    """R, the last rate at which predictions approach their last values, and the exact one."""
    options: dict[str, Any] = {"limit": False, "layers": 8} if problem == "single-token" else {}
    exact = MODELS[problem](weight_decay=weight_decay, depth="split-euler", **options)
    rate = _rate(problem, exact.energy.dataset, weight_decay, exact.energy.rule.n_slices)
    save = wflow.SaveAt(tau=[10 / rate, 15 / rate])
    answer = wflow.solve(exact.energy, exact.rho0, (0, 20 / weight_decay), rtol=1e-9, atol=1e-13, tol=0, save=save)
    predictions = [exact.energy.predict(answer.measure(i)) for i in range(answer.n_frames)]
    gaps = [np.linalg.norm(x - predictions[-1]) for x in predictions[1:3]]
    return {
        "tau": answer.tau,
        "R": answer.risk,
        "rate": np.log(gaps[0] / gaps[1]) / (answer.frame_tau[2] - answer.frame_tau[1]),
        "expected": rate,
    }


def claims(runs: Runs) -> list[Claim]:
    text = "{problem}, lambda = {weight_decay:g}: last rate of predictions"
    return [within(text.format(**case), x["rate"], x["expected"], 1e-3, relative=True) for case, x in runs]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2)
    for k, (case, answer) in enumerate(runs):
        time, gap = answer["expected"] * answer["tau"], np.abs(answer["R"] - answer["R"][-1])
        shown, share = time <= 16, gap / gap[0]
        left.semilogy(time[shown], share[shown], **line_of(k, label=case["problem"]))
        right.plot(time[shown], (share * np.exp(time))[shown], **line_of(k))
    left.semilogy([0, 16], np.exp([0.0, -16.0]), color="0.4", lw=0.6)
    left.set(xlabel=r"$\mu\tau$", ylabel=r"$|R-R_\infty|\,/\,|R(0)-R_\infty|$")
    right.set(xlabel=r"$\mu\tau$", ylabel=r"the same times $e^{\mu\tau}$", ylim=(0, None))
    left.legend()
    return drawing


def _rate(problem: str, data: wflow.Dataset, weight_decay: float, layers: int) -> float:
    if problem == "constant-encoders":
        return 0.5 + weight_decay
    if problem == "two-layer":
        psi = data.tokens[:, :-1, -1]
        return float(np.linalg.eigvalsh(psi.T @ psi / (4 * len(psi)))[0] + weight_decay)
    a, b = float(np.mean(data.tokens[:, 0, 0] ** 2)), float(np.mean(data.tokens[:, 0, 0] * data.labels))

    def F(S: float) -> float:
        factor = 1 + S / (2 * layers)  # of each of 2 L half steps
        P = factor ** (2 * layers)
        return -0.5 * (a * P**2 - b * P) / factor - weight_decay * S

    S, step = float(brentq(F, -3, 3, xtol=1e-14)), 1e-5
    return (F(S - step) - F(S + step)) / (2 * step)
