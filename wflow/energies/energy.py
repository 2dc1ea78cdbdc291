"""What every solver is given: a functional Q of the measure with its Wasserstein gradient."""

from __future__ import annotations

__all__ = ["Energy", "Evaluation", "InternalEnergy", "Linearisation", "SumEnergy"]

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wflow.checks import check_array, check_blocks_named, check_result, fits, shown
from wflow.energies.mobility import combined_mobilities, inverse_mobility
from wflow.errors import InputError
from wflow.measures import Blocks, Grid, Measure
from wflow.measures.measure import check_measure

Array = NDArray[Any]
M = TypeVar("M", bound=Measure)


@dataclass(frozen=True)
class Evaluation:
    """Everything one pass over the data yields: Q, the velocity, and named parts of Q such as the risk.

    ``terms`` is the size of the terms of which Q is the sum, such as ``R + E |y|^2/2``: Q is rounded in proportion to
    them, however much they cancel. 0 where it is that of Q.
    """

    value: float
    velocity: Blocks
    parts: Mapping[str, float] = field(default_factory=dict)
    terms: float = 0.0

    def velocity_at(self, rho: Measure) -> Blocks:
        """The velocity by the blocks of a measure, in its precision.

        Raises
        ------
        InputError
            For a velocity of other blocks or shapes than the points have.
        """
        return Blocks(**_by_block(rho, self.velocity, "velocity", lambda x: x.shape, rho.dtype))


@dataclass(frozen=True)
class Linearisation:
    """Everything grid schemes want of one pass: Q, the first variation of its smooth part, and named parts of Q.

    ``terms`` is as in :class:`Evaluation`.
    """

    value: float
    first_variation: Mapping[str, Array]
    parts: Mapping[str, float] = field(default_factory=dict)
    terms: float = 0.0

    def first_variation_at(self, rho: Measure) -> dict[str, Array]:
        """The first variation by the blocks of a measure, in float64 (see :meth:`Evaluation.velocity_at`)."""
        return _by_block(rho, self.first_variation, "first variation", lambda x: x.shape[:2], np.float64)


class Energy:
    """A functional ``Q(rho)`` and the Wasserstein gradient flow it drives.

    ``d rho/d tau = div(rho grad dQ/drho)``: particles move with the velocity ``-grad dQ/drho``. A subclass gives
    :meth:`evaluate` and :meth:`first_variation`; whatever is cheaper alone (:meth:`value`, :meth:`linearise`) it
    overrides. All of them :meth:`prepare` the measure: as a user made it and as a solver placed it, it gives the same.
    ``internal`` is None or an internal energy such as :class:`wflow.Entropy`, which schemes treat
    themselves: velocity and first variation are those of the smooth part. Q includes the internal energy on grids;
    on particles, which have no density, it is the smooth part. Energies add:
    ``PotentialEnergy(V, grad) + Entropy(0.5)``.

    ``mobilities`` has, by block, the mobility M of every coordinate (p,); blocks that it does not name have M = 1.
    The velocity is then ``-M grad dQ/drho``, the flow is that of the metric of ``M^{-1}``, and coordinates with M = 0
    are frozen: they do not move, and no norm of the flow counts them.

    ``cancels`` says whether terms of Q may cancel unseen, as in a function of a user: its rounding is then not known
    from ``Evaluation.terms``.
    """

    cancels: bool = True
    internal: InternalEnergy | None = None
    mobilities: Mapping[str, Array] = MappingProxyType({})

    def __add__(self, other: Energy) -> SumEnergy:
        """The sum of both functionals."""
        return SumEnergy(self, other) if isinstance(other, Energy) else NotImplemented

    def prepare(self, rho: M) -> M:
        """Check that the energy is defined at this measure and place it at the energy's depth nodes.

        A measure that is placed there is returned as it is, after checks that cost next to nothing.

        Raises
        ------
        InputError
            For anything but a measure, and when blocks, slices or dimensions do not fit.
        """
        check_measure(rho)
        return rho

    def evaluate(self, rho: Measure) -> Evaluation:
        """Q, its parts and the velocity, in one pass."""
        raise NotImplementedError

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """``dQ/drho(beta, t) = om_l^{-1} dQ/da_{l,j}`` at the points, or at other ``points[block]`` (S, M, p).

        Returns ``{block: (S, M) array}``.
        """
        raise NotImplementedError

    def linearise(self, rho: Measure) -> Linearisation:
        """Q, its parts and the first variation."""
        rho = self.prepare(rho)
        result = self.evaluate(rho)
        return Linearisation(result.value, self.first_variation(rho), result.parts, result.terms)

    def overflow(self, rho: Measure) -> str:
        """What between a finite measure and its velocity is no finite number, in words; empty where unknown."""
        return ""

    def value(self, rho: Measure) -> float:
        """``Q(rho)``."""
        return self.evaluate(self.prepare(rho)).value

    def velocity(self, rho: Measure) -> Blocks:
        """Minus the Wasserstein gradient, ``v = -M grad dQ/drho``: arrays (S, M, p) at the points of the measure."""
        rho = self.prepare(rho)
        return self.evaluate(rho).velocity_at(rho)

    def dissipation(self, rho: Measure) -> float:
        """``|v|^2 = int_0^1 int <v, M^{-1} v> d rho dt``, of the smooth part: ``-dQ/d tau`` without noise."""
        rho = self.prepare(rho)
        return squared_norm(rho, self.velocity(rho), self.mobilities)


class InternalEnergy(Energy):
    """``int_0^1 sum over blocks of int U(rho) dbeta dt``: as an energy, one without a smooth part.

    Particles have no density: there its value is not offered (it counts as 0), and its flow is left to schemes that
    treat it in a way of their own, such as noise.
    """

    cancels = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "internal", self)

    def density(self, r: Array) -> Array:
        """``U(r)``."""
        raise NotImplementedError

    def slope(self, r: Array) -> Array:
        """``U'(r)``, the first variation where the density is r."""
        raise NotImplementedError

    def pressure(self, r: Array) -> Array:
        """``P(r) = r U'(r) - U(r)``, of which ``P/r^2`` is the slope of the energy per mass ``U(r)/r``."""
        raise NotImplementedError

    def joined(self, other: InternalEnergy) -> InternalEnergy:
        """The one internal energy that is the sum of both.

        Raises
        ------
        InputError
            Where there is none.
        """
        raise InputError(f"internal energies other than entropies do not add up: {self}, {other}")

    def of(self, rho: Measure) -> float:
        """The value on a grid, 0 on particles."""
        return self.of_and_terms(rho)[0]

    def of_and_terms(self, rho: Measure) -> tuple[float, float]:
        """The value, and ``int |U(rho)|``, the size of its terms, from one pass over the cells; 0 on particles."""
        if not isinstance(rho, Grid):
            return 0.0, 0.0
        value = terms = 0.0
        for name, r in rho.blocks.items():
            U = self.density(r).reshape(rho.n_slices, -1)
            value += rho.cell_volume(name) * float(rho.depth_weights @ U.sum(axis=1))
            terms += rho.cell_volume(name) * float(rho.depth_weights @ np.abs(U).sum(axis=1))
        return value, terms

    def evaluate(self, rho: Measure) -> Evaluation:
        """The value and no velocity (see :meth:`Energy.evaluate`)."""
        rho = self.prepare(rho)
        still = Blocks(**{name: np.zeros_like(rho.points(name)) for name in rho.blocks})
        value, terms = self.of_and_terms(rho)
        return Evaluation(value, still, terms=terms)

    def linearise(self, rho: Measure) -> Linearisation:
        """The value and zeros."""
        rho = self.prepare(rho)
        value, terms = self.of_and_terms(rho)
        return Linearisation(value, self.first_variation(rho), terms=terms)

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Zero: that of the smooth part."""
        return {name: np.zeros(x.shape[:2]) for name, x in points_of(self.prepare(rho), points).items()}


class SumEnergy(Energy):
    """``Q_1 + Q_2 + ...``: values, velocities, first variations and named parts add.

    Entropies add up to one entropy; another internal energy may appear once. The mobility of one term is that of the
    sum: the velocities of the others are multiplied by it.

    Raises
    ------
    InputError
        For two internal energies that do not add up to one, and for two different mobilities.

    Examples
    --------
    >>> from wflow import Entropy, Particles, PotentialEnergy
    >>> Q = PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + Entropy(0.5) + Entropy(0.25)
    >>> Q.internal, Q.velocity(Particles(x=[[2.0]])).x
    (Entropy(sigma=0.75), array([[[-2.]]]))
    """

    def __init__(self, *terms: Energy) -> None:
        for term in terms:
            if not isinstance(term, Energy):
                raise InputError(f"the terms of a sum must be energies, got {shown(term)}")
        if not terms:
            raise InputError("a sum needs at least one energy")
        self.terms: tuple[Energy, ...] = tuple(
            part for term in terms for part in (term.terms if isinstance(term, SumEnergy) else (term,))
        )
        self.cancels = any(term.cancels for term in self.terms)
        internals = [term.internal for term in self.terms if term.internal is not None]
        self.internal = reduce(lambda a, b: a.joined(b), internals) if internals else None
        self.mobilities = combined_mobilities(self.terms)

    def prepare(self, rho: M) -> M:
        """The measure after the checks of every term."""
        for term in self.terms:
            rho = term.prepare(rho)
        return rho

    def evaluate(self, rho: Measure) -> Evaluation:
        """The sums of all that the terms yield."""
        rho = self.prepare(rho)
        results = [term.evaluate(rho) for term in self.terms]
        velocities: list[Mapping[str, Array]] = [result.velocity_at(rho) for result in results]
        for k, term in enumerate(self.terms):
            if self.mobilities and not term.mobilities:
                scaled = {name: velocities[k][name] * M.astype(rho.dtype) for name, M in self.mobilities.items()}
                velocities[k] = {**velocities[k], **scaled}
        velocity = {name: np.sum([v[name] for v in velocities], axis=0) for name in rho.blocks}
        return Evaluation(sum(r.value for r in results), Blocks(**velocity), _parts(results), _terms(results))

    def linearise(self, rho: Measure) -> Linearisation:
        """The sums of all that the terms yield."""
        rho = self.prepare(rho)
        results = [term.linearise(rho) for term in self.terms]
        terms = [result.first_variation_at(rho) for result in results]
        phi = {name: np.sum([term[name] for term in terms], axis=0) for name in rho.blocks}
        return Linearisation(sum(r.value for r in results), phi, _parts(results), _terms(results))

    def value(self, rho: Measure) -> float:
        """The sum of the values."""
        rho = self.prepare(rho)
        return sum(term.value(rho) for term in self.terms)

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """The sum of the first variations."""
        rho = self.prepare(rho)
        results = [term.first_variation(rho, points) for term in self.terms]
        return {name: np.sum([result[name] for result in results], axis=0) for name in rho.blocks}


def _terms(results: list[Any]) -> float:
    return float(sum(max(abs(result.value), result.terms) for result in results))


def _by_block(
    rho: Measure, arrays: Any, what: str, shape: Callable[[Array], tuple[int, ...]], dtype: DTypeLike
) -> dict[str, Array]:
    """What an energy says of every block, in the order of the measure."""
    known = isinstance(arrays, Blocks | dict) and [*arrays] == [*rho.blocks]
    if known and all(fits(arrays[name], shape(rho.points(name)), dtype) for name in arrays):
        return {name: arrays[name] for name in arrays}
    if not isinstance(arrays, Mapping) or arrays.keys() != rho.blocks.keys():
        got = ", ".join(map(str, arrays)) if isinstance(arrays, Mapping) else f"{shown(arrays)}"
        raise InputError(f"the {what} of an energy must have the blocks {', '.join(rho.blocks)}, got {got}")
    return {
        name: check_result(f"the {what} of {name} must be an array", arrays[name], shape(rho.points(name)), dtype)
        for name in rho.blocks
    }


def _parts(results: list[Any]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.parts)
    return dict(total)


def squared_norm(rho: Measure, v: Mapping[str, Array], mobilities: Mapping[str, Array] | None = None) -> float:
    """``sum over blocks, slices and particles of om_l a_{l,j} |v_{l,j}|^2``, summed in float64.

    With mobilities, that of the metric of the flow: ``<v, M^{-1} v>`` over the coordinates with M > 0.
    """
    wide = {name: x.astype(np.float64, copy=False) for name, x in v.items()}
    scaled = {name: wide[name] * inverse_mobility(M) for name, M in (mobilities or {}).items()}
    squares = {name: np.einsum("smp,smp->sm", x, scaled.get(name, x)) for name, x in wide.items()}
    return float(sum(np.sum(rho.mass(name) * square) for name, square in squares.items()))


def points_of(rho: Measure, points: Mapping[str, Array] | None) -> dict[str, Array]:
    """Points (S, K, p) by block: those of the measure, or others in their place."""
    check_measure(rho)
    at = {name: rho.points(name) for name in rho.blocks}
    for name, x in check_blocks_named("points", {} if points is None else points, list(at), False).items():
        array = check_array(f"points of {name}", x, 3, "(S, M, p)")
        if array.shape[::2] != at[name].shape[::2]:
            raise InputError(f"points of {name} must have shape (S, M, p) like {at[name].shape}, got {array.shape}")
        at[name] = array
    return at


def check_blocks(rho: Measure, expected: Mapping[str, int], n_slices: int) -> None:
    """Raise :class:`InputError` unless the measure has exactly these blocks (name: p) and number of slices."""
    if set(rho.blocks) != set(expected):
        raise InputError(f"the measure must have the blocks {sorted(expected)}, got {sorted(rho.blocks)}")
    if rho.n_slices != n_slices:
        raise InputError(f"the measure must have {n_slices} depth slices, one for each depth node, got {rho.n_slices}")
    for name, p in expected.items():
        if rho.points(name).shape[2] != p:
            raise InputError(f"{name} must have {p} parameters a particle, got shape {rho.points(name).shape}")
