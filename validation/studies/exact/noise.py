"""Do clouds with noise have the moments of the linear chain that their scheme is?

On V = |x|^2/2 with entropy sigma, from one point, both schemes of Langevin are sums over independent normal numbers:

    X+ = (1 - h) X + sqrt(2 sigma h) xi_n                      Euler-Maruyama
    X+ = (1 - h) X + sqrt(2 sigma h) (xi_n + xi_{n+1})/2       Leimkuhler-Matthews

so that mean and variance are known at every h and for every number of steps. Measured for a large cloud, in standard
errors; and the correlation of particles with the next 16, since each has its own noise.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import wflow
from validation.flows import SIGMA, ornstein_uhlenbeck
from validation.study import Answer, Claim, Runs, at_most, within

COST = 0.3
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    M = 400_000 if full else 100_000
    every = itertools.product(("langevin", "euler-maruyama"), ((0.2, 30), (0.1, 5), (0.4, 2)))
    return [{"scheme": scheme, "h": h, "steps": n, "M": M, "seed": 5} for scheme, (h, n) in every]


def measure(scheme: str, h: float, steps: int, M: int, seed: int) -> Answer:
    """The moments of a cloud beside those of the chain."""
    Q = ornstein_uhlenbeck()
    rho0 = wflow.Particles(x=np.ones((M, 1)))
    x = wflow.solve(Q, rho0, (0, steps * h), scheme=scheme, dtau=h, rng=seed).measure(-1).x[0, :, 0]
    coefficients, size = np.zeros(steps + 1), np.sqrt(2 * SIGMA * h)  # of the normal numbers, step by step
    for n in range(steps):
        coefficients *= 1 - h
        if scheme == "euler-maruyama":
            coefficients[n] += size
        else:
            coefficients[n : n + 2] += size * np.array([0.5 if n else np.sqrt(0.75), 0.5])
    mean, variance = (1 - h) ** steps, float(np.sum(coefficients**2))
    z = (x - mean) / np.sqrt(variance)
    alike = max(abs(float(np.mean(z[:-lag] * z[lag:]))) * np.sqrt(M) for lag in range(1, 17))
    out = {"mean": z.mean() * np.sqrt(M), "variance": x.var(ddof=1), "expected": variance}
    return out | {"alike": alike}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        error = a["expected"] * np.sqrt(2 / case["M"])
        words = f"{case['scheme']}, {case['steps']} steps of {case['h']}"
        interval = (a["variance"] - 1.96 * error, a["variance"] + 1.96 * error)
        statement = f"{words}: variance, four standard errors"
        out.append(within(statement, a["variance"], a["expected"], 4 * error, interval=interval))
        out.append(within(f"{words}: mean in standard errors", a["mean"], 0.0, 4.0))
        statement = f"{words}: correlation of particles with their next 16, largest, in standard errors"
        out.append(at_most(statement, a["alike"], 4.5))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
