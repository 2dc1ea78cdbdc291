"""Particles with noise: Leimkuhler and Matthews' scheme, and that of Euler and Maruyama.

Entropy at any p: particles follow ``d beta = -grad Phi_0 d tau + sqrt(2 sigma) dB``, and their law the gradient flow of
``Q_smooth + sigma int rho log rho`` as their number grows. Q on particles is its smooth part, and it may rise.
"""

from __future__ import annotations

__all__ = ["EulerMaruyama", "Langevin"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_fields, check_positive
from wflow.energies import Entropy
from wflow.energies.energy import Energy
from wflow.errors import InputError
from wflow.schemes.base import Scheme, Trial
from wflow.schemes.particle_flow import Flow, Point

Array = NDArray[Any]


class NoisyFlow(Flow):
    """A flow of which only the drift is seen: how fast the energy falls is not observable from particles."""

    def dissipation(self, point: Point) -> float:
        """NaN: a vanishing drift does not make the flow stationary."""
        return math.nan


@dataclass(frozen=True)
class EulerMaruyama(Scheme):
    """``X+ = X + h v(X) + sqrt(2 sigma h) xi_n``: weak order 1, invariant measure of order 1.

    A step over which the drift alone would move the particles by more than ``cap`` is tried with half the h. The test
    comes before the noise is drawn: to reject a step for its outcome would bias the law.

    Parameters
    ----------
    cap
        The largest ``|h v|``, root mean square over particles, in the units of the parameters. It guards transients
        from far away; where it is at work all the time, h is too large.

    Raises
    ------
    InputError
        Before any work, without entropy or without random numbers.

    Examples
    --------
    >>> import wflow
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + wflow.Entropy(0.5)
    >>> rho = wflow.Particles(x=np.zeros((4000, 1)))
    >>> cloud = wflow.solve(Q, rho, (0, 4), scheme="langevin", dtau=0.1, rng=0).measure(-1)
    >>> bool(abs(cloud.x.var() - 0.5) < 0.05)
    True
    """

    cap: float = 1.0

    name = "euler-maruyama"
    order = 1
    stability = 2.0
    internals = (Entropy,)
    monotone = False
    noisy = True

    def __post_init__(self) -> None:
        check_fields(self, check_positive, "cap")

    def flow(self, energy: Energy, rho0: Any, noise: int | None = None) -> Flow:
        """The flow of the drift, after the checks."""
        self.check_problem(energy, rho0)
        if noise is None:
            raise InputError(f"scheme {self.name!r} draws random numbers: pass rng=seed")
        return NoisyFlow(energy, rho0, noise)

    def step(self, flow: Flow, point: Point, h: float) -> Trial:
        """One step of size h; none where the drift exceeds the cap."""
        drift = h * point.velocity
        if (length := flow.norm(drift)) > self.cap:
            return Trial(h, point, failure=f"has a drift of {length:.3g}, more than the cap {self.cap:.3g}")
        noise, carry = self._noise(flow, point.carry, h)
        sigma = flow.energy.internal.sigma  # type: ignore[union-attr]
        new = flow.evaluate(point.x + drift + math.sqrt(2 * sigma * h) * noise)
        return Trial(h, Point(new.x, new.value, new.velocity, new.parts, carry))

    def _noise(self, flow: Flow, carry: Mapping[str, Array], h: float) -> tuple[Array, dict[str, Array]]:
        """The noise of a step, and what to remember of it: the index of the last normals."""
        n = int(carry.get("index", -1)) + 1
        return flow.normal(n), {"index": np.array(n)}


@dataclass(frozen=True)
class Langevin(EulerMaruyama):
    """``X+ = X + h v(X) + sqrt(2 sigma h) (xi_n + xi_{n+1})/2``: weak order 1, but an invariant measure of order 2.

    Every xi serves two steps (Leimkuhler, Matthews, Appl. Math. Res. Express (2013) 34). The first step, and one
    whose h differs from the last, takes two new ones, ``(sqrt(3) xi_n + xi_{n+1})/2``: pure diffusion then has the
    exact variance ``2 sigma tau`` after every step. ``cap`` is as in :class:`EulerMaruyama`.
    """

    name = "langevin"

    def _noise(self, flow: Flow, carry: Mapping[str, Array], h: float) -> tuple[Array, dict[str, Array]]:
        n = int(carry.get("index", -1))
        if math.isclose(h, carry.get("h", math.nan), rel_tol=1e-9):
            first = 0.5 * flow.normal(n)
        else:
            n += 1
            first = math.sqrt(0.75) * flow.normal(n)
        return first + 0.5 * flow.normal(n + 1), {"index": np.array(n + 1), "h": np.array(h)}
