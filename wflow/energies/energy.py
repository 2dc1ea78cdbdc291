"""What every solver is given: a functional Q of the measure with its Wasserstein gradient."""

from __future__ import annotations

__all__ = ["Energy", "Entropy", "Evaluation"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.errors import InputError, check_positive
from wflow.measures import Blocks, Particles


@dataclass(frozen=True)
class Entropy:
    """The internal energy ``sigma int_0^1 (sum over blocks of int rho log rho) dt``.

    Examples
    --------
    >>> Entropy(0.1).sigma
    0.1
    """

    sigma: float

    def __post_init__(self) -> None:
        check_positive("entropy", self.sigma)


@dataclass(frozen=True)
class Evaluation:
    """Everything one pass over the data yields: Q, the velocity, and named parts of Q such as the risk."""

    value: float
    velocity: Blocks
    parts: Mapping[str, float] = field(default_factory=dict)


class Energy:
    """A functional ``Q(rho)`` and the Wasserstein gradient flow it drives.

    ``d rho/d tau = div(rho grad dQ/drho)``: particles move with the velocity ``-grad dQ/drho``. A subclass gives
    :meth:`evaluate` and :meth:`first_variation`; whatever is cheaper alone (:meth:`value`) it overrides.
    ``internal`` is None or an internal energy such as :class:`Entropy`, which schemes treat themselves: everything
    else here is about the smooth part.
    """

    internal: Entropy | None = None

    def prepare(self, rho: Particles) -> Particles:
        """Check that the energy is defined at this measure and place it at the energy's depth nodes.

        Raises
        ------
        InputError
            When blocks, slices or dimensions do not fit.
        """
        return rho

    def evaluate(self, rho: Particles) -> Evaluation:
        """Q, its parts and the velocity, in one pass."""
        raise NotImplementedError

    def first_variation(
        self, rho: Particles, points: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[Any]]:
        """``dQ/drho(beta, t) = om_l^{-1} dQ/da_{l,j}`` at the particles, or at other ``points[block]`` (S, M, p).

        Returns ``{block: (S, M) array}``.
        """
        raise NotImplementedError

    def value(self, rho: Particles) -> float:
        """``Q(rho)``."""
        return self.evaluate(rho).value

    def velocity(self, rho: Particles) -> Blocks:
        """Minus the Wasserstein gradient, ``v = -grad dQ/drho``: arrays of the measure's shapes."""
        return self.evaluate(rho).velocity

    def dissipation(self, rho: Particles) -> float:
        """``|v|^2 = int_0^1 int |v|^2 d rho dt = -dQ/d tau`` along the flow."""
        return squared_norm(rho, self.velocity(rho))


def squared_norm(rho: Particles, v: Mapping[str, NDArray[Any]]) -> float:
    """``sum over blocks, slices and particles of om_l a_{l,j} |v_{l,j}|^2``, summed in float64."""
    return float(
        sum(
            np.einsum("sm,smp,smp->", rho.mass(name), x.astype(np.float64), x.astype(np.float64))
            for name, x in v.items()
        )
    )


def check_blocks(rho: Particles, expected: Mapping[str, int], n_slices: int) -> None:
    """Raise :class:`InputError` unless the measure has exactly these blocks (name: p) and number of slices."""
    if set(rho.blocks) != set(expected):
        raise InputError(f"the measure must have the blocks {sorted(expected)}, got {sorted(rho.blocks)}")
    if rho.n_slices != n_slices:
        raise InputError(f"the measure must have {n_slices} depth slices, one for each depth node, got {rho.n_slices}")
    for name, p in expected.items():
        if rho.points(name).shape[2] != p:
            raise InputError(f"{name} must have {p} parameters a particle, got shape {rho.points(name).shape}")
