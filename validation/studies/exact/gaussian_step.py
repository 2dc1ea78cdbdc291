"""Does a step of JKO take a Gaussian to the Gaussian that is known?

For V = |x|^2/2 with entropy sigma one step of size h maps the mean m and the deviation s to

    m/(1 + h),    (s + sqrt(s^2 + 4 h sigma (1 + h)))/(2 (1 + h))

Measured after one step from N(1, 0.2): mean and variance of quantile-jko, whose outer quantiles stand for tails and
cost O(1/N) of the variance; and of entropic-jko, whose bias falls like gamma^2 and vanishes by extrapolation in
gamma.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import wflow
from validation.flows import SIGMA, normal_grid, ornstein_uhlenbeck, quantiles_of
from validation.studies.exact._errors import mean_variance
from validation.study import Answer, Claim, Runs, at_most, within
from wflow import schemes

CAPTION = ""


def COST(scheme: str, **case: Any) -> float:
    return 0.1 if scheme == "quantile-jko" else 0.3


def cases(full: bool) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [{"scheme": "quantile-jko", "options": {}, "h": h} for h in (0.1, 1.0)]
    for options in ({"gamma": 0.4}, {"gamma": 0.2}, {"gamma": 0.1}, {"richardson": 3}):
        out.append({"scheme": "entropic-jko", "options": options, "h": 0.1})
    return out


def measure(scheme: str, options: Mapping[str, Any], h: float) -> Answer:
    """Errors of mean and variance, and how uneven a cloud is about its mean."""
    Q = ornstein_uhlenbeck()
    cloud = wflow.Particles(x=quantiles_of(400, 1.0, np.sqrt(0.2)))
    rho0: Any = cloud if scheme == "quantile-jko" else normal_grid(240, 1.0, 0.2, 5.0)
    rho = wflow.solve(Q, rho0, (0, h), scheme=schemes.scheme_of(scheme, **options), dtau=h).measure(-1)
    (mean, variance), (before, spread) = mean_variance(rho), mean_variance(rho0)
    s = np.sqrt(spread)
    exact = (s + np.sqrt(s**2 + 4 * h * SIGMA * (1 + h))) / (2 * (1 + h))
    x = rho.points("x")[0, :, 0]
    uneven = 0.0 if scheme == "entropic-jko" else float(np.abs(x + x[::-1] - 2 * mean).max())
    return {"mean": abs(mean - before / (1 + h)), "variance": abs(variance - exact**2), "uneven": uneven}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs.of(scheme="quantile-jko"):
        words = f"quantile-jko, one exact JKO step of a Gaussian, h = {case['h']}"
        out.append(at_most(f"{words}: mean", a["mean"], 1e-12))
        out.append(at_most(f"{words}: variance", a["variance"], 0.1 / 400))
        out.append(at_most("quantile-jko, the same: both sides of the mean, largest difference", a["uneven"], 1e-9))
    coarse, fine = (runs.one(options={"gamma": gamma})["variance"] for gamma in (0.2, 0.1))
    words = "entropic-jko, one step of a Gaussian: order of the bias of the variance in gamma"
    out.append(within(words, np.log2(coarse / fine), 2, 0.15))
    extrapolated, words = runs.one(options={"richardson": 3}), "entropic-jko extrapolated in gamma:"
    out.append(at_most(f"{words} mean of the exact step", extrapolated["mean"], 1e-8))
    out.append(at_most(f"{words} variance of the exact step", extrapolated["variance"], 1e-7))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
