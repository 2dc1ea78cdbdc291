"""Up to which weight decay does the Transformer still fit the data?

Without weight decay R goes to zero. With a small one the particles at rest predict

    R_inf = C lambda^2,  C lambda^2 = E r^2/2,  r = -lambda B K^{-1} J beta,

so that R_inf stays below 1 % of R(0) up to lambda = (R(0)/(100 C))^{1/2}. That is far from small lambda: what the law
says of it is right in size only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from validation.drawing import common_legend, panels
from validation.studies.weight_decay._flow import by_lambda, cost, excess, flows, to_rest
from validation.studies.weight_decay._problems import TRANSFORMERS
from validation.study import Answer, Claim, Runs, at_most
from wflow.figures.style import PALETTE

COST = cost
CAPTION = (
    "Left: risk at rest over that at the start; thin lines are the law of the smallest lambda, the grey one is 1 %. "
    "Right: Q at rest over lambda; the dashed lines are half the second moment of what the flow without weight decay "
    "ends at."
)


def cases(full: bool) -> list[dict[str, Any]]:
    """The Transformers of :mod:`rest`, without weight decay too."""
    return [case for case in flows(full) if case["problem"] in TRANSFORMERS]


measure = to_rest


def claims(runs: Runs) -> list[Claim]:
    some = _fits(runs)
    text = "largest lambda with R_inf <= 1 % of R(0) over the one by the law of the smallest lambda, or inverse"
    out = []
    for name, fit in some.items():
        out.append(at_most(f"{name}: R/R(0) without weight decay", fit.left, 1e-6))
        out.append(at_most(f"{name}: {text}", max(fit.measured / fit.expected, fit.expected / fit.measured), 2.0))
    return out


def findings(runs: Runs) -> list[str]:
    out = []
    for name, fit in _fits(runs).items():
        out.append(
            f"{name}: without weight decay R falls to {fit.left:.1g} of R(0) by tau = {fit.free['tau'][-1]:g}; with it "
            f"R_inf is {fit.constant:.3g} lambda^2 for the smallest lambda, at most 1 % of R(0) for lambda <= "
            f"{fit.measured:.2g} (the law of the smallest lambda says {fit.expected:.2g}), and "
            f"{100 * fit.shares[-1]:.2g} % of it at lambda = {fit.decays[-1]:g}."
        )
        verdict = "Weight decay has not found smaller particles: it has stopped at a worse stationary point."
        if fit.prices[0] < fit.price:
            verdict = "Weight decay finds particles of smaller norm that fit as well."
        out.append(
            f"{name}: Q_inf/lambda is {fit.prices[0]:.4g} at lambda = {fit.decays[0]:g}; half the second moment of "
            f"what the flow without weight decay ends at is {fit.price:.4g}. {verdict}"
        )
    return out


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2)
    for k, (name, fit) in enumerate(_fits(runs).items()):
        line: dict[str, Any] = {"color": PALETTE[k], "marker": "os"[k], "ms": 3.5}
        left.loglog(fit.decays, fit.shares, **line, ls="none", label=name)
        left.loglog(fit.decays, 0.01 * (np.array(fit.decays) / fit.expected) ** 2, color=PALETTE[k], lw=0.6)
        right.semilogx(fit.decays, fit.prices, **line, lw=0.8)
        right.axhline(fit.price, color=PALETTE[k], ls="--", lw=0.8)
    left.axhline(0.01, color="0.6", lw=0.6)
    left.set(xlabel="weight decay $\\lambda$", ylabel="$R_\\infty\\,/\\,R(0)$")
    right.set(xlabel="weight decay $\\lambda$", ylabel="$Q_\\infty\\,/\\,\\lambda$", ylim=(0, None))
    common_legend(left, "outside upper center", ncols=2)
    return drawing


class _Fit(NamedTuple):
    """One problem: the flow without weight decay, and those with."""

    free: Answer
    left: float  # R/R(0) without weight decay
    price: float  # half the second moment there
    decays: list[float]
    shares: list[float]  # R_inf/R(0)
    prices: list[float]  # Q_inf/lambda
    constant: float
    measured: float
    expected: float


def _fits(runs: Runs) -> dict[str, _Fit]:
    out = {}
    for name in dict.fromkeys(case["problem"] for case, _ in runs):
        some = by_lambda(runs, problem=name)
        free = some.pop(0.0)
        decays, start = [*some], float(some[min(some)]["R"][0])
        risks, prices = [excess(run, "R") for run in some.values()], [excess(run, "Q") / x for x, run in some.items()]
        measured = float(np.exp(np.interp(np.log(0.01 * start), np.log(risks), np.log(decays))))
        constant = 0.5 * float(np.mean(some[decays[0]]["expected_r"] ** 2)) / decays[0] ** 2
        out[name] = _Fit(
            free,
            float(free["R"][-1] / free["R"][0]),
            0.5 * float(free["second_moment"][-1]),
            decays,
            [x / start for x in risks],
            prices,
            constant,
            measured,
            float(np.sqrt(0.01 * start / constant)),
        )
    return out
