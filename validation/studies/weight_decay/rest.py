"""What does weight decay cost where the flow comes to rest?

If the network can fit the data with particles of second moment m, then at a global minimum

    R_inf <= Q_inf = R_inf + lambda m_inf/2 <= lambda m/2,

and beyond that one expects R_inf = O(lambda^2), since R is stationary where it vanishes. Neurons alone cannot fit: both
hold above the floor E Var(y | last token)/2. Q falls along the flow, so that the second moment stays below
2 Q(0)/lambda.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.drawing import common_legend, panels
from validation.fits import grows_as
from validation.statistics import power_law
from validation.studies.weight_decay._flow import by_lambda, cost, excess, flows, smallest_decade, to_rest
from validation.study import Answer, Claim, Runs, Table, at_most, within
from wflow.figures.style import PALETTE

COST = cost
CAPTION = (
    "Risk above its floor (left) and objective above the same floor (middle) where the flow comes to rest; thin lines "
    "have slope 2 and 1. Right: training time until Q is within 1 % of its final value."
)


def cases(full: bool) -> list[dict[str, Any]]:
    return flows(full)


measure = to_rest


def claims(runs: Runs) -> list[Claim]:
    out = []
    for name, some in _by_problem(runs).items():
        floor = " - floor" if name == "neurons alone" else ""
        for letter, exponent in (("Q", 1), ("R", 2)):
            small = smallest_decade(some)
            text = f"{name}: exponent of {letter}_inf{floor}, lambda <= {small[-1]:g}"
            out.append(grows_as(text, small, [excess(some[x], letter) for x in small], exponent))
        gap = max(abs(run[x][-1] / run[f"numpy_{x}"] - 1) for run in some.values() for x in "QR")
        out.append(at_most(f"{name}: Q and R at rest against the numpy Transformer", gap, 1e-10))
        size = max(run["second_moment"].max() * x / (2 * run["Q"][0]) for x, run in some.items())
        out.append(at_most(f"{name}: lambda sup second moment/(2 Q(0))", size, 1))
    smallest, run = next(iter(some.items()))
    text = f"{name}, lambda = {smallest:g}: R_inf against the floor E Var(y | last token)/2"
    return [*out, within(text, float(run["R"][-1]), float(run["floor"]), 1e-3, relative=True)]


def findings(runs: Runs) -> list[str]:
    out = []
    for name, some in _by_problem(runs).items():
        small = smallest_decade(some)
        times = [_settled(some[x]) for x in small]
        fit = power_law(small, times)
        out.append(
            f"{name}: Q is within 1 % of its final value above the floor at tau = {times[-1]:.3g} for lambda = "
            f"{small[-1]:g} and at {times[0]:.3g} for lambda = {small[0]:g}, like lambda^{fit.exponent:.2f} "
            f"(95 %: {fit.interval[0]:.2f} to {fit.interval[1]:.2f})."
        )
    return out


def table(runs: Runs) -> Table:
    rows = []
    for case, run in runs:
        x, risk = case["weight_decay"], excess(run, "R")
        row = [case["problem"], x, risk, risk / x**2 if x else "", excess(run, "Q") / x if x else ""]
        row += [float(run["second_moment"][-1]), float(run["radius"][-1]), float(run["radius"].max())]
        rows.append(row + ([_settled(run), float(run["relative velocity"])] if x else ["", ""]))
    head = ["problem", "lambda", "R_inf - floor", "over lambda^2", "(Q_inf - floor)/lambda", "second moment"]
    head += ["largest |beta|", "its maximum", "tau to Q within 1 %", "|v|/(lambda |beta|)"]
    return Table("Where the flow comes to rest.", head, rows)


def figure(runs: Runs) -> Figure:
    drawing, row = panels(3)
    for k, (name, some) in enumerate(_by_problem(runs).items()):
        decays, line = np.array([*some]), {"color": PALETTE[k], "marker": "osD"[k], "ms": 3.5}
        for axes, letter, power in zip(row, "RQ", (2, 1)):
            y = np.array([excess(run, letter) for run in some.values()])
            axes.loglog(decays, y, **line, ls="none", label=name)
            axes.loglog(decays, y[0] * (decays / decays[0]) ** power, color=PALETTE[k], lw=0.6)
        row[2].loglog(decays, [_settled(run) for run in some.values()], **line, lw=0.8)
    for axes, label in zip(row, ("$R_\\infty$ - floor", "$Q_\\infty$ - floor", "$\\tau$ to $Q$ within 1 %")):
        axes.set(xlabel="weight decay $\\lambda$", ylabel=label)
    common_legend(row[0], "outside upper center", ncols=3)
    return drawing


def _by_problem(runs: Runs) -> dict[str, dict[float, Answer]]:
    """The flows with weight decay by problem and lambda; neurons alone are the last."""
    problems = dict.fromkeys(case["problem"] for case, _ in runs)
    return {name: {x: run for x, run in by_lambda(runs, problem=name).items() if x > 0} for name in problems}


def _settled(run: Answer) -> float:
    """The training time from which Q is within 1 % of its last value above the floor."""
    late = np.flatnonzero(run["Q"] - run["Q"][-1] > 0.01 * excess(run, "Q"))
    return float(run["tau"][late[-1] + 1]) if len(late) else 0.0
