"""What do the particles collapse onto?

At rest lambda beta = -J^T r/B, with the gradients J of the predictions in the metric of the flow. With K = J J^T

    r = -lambda B K^{-1} J beta,

every residual from the particles alone. The parameters in which encoders are linear are a function of the others there:

    V = V*(W) = -E[p P^T Z^T]/(2 lambda),  likewise W_2,

and V - V*(W) decays like e^{-lambda tau} as long as V* stands still. J comes from the numpy Transformer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from validation.decays import decay_rate
from validation.drawing import common_legend, panels
from validation.studies.weight_decay._flow import by_lambda, cost, flows, to_rest
from validation.studies.weight_decay._problems import END
from validation.study import Answer, Claim, Runs, at_most

COST = cost
CAPTION = (
    "In-context regression. Left: rms |V - V*(W)| over rms |V|, computed by the numpy Transformer, for several lambda; "
    "the thin line is e^{-lambda tau}. Middle: the same for W_2. Right: the support radius max |beta|."
)


def cases(full: bool) -> list[dict[str, Any]]:
    """The flows of :mod:`rest` with weight decay."""
    return [case for case in flows(full) if case["weight_decay"] > 0]


measure = to_rest


def claims(runs: Runs) -> list[Claim]:
    out = []
    for name in dict.fromkeys(case["problem"] for case, _ in runs):
        some = by_lambda(runs, problem=name).values()
        gap = max(float(np.linalg.norm(run["r"] - run["expected_r"]) / np.linalg.norm(run["r"])) for run in some)
        text = f"{name}: residuals at rest against -lambda B K^{{-1}} J beta, largest difference"
        out.append(at_most(text, gap, 1e-3))
        # Both are parts of v/lambda; over all parameters, since weight decay may put out one block and keep the other.
        gap = max(float(run["relative velocity"]) for run in some if _alive(run))
        text = f"{name}: |V - V*| and |W_2 - W_2*| at rest over |beta|, at most |v|/(lambda |beta|)"
        out.append(at_most(text, gap, 1e-3))
    return out


def findings(runs: Runs) -> list[str]:
    rates = [_rate(run, x) for x, run in by_lambda(runs, problem="regression").items()]
    verdict = "like e^{-lambda tau} or faster for some lambda"
    if max(rates) < 0.95:
        verdict = "slower than e^{-lambda tau}: the target V*(W) still moves"
    return [
        f"In-context regression: between lambda tau = 1 and 8, |V - V*(W)| decays at {min(rates):.2f} to "
        f"{max(rates):.2f} lambda, {verdict}."
    ]


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, row = panels(3)
    some = by_lambda(runs, problem="regression")
    for color, (x, run) in zip(colormaps["viridis"](np.linspace(0, 0.9, len(some))), some.items()):
        for axes, name in zip(row, ("gap_V", "gap_W2")):
            axes.semilogy(x * run["frame_tau"], run[name], color=color)
        row[2].semilogx(x * run["tau"][1:], run["radius"][1:], color=color, label=f"{x:g}")
    time = np.linspace(0, 10, 50)
    for axes, label in zip(row, (r"$|V-V^*(W)|\,/\,|V|$", r"$|W_2-W_2^*(W_1)|\,/\,|W_2|$")):
        axes.semilogy(time, np.exp(-time), color="0.4", lw=0.6)
        axes.set(xlim=(0, 20), ylim=(1e-4, 1e1), xlabel=r"$\lambda\tau$", ylabel=label)
    row[2].set(xlabel=r"$\lambda\tau$", ylabel=r"$\max\,|\beta|$", xlim=(1e-3, END))
    common_legend(row[2], "outside right center", title=r"$\lambda$")
    return drawing


def _alive(run: Answer) -> bool:
    """Whether weight decay has left anything of the particles."""
    return bool(run["second_moment"][-1] > 1e-6 * run["second_moment"][0])


def _rate(run: Answer, weight_decay: float) -> float:
    """The decay rate of |V - V*|/|V| over lambda, fitted for 1 <= lambda tau <= 8."""
    time = weight_decay * run["frame_tau"]
    inside = (time >= 1) & (time <= 8)
    return decay_rate(time[inside], run["gap_V"][inside])
