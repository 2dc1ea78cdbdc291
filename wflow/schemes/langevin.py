"""Particles with noise: Leimkuhler and Matthews' scheme, and that of Euler and Maruyama.

Entropy at any p: particles follow ``d beta = -grad Phi_0 d tau + sqrt(2 sigma) dB``, and their law the gradient flow of
``Q_smooth + sigma int rho log rho`` as their number grows. Q on particles is its smooth part, and it may rise. With
mobilities M the noise is ``sqrt(2 sigma M) dB``: the invariant law does not depend on them.
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

#: A drift of one particle is singular above so many times its noise and so many times that of nine in ten particles.
NOISES, REST = 5.0, 10.0
#: Beyond so many bisections of a step, two frames do not share the numbers of its bridge.
BISECTIONS = 12


class NoisyFlow(Flow):
    """A flow of which only the drift is seen: how fast the energy falls is not observable from particles."""

    def __init__(self, energy: Energy, rho0: Any, noise: int | None = None) -> None:
        super().__init__(energy, rho0, noise)
        #: sqrt(M), by which noise is multiplied; None for ones.
        self.root = np.sqrt(self.mobility).astype(self.template.dtype) if energy.mobilities else None

    def dissipation(self, point: Point) -> float:
        """NaN: a vanishing drift does not make the flow stationary."""
        return math.nan

    def normal(self, index: int, node: int = 0) -> Array:
        """Normal numbers (see :meth:`wflow.schemes.Flow.normal`) of the variances M."""
        xi = super().normal(index, node)
        return xi if self.root is None else self.root * xi


@dataclass(frozen=True)
class EulerMaruyama(Scheme):
    """``X+ = X + h v(X) + sqrt(2 sigma h) xi_n``: weak order 1, invariant measure of order 1.

    A step is tried with half the h where the drift alone would move the particles by more than ``cap``, or one of them
    by more than 5 root mean squares of its noise, ``sqrt(2 sigma h p)``, and than 10 times what 90 % of them move by:
    the drift is then singular, and h too large for it. The test comes before the noise is drawn: to reject a step for
    its outcome would bias the law.

    Steps do not depend on the frames that are saved. A frame at the share s of a step is
    ``(1 - s) X + s X+ + sqrt(q) B(s)``, with a Brownian bridge B whose numbers serve nothing else and q the variance of
    the noise of the step: pure diffusion then has the exact variance at every time.

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
    dense = True

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
        drift, sigma = h * point.velocity, _sigma(flow)
        if (length := flow.plain_norm(drift)) > self.cap:
            return Trial(h, point, failure=f"has a drift of {length:.3g}, more than the cap {self.cap:.3g}")
        for name, moves in flow.unflat(drift).items():
            lengths, p = np.linalg.norm(moves, axis=2), _variances(flow, name, moves.shape[2])
            usual = max(NOISES * math.sqrt(2 * sigma * h * p), REST * float(np.quantile(lengths, 0.9)))
            if (length := float(lengths.max())) > usual:
                words = (
                    f"would move a particle of {name} by {length:.3g}, far more than its noise and the other particles"
                )
                return Trial(h, point, failure=f"{words}: the drift is singular, and dtau too large for it")
        noise, carry = self._noise(flow, point.carry, h)
        new = flow.evaluate(point.x + drift + math.sqrt(2 * sigma * h) * noise)
        return Trial(h, Point(new.x, new.value, new.velocity, new.parts, carry))

    def inside(self, flow: NoisyFlow, point: Point, trial: Trial, share: float) -> Array:
        """A point of a Brownian bridge between both ends of a step (see the class)."""
        noise = math.sqrt(2 * _sigma(flow) * trial.h * self._variance(point.carry, trial.h))
        index = int(trial.point.carry["index"])
        x = np.asarray((1 - share) * point.x + share * trial.point.x + noise * bridge(flow, index, share))
        return x if flow.root is None else np.where(flow.root > 0, x, point.x)  # rounding moves nothing frozen

    def _noise(self, flow: Flow, carry: Mapping[str, Array], h: float) -> tuple[Array, dict[str, Array]]:
        """The noise of a step, and what to remember of it: the index of the last normals."""
        n = int(carry.get("index", -1)) + 1
        return flow.normal(n), {"index": np.array(n)}

    def _variance(self, carry: Mapping[str, Array], h: float) -> float:
        """The variance of that noise."""
        return 1.0


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
        if _goes_on(carry, h):
            first = 0.5 * flow.normal(n)
        else:
            n += 1
            first = math.sqrt(0.75) * flow.normal(n)
        return first + 0.5 * flow.normal(n + 1), {"index": np.array(n + 1), "h": np.array(h)}

    def _variance(self, carry: Mapping[str, Array], h: float) -> float:
        return 0.5 if _goes_on(carry, h) else 1.0


def _goes_on(carry: Mapping[str, Array], h: float) -> bool:
    """Whether the last step had the same h."""
    return math.isclose(h, carry.get("h", math.nan), rel_tol=1e-9)


def _variances(flow: Flow, name: str, p: int) -> float:
    """The sum of the mobilities of a particle: p without any."""
    return float(np.sum(flow.energy.mobilities[name])) if name in flow.energy.mobilities else p


def _sigma(flow: Flow) -> float:
    return float(flow.energy.internal.sigma)  # type: ignore[union-attr]


def bridge(flow: Flow, index: int, share: float) -> Array:
    """A standard Brownian bridge of the step of this index at a share of it, in (0, 1).

    By bisection: halfway between two known times, s apart, it is their mean plus a normal number of variance s/4.
    Every midpoint has numbers of its own, so that the bridge is one path, whichever of its points are looked at.
    """
    left, right, node = 0.0, 1.0, 1
    low: Any = 0.0
    high: Any = 0.0
    for _ in range(BISECTIONS):
        middle = 0.5 * (left + right)
        between = 0.5 * (low + high) + 0.5 * math.sqrt(right - left) * flow.normal(index, node)
        if share < middle:
            right, high, node = middle, between, 2 * node
        else:
            left, low, node = middle, between, 2 * node + 1
    s = (share - left) / (right - left)
    rest = math.sqrt(s * (1 - s) * (right - left))
    return np.asarray((1 - s) * low + s * high + rest * flow.normal(index, node))
