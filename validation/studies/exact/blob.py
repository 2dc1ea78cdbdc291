"""Does a cloud smoothed into blobs diffuse without noise, ever better as the smoothing shrinks?

The entropy of a cloud smoothed with a Gaussian K of width e moves particles by -sigma grad(log rho_e + K *
(rho/rho_e)), whose error is of order e^4. For rho = N(0, v) it is known: rho_e = N(0, v + e^2), and rho/rho_e and its
convolution are Gaussians of the variances

    s^2 = v (v + e^2)/e^2,    s^2 + e^2

Measured: the variance of the Ornstein-Uhlenbeck flow at tau = 1 by the width, its mean, and the velocity of a cloud
of 4000 quantiles within two deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow
from validation.flows import SIGMA, ornstein_uhlenbeck, quantiles_of, relaxation
from validation.studies.exact._errors import mean_variance, order
from validation.study import Answer, Claim, Runs, at_least, at_most
from wflow import schemes

COST = 2.0
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"epsilons": [0.4, 0.2], "M": 400}]


def measure(epsilons: Sequence[float], M: int) -> Answer:
    """Errors of the variance by width, and the largest ones of the mean and of the velocity."""
    Q, errors, means, velocities = ornstein_uhlenbeck(), [], [], []
    rho0, v = wflow.Particles(x=quantiles_of(M, 1.0, 0.6)), 0.4
    cloud = wflow.Particles(x=quantiles_of(10 * M, 0.0, np.sqrt(v)))
    x = cloud.x[0, :, 0]
    for e in epsilons:
        rho = wflow.solve(Q, rho0, (0, 1), scheme=schemes.Blob(epsilon=e), dtau=0.01).measure(-1)
        mean, variance = mean_variance(rho)
        errors.append(abs(variance - relaxation(1.0, float(rho0.x.var()), SIGMA, 1.0)))
        means.append(abs(mean - np.exp(-1.0)))
        found = wflow.BlobEnergy(wflow.Entropy(SIGMA), e).velocity(cloud).x[0, :, 0]
        velocities.append(float(np.abs(found - _velocity(x, v, e))[np.abs(x) < 2 * np.sqrt(v)].max()))
    return {"errors": np.array(errors), "mean": max(means), "velocity": max(velocities)}


def claims(runs: Runs) -> list[Claim]:
    ((_, a),) = runs
    velocity = "blob: velocity of a normal law within two deviations, largest error, particles against density"
    variance = "blob: order of the error of the variance in epsilon, which is 4 in the limit"
    return [
        at_most(velocity, a["velocity"], 1e-3),
        at_least(variance, order(a["errors"], [1, 2]), 3.0),
        at_most("blob: error of the mean, which is that of Heun's method", a["mean"], 1e-4),
    ]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _velocity(x: NDArray[Any], v: float, e: float) -> NDArray[Any]:
    """Of the entropy alone, for N(0, v) and smoothing of width e."""
    wide = v * (v + e**2) / e**2 + e**2
    ratio = np.sqrt((v + e**2) / v) * np.sqrt((wide - e**2) / wide) * np.exp(-(x**2) / (2 * wide))
    return np.asarray(SIGMA * x * (1 / (v + e**2) + ratio / wide))
