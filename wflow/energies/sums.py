"""Sums of energies."""

from __future__ import annotations

__all__ = ["SumEnergy"]

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wflow.energies.energy import Energy, Evaluation, Linearisation
from wflow.energies.internal import Entropy, InternalEnergy
from wflow.errors import InputError
from wflow.measures import Blocks, Measure

M = TypeVar("M", bound=Measure)


class SumEnergy(Energy):
    """``Q_1 + Q_2 + ...``: values, velocities, first variations and named parts add.

    Entropies add up to one entropy; another internal energy may appear once.

    Raises
    ------
    InputError
        For two internal energies that do not add up to one.

    Examples
    --------
    >>> from wflow import Entropy, Particles, PotentialEnergy
    >>> Q = PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + Entropy(0.5) + Entropy(0.25)
    >>> Q.internal, Q.velocity(Particles(x=[[2.0]])).x
    (Entropy(sigma=0.75), array([[[-2.]]]))
    """

    def __init__(self, *terms: Energy) -> None:
        self.terms: tuple[Energy, ...] = tuple(
            part for term in terms for part in (term.terms if isinstance(term, SumEnergy) else (term,))
        )
        self.internal = _combined([term.internal for term in self.terms if term.internal is not None])

    def prepare(self, rho: M) -> M:
        """The measure after the checks of every term."""
        for term in self.terms:
            rho = term.prepare(rho)
        return rho

    def evaluate(self, rho: Measure) -> Evaluation:
        """The sums of all that the terms yield."""
        results = [term.evaluate(rho) for term in self.terms]
        velocity = {name: np.sum([result.velocity[name] for result in results], axis=0) for name in rho.blocks}
        return Evaluation(sum(r.value for r in results), Blocks(**velocity), _parts(results))

    def linearise(self, rho: Measure) -> Linearisation:
        """The sums of all that the terms yield."""
        results = [term.linearise(rho) for term in self.terms]
        phi = {name: np.sum([result.first_variation[name] for result in results], axis=0) for name in rho.blocks}
        return Linearisation(sum(r.value for r in results), phi, _parts(results))

    def value(self, rho: Measure) -> float:
        """The sum of the values."""
        return sum(term.value(rho) for term in self.terms)

    def first_variation(
        self, rho: Measure, points: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The sum of the first variations."""
        results = [term.first_variation(rho, points) for term in self.terms]
        return {name: np.sum([result[name] for result in results], axis=0) for name in rho.blocks}


def _parts(results: list[Any]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.parts)
    return dict(total)


def _combined(internals: list[InternalEnergy]) -> InternalEnergy | None:
    if len(internals) < 2:
        return internals[0] if internals else None
    if all(isinstance(term, Entropy) for term in internals):
        return Entropy(sum(term.sigma for term in internals))  # type: ignore[attr-defined]
    raise InputError(f"internal energies other than entropies do not add up: {', '.join(map(str, internals))}")
