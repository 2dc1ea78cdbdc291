"""Internal energies: functionals of the density itself."""

from __future__ import annotations

__all__ = ["Entropy", "PorousMedium"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_positive
from wflow.energies.energy import InternalEnergy
from wflow.errors import InputError
from wflow.measures import Grid, Measure
from wflow.measures.measure import check_measure

Array = NDArray[Any]


@dataclass(frozen=True)
class Entropy(InternalEnergy):
    """``sigma int_0^1 (sum over blocks of int rho log rho dbeta) dt``, the energy of the heat flow.

    ``U(r) = sigma r log r``; particles diffuse, ``d beta = ... + sqrt(2 sigma) dB``. :meth:`estimate` is a
    statistical estimate from particles for p <= 3; beyond, the entropy is not observable from particles.

    Examples
    --------
    >>> rho = Grid(x=np.ones(4), box={"x": ((0.0, 2.0),)})
    >>> bool(np.isclose(Entropy(0.1).value(rho), 0.1 * np.log(0.5)))
    True
    """

    sigma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", check_positive("entropy", self.sigma))
        super().__post_init__()

    def density(self, r: Array) -> Array:
        """``sigma r log r``."""
        return np.asarray(self.sigma * r * np.log(np.maximum(r, np.finfo(float).tiny)))

    def slope(self, r: Array) -> Array:
        """``sigma (log r + 1)``."""
        return np.asarray(self.sigma * (np.log(np.maximum(r, np.finfo(float).tiny)) + 1))

    def pressure(self, r: Array) -> Array:
        """``sigma r``."""
        return np.asarray(self.sigma * r)

    def joined(self, other: InternalEnergy) -> InternalEnergy:
        """The entropy of the sum of both sigma (see :meth:`InternalEnergy.joined`)."""
        return Entropy(self.sigma + other.sigma) if isinstance(other, Entropy) else super().joined(other)

    def estimate(self, rho: Measure) -> float:
        """The value estimated from equally weighted particles by their nearest neighbours.

        ``int rho log rho ~ - (psi(M) - psi(1) + log c_p + p/M sum_j log r_j)`` in every slice, with r_j the distance of
        particle j to its nearest neighbour and c_p the volume of the unit ball (Kozachenko, Leonenko, Probl. Inf.
        Transm. 23 (1987) 95). Its error is O(M^{-1/2}) for p <= 3.

        Raises
        ------
        InputError
            For p > 3, unequal weights, or coinciding particles.

        Examples
        --------
        >>> from wflow import Particles
        >>> normal = Particles(x=np.random.default_rng(0).standard_normal((4000, 1)))
        >>> exact = -0.5 * np.log(2 * np.pi * np.e)
        >>> bool(abs(Entropy(1.0).estimate(normal) - exact) < 0.05)
        True
        """
        from scipy.spatial import cKDTree
        from scipy.special import digamma, gammaln

        check_measure(rho)
        total = 0.0
        for name in rho.blocks:
            x = rho.points(name)
            p, M = x.shape[2], x.shape[1]
            if M < 2:
                raise InputError(f"the entropy of {name} is estimated from two particles or more, got one")
            if p > 3:
                raise InputError(
                    f"the entropy of {name} cannot be observed from particles: it has p = {p} parameters, and no "
                    "estimate is honest beyond p = 3"
                )
            if isinstance(rho, Grid) or np.ptp(a := rho.weights(name)) > 1e-12 * a.max():
                raise InputError(f"the entropy of {name} is estimated from particles of equal weights only")
            for om, cloud in zip(rho.depth_weights, x):
                nearest = cKDTree(cloud).query(cloud, k=2)[0][:, 1]
                if nearest.min() <= 0:
                    raise InputError(f"the entropy of {name} is infinite: particles coincide")
                ball = 0.5 * p * np.log(np.pi) - gammaln(0.5 * p + 1)
                total -= om * float(digamma(M) - digamma(1) + ball + p * np.mean(np.log(nearest)))
        return self.sigma * total


@dataclass(frozen=True)
class PorousMedium(InternalEnergy):
    """``int_0^1 (sum over blocks of int rho^m/(m - 1) dbeta) dt`` with m > 1.

    Its flow is the porous medium equation ``d rho/d tau = Laplace rho^m``.

    Examples
    --------
    >>> rho = Grid(x=np.ones(4), box={"x": ((0.0, 2.0),)})
    >>> PorousMedium(2.0).value(rho)
    0.5
    """

    m: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "m", check_positive("m", self.m))
        if self.m <= 1:
            raise InputError(f"m must be greater than 1, got {self.m!r}; m = 1 is Entropy(1.0)")
        super().__post_init__()

    def density(self, r: Array) -> Array:
        """``r^m/(m - 1)``."""
        return np.asarray(np.maximum(r, 0) ** self.m / (self.m - 1))

    def slope(self, r: Array) -> Array:
        """``m r^(m - 1)/(m - 1)``."""
        return np.asarray(self.m / (self.m - 1) * np.maximum(r, 0) ** (self.m - 1))

    def pressure(self, r: Array) -> Array:
        """``r^m``."""
        return np.asarray(np.maximum(r, 0) ** self.m)
