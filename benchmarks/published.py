"""Particle schemes against the numbers that others have published: ``python benchmarks/published.py``.

Hu, Van Fleet, Wan, arXiv 2407.00533: relative errors of their particle method, which solves aggregation-diffusion
equations by the averaged vector field (four Gauss nodes, our ``avf``) of a blob energy with midpoint quadrature on the
cells where the particles start. Norms are sums over cell centres: ``max |e|/max rho``, ``sum |e|/sum rho``,
``(sum e^2/sum rho^2)^{1/2}``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow
from wflow.energies import BlobEnergy, InternalEnergy
from wflow.energies.energy import Energy
from wflow.measures import Grid

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A flow with exact density, the numerical parameters of the paper, and the errors that it prints."""

    name: str
    internal: InternalEnergy
    potential: Energy | None
    density: Callable[[Array, float], Array]
    tau: tuple[float, float]
    dtau: float
    half_width: float
    particles: int
    errors: tuple[float, float, float]


def gaussian(x: Array, variance: float) -> Array:
    return np.asarray(np.exp(-(x**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance))


def heat(x: Array, tau: float) -> Array:
    return gaussian(x, 2 * tau)


def fokker_planck(x: Array, tau: float) -> Array:
    return gaussian(x, 1 - np.exp(-2 * tau))


def barenblatt(x: Array, tau: float) -> Array:
    return np.asarray(tau ** (-1 / 3) * np.maximum(1 - x**2 * tau ** (-2 / 3) / 12, 0))


CONFINEMENT = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
ENTROPY, POROUS = wflow.Entropy(1.0), wflow.PorousMedium(2.0)

CASES = [
    Case("heat, 60", ENTROPY, None, heat, (2, 3), 0.01, 15, 60, (7.737621e-3, 7.867932e-3, 7.010215e-3)),
    Case("heat, 100", ENTROPY, None, heat, (2, 3), 0.01, 15, 100, (2.838546e-3, 2.843495e-3, 2.533810e-3)),
    Case(
        "Fokker-Planck, 60", ENTROPY, CONFINEMENT, fokker_planck, (0.5, 1), 0.001, 5, 60,
        (2.063234e-3, 2.049814e-3, 1.837638e-3),
    ),
    Case("porous medium, 60", POROUS, None, barenblatt, (2, 3), 0.01, 8, 60, (6.454115e-3, 3.036397e-3, 3.481480e-3)),
]  # fmt: skip


def errors(case: Case) -> tuple[float, float, float]:
    """The three relative errors of the method at the final time."""
    box, n = {"x": ((-case.half_width, case.half_width),)}, case.particles
    centres = np.zeros((1, n, 1)) + Grid(x=np.ones(n), box=box).points("x")
    dx = 2 * case.half_width / n
    weights = dx * case.density(centres[..., 0], case.tau[0])
    mass = weights.sum()
    blob = BlobEnergy(case.internal, 2 * 0.4 * dx**0.99, box, {"x": n})
    energy = blob if case.potential is None else case.potential + blob
    # Porous medium flow of another mass is that of mass one at another speed.
    speed = mass if case.internal is POROUS else 1.0
    rho = wflow.solve(
        energy,
        wflow.Particles(x=centres, weights={"x": weights / mass}),
        (0, speed * (case.tau[1] - case.tau[0])),
        scheme="avf",
        dtau=speed * case.dtau,
    ).measure(-1)
    exact = case.density(centres[0, :, 0], case.tau[1])
    e = mass * blob.smoothed(rho, {"x": centres})["x"][0] - exact
    return (
        float(np.abs(e).max() / exact.max()),
        float(np.abs(e).sum() / exact.sum()),
        float(np.sqrt(np.sum(e**2) / np.sum(exact**2))),
    )


if __name__ == "__main__":
    print(f"{'':20} {'L_inf':>13} {'L_1':>13} {'L_2':>13}")
    for case in CASES:
        for whose, three in (("ours", errors(case)), ("published", case.errors)):
            print(f"{case.name if whose == 'ours' else '':18} {whose:9}", *(f"{value:13.6e}" for value in three))
