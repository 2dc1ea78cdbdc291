"""What every solver is given: a functional Q of the measure with its Wasserstein gradient."""

from __future__ import annotations

__all__ = ["Energy", "Evaluation", "Linearisation"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wflow.errors import InputError
from wflow.measures import Blocks, Measure

if TYPE_CHECKING:
    from wflow.energies.internal import InternalEnergy
    from wflow.energies.sums import SumEnergy


M = TypeVar("M", bound=Measure)


@dataclass(frozen=True)
class Evaluation:
    """Everything one pass over the data yields: Q, the velocity, and named parts of Q such as the risk."""

    value: float
    velocity: Blocks
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Linearisation:
    """Everything grid schemes want of one pass: Q, the first variation of its smooth part, and named parts of Q."""

    value: float
    first_variation: Mapping[str, NDArray[Any]]
    parts: Mapping[str, float] = field(default_factory=dict)


class Energy:
    """A functional ``Q(rho)`` and the Wasserstein gradient flow it drives.

    ``d rho/d tau = div(rho grad dQ/drho)``: particles move with the velocity ``-grad dQ/drho``. A subclass gives
    :meth:`evaluate` and :meth:`first_variation`; whatever is cheaper alone (:meth:`value`, :meth:`linearise`) it
    overrides. ``internal`` is None or an internal energy such as :class:`wflow.Entropy`, which schemes treat
    themselves: velocity and first variation are those of the smooth part. Q includes the internal energy on grids;
    on particles, which have no density, it is the smooth part. Energies add:
    ``PotentialEnergy(V, grad) + Entropy(0.5)``.
    """

    internal: InternalEnergy | None = None

    def __add__(self, other: Energy) -> SumEnergy:
        """The sum of both functionals."""
        from wflow.energies.sums import SumEnergy

        return SumEnergy(self, other) if isinstance(other, Energy) else NotImplemented

    def prepare(self, rho: M) -> M:
        """Check that the energy is defined at this measure and place it at the energy's depth nodes.

        Raises
        ------
        InputError
            When blocks, slices or dimensions do not fit.
        """
        return rho

    def evaluate(self, rho: Measure) -> Evaluation:
        """Q, its parts and the velocity, in one pass."""
        raise NotImplementedError

    def first_variation(
        self, rho: Measure, points: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[Any]]:
        """``dQ/drho(beta, t) = om_l^{-1} dQ/da_{l,j}`` at the points, or at other ``points[block]`` (S, M, p).

        Returns ``{block: (S, M) array}``.
        """
        raise NotImplementedError

    def linearise(self, rho: Measure) -> Linearisation:
        """Q, its parts and the first variation."""
        result = self.evaluate(rho)
        return Linearisation(result.value, self.first_variation(rho), result.parts)

    def overflow(self, rho: Measure) -> str:
        """What between a finite measure and its velocity is no finite number, in words; empty where unknown."""
        return ""

    def value(self, rho: Measure) -> float:
        """``Q(rho)``."""
        return self.evaluate(rho).value

    def velocity(self, rho: Measure) -> Blocks:
        """Minus the Wasserstein gradient, ``v = -grad dQ/drho``: arrays (S, M, p) at the points of the measure."""
        return self.evaluate(rho).velocity

    def dissipation(self, rho: Measure) -> float:
        """``|v|^2 = int_0^1 int |v|^2 d rho dt``, of the smooth part: ``-dQ/d tau`` along a flow without noise."""
        return squared_norm(rho, self.velocity(rho))


def squared_norm(rho: Measure, v: Mapping[str, NDArray[Any]]) -> float:
    """``sum over blocks, slices and particles of om_l a_{l,j} |v_{l,j}|^2``, summed in float64."""
    wide = {name: x.astype(np.float64, copy=False) for name, x in v.items()}
    return float(sum(np.sum(rho.mass(name) * np.einsum("smp,smp->sm", x, x)) for name, x in wide.items()))


def check_blocks(rho: Measure, expected: Mapping[str, int], n_slices: int) -> None:
    """Raise :class:`InputError` unless the measure has exactly these blocks (name: p) and number of slices."""
    if set(rho.blocks) != set(expected):
        raise InputError(f"the measure must have the blocks {sorted(expected)}, got {sorted(rho.blocks)}")
    if rho.n_slices != n_slices:
        raise InputError(f"the measure must have {n_slices} depth slices, one for each depth node, got {rho.n_slices}")
    for name, p in expected.items():
        if rho.points(name).shape[2] != p:
            raise InputError(f"{name} must have {p} parameters a particle, got shape {rho.points(name).shape}")
