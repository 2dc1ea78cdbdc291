"""Does one token grow by the stability polynomial of the depth rule?

One token in L layers with equal means obeys T' = 0.4 T, which a rule solves by a polynomial in x = 0.4/L:

    split-euler  (1 + x/2)^(2 L)
    midpoint     (1 + x + x^2/2)^L
    rk4-nodes    (1 + x + x^2/2 + x^3/6 + x^4/24)^L

Measured in 1, 2 and 5 layers, relative. They are equal up to round-off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from validation.studies.model._depths import ORDERS
from validation.study import Answer, Claim, Runs, at_most
from wflow.problems import single_token

COST = 0.1
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"depth": depth, "layers": L} for depth in ORDERS for L in (1, 2, 5)]


def measure(depth: str, layers: int) -> Answer:
    """How far the growth is from that of the polynomial."""
    problem, x = single_token(layers=layers, depth=depth), 0.4 / layers
    series = [1, x, x**2 / 2, x**3 / 6, x**4 / 24]
    growth = {"split-euler": (1 + x / 2) ** 2, "midpoint": sum(series[:3]), "rk4-nodes": sum(series)}[depth] ** layers
    found = problem.energy.predict(problem.rho0) / problem.energy.dataset.tokens[:, 0, 0]
    return {"difference": float(np.abs(found / growth - 1).max())}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for depth in ORDERS:
        worst = max(a["difference"] for _, a in runs.of(depth=depth))
        out.append(at_most(f"{depth}: growth of one token in 1, 2 and 5 layers, relative", worst, 1e-13))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
