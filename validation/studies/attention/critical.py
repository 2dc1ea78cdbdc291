"""Where does one head on one prompt stand still, with softmax and with the Gaussian kernel?

One query has scores w k_j with the keys -1, 0, 1, or -(k_j - w)^2/2, the values 1, -1/2, 1/5 and the label 9/10. W_Q,
trained alone, is the number w:

    w' = -(F(w) - 9/10) F'(w),    F = (e^-w - 1/2 + e^w/5)/(e^-w + 1 + e^w)  for softmax

Softmax fits at w = -ln(7 + sqrt 56); its least prediction is 1/10 at w = ln 3, where the risk is largest. The
Gaussian kernel cannot fit at all: its largest prediction is 0.7563, and it has three critical points, traps of its
own. Measured: all zeros of the velocity in (-8, 8), and predictions there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq

from validation.drawing import line_of, panels
from validation.studies.attention._trap import FIT, LABEL, PEAK, trap, trap_heads
from validation.study import Answer, Claim, Runs, within

COST = 0.5
CAPTION = "One head on one prompt: predictions over w, marked where W_Q does not move, and the label, dotted."

KERNELS = ("softmax", "gaussian")
GAUSSIAN_CRITICAL, GAUSSIAN_LARGEST = (-1.2583, 0.8754, 1.8466), 0.7563


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"kernel": kernel} for kernel in KERNELS]


def measure(kernel: str) -> Answer:
    """The predictions of one head over w, and all w at which it does not move."""
    Q, w = trap(kernel), np.linspace(-8, 8, 801)

    def speed(x: float) -> float:
        return float(Q.velocity(trap_heads(np.array([x])))["theta"][0, 0, 14])

    def predictions(points: Any) -> Any:
        return np.array([Q.predict(trap_heads(np.array([x]))).item() for x in points])

    speeds = [speed(x) for x in w]
    zeros = [brentq(speed, w[i], w[i + 1], xtol=1e-14) for i in range(len(w) - 1) if speeds[i] * speeds[i + 1] < 0]
    return {"w": w, "F": predictions(w), "zeros": np.array(zeros), "values": predictions(zeros)}


def claims(runs: Runs) -> list[Claim]:
    softmax, gaussian = (runs.one(kernel=kernel) for kernel in KERNELS)
    out = [within("the trap: number of critical points, softmax", len(softmax["zeros"]), 2, 0)]
    for name, expected, w in (("fit", FIT, softmax["zeros"][0]), ("peak", PEAK, softmax["zeros"][-1])):
        out.append(within(f"the trap: w of the {name}, softmax", w, expected, 1e-10))
    out.append(within("the trap: the least prediction, softmax", softmax["values"][-1], 0.1, 1e-14))
    out.append(within("the trap: number of critical points, gaussian", len(gaussian["zeros"]), 3, 0))
    for w, expected in zip(gaussian["zeros"], GAUSSIAN_CRITICAL):
        out.append(within("the trap: a critical w, gaussian", w, expected, 5.1e-5))
    largest = float(gaussian["values"].max())
    return [*out, within("the trap: the largest prediction, gaussian", largest, GAUSSIAN_LARGEST, 5.1e-5)]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2, 2.5, sharey=True)
    for axes, (case, a) in zip(row, runs):
        axes.plot(a["w"], a["F"], **line_of(0))
        axes.plot(a["zeros"], a["values"], "o", color="black", markersize=3)
        axes.axhline(LABEL, color="black", linewidth=0.6, linestyle=":")
        axes.set(title=case["kernel"], xlabel="$w$", ylim=(-0.1, 1.05))
    row[0].set_ylabel("prediction $F(w)$")
    return drawing
