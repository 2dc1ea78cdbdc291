"""Deterministic diffusion: particles that repel each other through a smoothed density."""

from __future__ import annotations

__all__ = ["Blob"]

from dataclasses import dataclass
from typing import Any

import numpy as np

from wflow.checks import check_fields, check_positive
from wflow.energies import BlobEnergy, Entropy, PorousMedium, SumEnergy
from wflow.energies.energy import Energy
from wflow.errors import InputError
from wflow.measures import Particles
from wflow.schemes.base import Scheme, Trial
from wflow.schemes.heun import HEUN
from wflow.schemes.particle_flow import Flow, Point


@dataclass(frozen=True)
class Blob(Scheme):
    """Heun's method for the energy with its internal part regularised: :class:`wflow.BlobEnergy`.

    Q is then the whole free energy, smoothed by epsilon, and it falls. p <= 2 only.

    Parameters
    ----------
    epsilon
        The standard deviation of the smoothing Gaussian; None chooses it from the initial cloud, for every block:
        see :func:`bandwidth`.

    Raises
    ------
    InputError
        Before any work, without internal energy or for p > 2.

    Examples
    --------
    >>> import wflow
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + wflow.Entropy(0.5)
    >>> rho = wflow.Particles(x=np.linspace(-1, 1, 100)[:, None])
    >>> cloud = wflow.solve(Q, rho, (0, 4), scheme="blob", rtol=1e-3).measure(-1)
    >>> bool(abs(cloud.x.var() - 0.5) < 0.02)
    True
    """

    epsilon: float | None = None

    name = "blob"
    order, error_order, stability = HEUN.order, HEUN.error_order, HEUN.stability
    internals = (Entropy, PorousMedium)

    def __post_init__(self) -> None:
        check_fields(self, check_positive, "epsilon", optional=True)

    def flow(self, energy: Energy, rho0: Any, noise: int | None = None) -> Flow:
        """The flow of the regularised energy, after the checks."""
        self.check_problem(energy, rho0)
        assert energy.internal is not None
        blob = BlobEnergy(energy.internal, bandwidth(energy.prepare(rho0)) if self.epsilon is None else self.epsilon)
        return Flow(SumEnergy(energy, blob), rho0, noise)

    def step(self, flow: Flow, point: Point, h: float) -> Trial:
        """One step of Heun's method."""
        return HEUN.step(flow, point, h)


def bandwidth(rho: Particles) -> dict[str, float]:
    """Silverman's rule for every block: ``epsilon = s (4/((p + 2) M))^{1/(p + 4)}``.

    s is the standard deviation of a parameter within its slice, M the number ``1/sum a_j^2`` of equal weights that the
    weights amount to, both in the mean over slices (Silverman, Density Estimation, 1986, section 4.3).

    Raises
    ------
    InputError
        For a cloud in one point.

    Examples
    --------
    >>> {name: round(value, 3) for name, value in bandwidth(Particles(x=[[[-1.0], [1.0]]])).items()}
    {'x': 0.922}
    """
    out = {}
    for name, x in rho.blocks.items():
        p, om, mean = x.shape[2], rho.depth_weights, rho.moment(1)[name]
        s = np.sqrt(np.sum(rho.mass(name)[..., None] * (x - mean[:, None]) ** 2) / p)
        if s == 0:
            raise InputError(f"the particles of {name} coincide: pass epsilon, such as Blob(epsilon=0.1)")
        width = 1 / (om @ np.sum(rho.weights(name) ** 2, axis=1))
        out[name] = float(s * (4 / ((p + 2) * width)) ** (1 / (p + 4)))
    return out
