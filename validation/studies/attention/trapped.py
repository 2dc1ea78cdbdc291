"""Does one softmax head run away where the gradient flow says?

From w < ln 3 the flow of W_Q goes to the fit. From beyond, F' ~ 0.7 e^-w and 9/10 - F ~ 0.7 for large w, so that

    w' = -(F(w) - 9/10) F'(w) ~ 0.49 e^-w,    w ~ ln(0.49 tau),    R > 0.7^2/2 = 0.245

The head is trapped: it runs away. Measured: w and the risk up to tau = 1e5 from four starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import common_legend, line_of, panels
from validation.studies.attention._trap import FIT, LOST, PEAK, trap, trap_heads
from validation.study import Answer, Claim, Runs, at_most, within

COST = 0.5
CAPTION = (
    "One softmax head on one prompt from four starts: w along training beside ln(0.49 tau), and the risk beside 0.245, "
    "both dotted."
)


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"start": w, "tau": 1e5} for w in (0.0, 1.0, 1.2, 2.0)]


def measure(start: float, tau: float) -> Answer:
    """w and the risk along training."""
    times, Q = np.geomspace(1e-1, tau, 60), trap("softmax")
    save = wflow.SaveAt(tau=times[:-1].tolist())
    options: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12, "save": save, "tol": 0, "progress": False}
    answer = wflow.solve(Q, trap_heads(np.array([start])), (0, tau), **options)
    frames = [answer.measure(i) for i in range(answer.n_frames)]
    w, R = [rho.theta[0, 0, 14] for rho in frames], [Q.risk(rho) for rho in frames]
    return {"tau": answer.frame_tau, "w": np.array(w), "R": np.array(R)}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        words, w, R = f"the trap: from w = {case['start']:g}, ", a["w"][-1], a["R"][-1]
        if case["start"] < PEAK:
            out.append(within(words + "w at the end", w, FIT, 1e-8))
            out.append(at_most(words + "risk at the end", R, 1e-18))
        else:
            out.append(within(words + "risk at the end", R, LOST, 1e-4))
            out.append(within(words + "w - ln(0.49 tau) at the end", w - np.log(0.49 * a["tau"][-1]), 0.0, 1e-3))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (place, risk) = panels(2, 2.5)
    for k, (case, a) in enumerate(runs):
        place.plot(a["tau"][1:], a["w"][1:], label=f"$w_0={case['start']:g}$", **line_of(k))
        risk.plot(a["tau"][1:], a["R"][1:], **line_of(k))
    guide: dict[str, Any] = {"color": "black", "linewidth": 0.6, "linestyle": ":"}
    tau = np.geomspace(10, 1e5, 20)
    place.plot(tau, np.log(0.49 * tau), **guide)
    risk.axhline(LOST, **guide)
    for axes, name in ((place, "$w$"), (risk, "risk $R$")):
        axes.set(xscale="log", xlabel=r"$\tau$", ylabel=name)
    common_legend(place, "outside right center")
    return drawing
