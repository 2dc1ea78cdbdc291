"""Does a step on a linear flow multiply it by the stability function of the scheme?

For constant encoders the gap of the prediction decays at the rate 1/2 + lambda, and the particles' distances from
their mean at the rate lambda. In steps of size h they fall by

    gap: R(-(1/2 + lambda) h),    spread: R(-lambda h)

with the stability function R of the scheme: the polynomial of e^z of an explicit one, 1/(1 - z) for JKO, (1 + z/2)/(1
- z/2) for implicit midpoints and discrete gradients, a recurrence for BDF2. Measured after four steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.studies.exact._errors import ORDERS
from validation.study import Answer, Claim, Runs, within
from wflow.problems import constant_encoders

COST = 0.1
CAPTION = ""

#: They solve their equation to about a thousandth of the error of the step.
PROXIMAL = ("jko", "bdf2", "midpoint")


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"scheme": scheme, "h": h, "steps": 4} for scheme in ORDERS for h in (0.25, 1.0)]


def measure(scheme: str, h: float, steps: int) -> Answer:
    """By how much gap and spread shrink, how much they should, and how exactly."""
    decay = 0.2
    problem = constant_encoders(weight_decay=decay, layers=2, width=4, rng=3)
    rho = wflow.solve(problem.energy, problem.rho0, (0, steps * h), scheme=scheme, dtau=h, tol=0).measure(-1)
    limit, start, now = (p[0] for p in map(problem.energy.predict, (problem.measure(1e3), problem.rho0, rho)))
    spread = [np.ptp(np.sort(x.theta[0, :, 0])) for x in (problem.rho0, rho)]
    out: dict[str, Any] = {}
    for name, rate, factor in (
        ("gap", 0.5 + decay, (now - limit) / (start - limit)),
        ("spread", decay, spread[1] / spread[0]),
    ):
        expected = _stability(scheme, -rate * h, steps)
        allowed = 5e-3 * abs(expected - np.exp(-rate * h * steps)) if scheme in PROXIMAL else 1e-8
        out |= {name: float(factor), f"{name} expected": expected, f"{name} allowed": allowed}
    return out


def claims(runs: Runs) -> list[Claim]:
    out = []
    for scheme in ORDERS:
        rows = [a for _, a in runs.of(scheme=scheme)]
        for name, words in (("gap", "of the gap of the prediction"), ("spread", "of the spread of particles")):
            shares = [(abs(a[name] - a[f"{name} expected"]) / a[f"{name} allowed"], a) for a in rows]
            _, worst = max(shares, key=lambda pair: pair[0])
            statement = f"{scheme}: factor {words} after 4 steps is that of its stability function"
            out.append(within(statement, worst[name], worst[f"{name} expected"], worst[f"{name} allowed"]))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _stability(scheme: str, z: float, n: int) -> float:
    """The factor of n steps on x' = (z/h) x."""
    taylor = {"euler": 1, "heun": 2, "bs3": 3, "rk4": 4}
    if scheme in taylor:
        return float(sum(z**k / np.prod(range(1, k + 1), initial=1.0) for k in range(taylor[scheme] + 1))) ** n
    if scheme == "dopri5":
        return float(sum(z**k / np.prod(range(1, k + 1), initial=1.0) for k in range(6)) + z**6 / 600) ** n
    if scheme in ("jko", "quantile-jko"):
        return float(1 - z) ** -n
    trapezoid = (1 + z / 2) / (1 - z / 2)
    if scheme != "bdf2":
        return float(trapezoid) ** n
    before, now = 1.0, trapezoid  # its first step is one of the midpoint rule
    for _ in range(n - 1):
        before, now = now, (4 * now - before) / (3 - 2 * z)
    return now
