"""Does quantile-jko with internal energy have the order of JKO?

Two flows of clouds of quantiles on the line whose variance is known at tau = 1: Ornstein-Uhlenbeck, which relaxes,
and the porous medium equation with m = 2 from the Barenblatt profile at tau = 1 to 2, whose quantiles x = 2 cos(phi)
in the unit of the edge solve

    x^3 - 3 x + 4 s - 2 = 0    for the share s,    variance 18^(2/3)/5 at the end

Measured: the error of the variance for numbers of values and steps, by its order in the number of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import wflow
from validation.flows import SIGMA, ornstein_uhlenbeck, quantiles_of, relaxation
from validation.studies.exact._errors import order
from validation.study import Answer, Claim, Runs, within

COST = 2.0
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [
        {"flow": "Ornstein-Uhlenbeck", "sizes": [(800, 10), (800, 20), (800, 40)]},
        {"flow": "Barenblatt", "sizes": [(50, 20), (100, 40), (200, 80)]},
    ]


def measure(flow: str, sizes: Sequence[tuple[int, int]]) -> Answer:
    """The errors of the variance for (values, steps)."""
    errors = []
    for M, steps in sizes:
        if flow == "Ornstein-Uhlenbeck":
            Q: Any = ornstein_uhlenbeck()
            start = quantiles_of(M, 1.0, np.sqrt(0.2))
            exact = relaxation(1.0, float(start.var()), SIGMA, 1.0)
        else:
            Q, angle = wflow.PorousMedium(2.0), (np.arccos(1 - 2 * (np.arange(M) + 0.5) / M) + 4 * np.pi) / 3
            start, exact = 2 * np.cos(angle)[:, None] * 9 ** (1 / 3), 18 ** (2 / 3) / 5
        rho = wflow.solve(Q, wflow.Particles(x=start), (0, 1), scheme="quantile-jko", dtau=1 / steps).measure(-1)
        errors.append(abs(float(rho.x.var()) - exact))
    return {"errors": np.array(errors)}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        observed = order(a["errors"], [steps for _, steps in case["sizes"]])
        out.append(within(f"order of quantile-jko on {case['flow']}, by the variance", observed, 1, 0.15))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
