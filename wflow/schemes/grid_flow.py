"""The flow of densities, as grid schemes see it."""

from __future__ import annotations

__all__ = ["DensityPoint", "GridFlow", "GridScheme"]

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_fields, check_nonnegative, check_number
from wflow.energies import Energy, Entropy
from wflow.errors import InputError
from wflow.measures import Grid
from wflow.schemes.base import Scheme
from wflow.schemes.particle_flow import Flow

Array = NDArray[Any]

#: Steps may leave this share of the largest density negative.
NEGATIVE = 1e-8


@dataclass(frozen=True, eq=False)
class DensityPoint:
    """A density, flat, with what one evaluation of the energy yields there (see :class:`wflow.schemes.Point`).

    ``potential`` is the first variation of the smooth part of the energy in every cell, shaped like x.
    """

    x: Array
    value: float
    potential: Array
    parts: Mapping[str, float]
    carry: Mapping[str, Array] = field(default_factory=dict)
    terms: float = 0.0

    @property
    def is_finite(self) -> bool:
        """Whether Q, the density and the first variation are finite numbers."""
        return bool(np.isfinite(self.value) and np.isfinite(self.x).all() and np.isfinite(self.potential).all())


class GridFlow(Flow):
    """``d rho/d tau = div(rho M grad(Phi_0 + U'(rho)))`` in boxes without flux through their boundary.

    The state x holds the densities of all blocks, flat. The norm is that of L1, ``sum over blocks and slices of
    om_l int |e|``, so that a probability density of one block has norm one.

    Parameters
    ----------
    energy, rho0, noise
        As in :class:`wflow.schemes.Flow`.
    outer_mass
        The mass that the cells at the boundary may have; with more of it, the run ends.
    """

    template: Any  # Grid

    def __init__(self, energy: Energy, rho0: Grid, noise: int | None = None, outer_mass: float = 1e-10) -> None:
        super().__init__(energy, rho0, noise)  # type: ignore[arg-type]
        self.outer_mass = outer_mass
        self._dissipation: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        if reason := self.stop_reason(self.flat(self.template.blocks)):
            raise InputError(f"the initial density {reason}: enlarge the box, and the number of cells with it")

    def _masses(self) -> dict[str, Array]:
        """Of every cell, the mass of density one."""
        rho, om = self.template, self.template.depth_weights
        return {name: np.repeat(om * rho.cell_volume(name), r[0].size) for name, r in rho.blocks.items()}

    def _in_metric(self, mass: Array) -> Array:
        return mass  # L1 knows no mobilities

    def blocks(
        self, *flats: Array, power: float = 0.5
    ) -> Iterator[tuple[tuple[float, ...], float, Array, tuple[Array, ...]]]:
        """Block by block: cell widths and volume, depth weights, and views (S, n_1, ..., n_p) of vectors like x.

        Widths are ``dx/M^power``, those in the metric of the flow: infinite where M = 0, so that nothing moves there.
        """
        shaped, rho, mobilities = [self.unflat(flat) for flat in flats], self.template, self.energy.mobilities
        for name in rho.blocks:
            widths = rho.spacing(name)
            volume = math.prod(widths)
            if name in mobilities:
                widths = tuple(dx / M**power if M > 0 else math.inf for dx, M in zip(widths, mobilities[name]))
            yield widths, volume, rho.depth_weights, tuple(views[name] for views in shaped)

    def evaluate(self, x: Array) -> Any:
        """Q, its parts and the first variation at x, as a :class:`DensityPoint`."""
        self.interrupt()
        self.n_evaluations += 1
        result = self.energy.linearise(self.measure(x))
        potential = self.flat(result.first_variation_at(self.template))
        value = check_number("Q", result.value, finite=False)
        return DensityPoint(x, value, potential, result.parts, terms=result.terms)

    def norm(self, e: Array) -> float:
        """The L1 norm."""
        return float(np.sum(self.mass * np.abs(e)))

    def rises(self, old: Any, new: Any) -> bool:
        """Whether Q rose from one point to another by more than rounding, or is no number."""
        return not (new.is_finite and new.value <= old.value + self.rounding(old))

    def size(self, point: Any) -> float:
        """The root of the second moment, over depth and blocks."""
        second, om = self.measure(point.x).moment(2), self.template.depth_weights
        return float(np.sqrt(sum(om @ moment.sum(axis=1) for moment in second.values())))

    def dissipation(self, point: Any) -> float:
        """``int rho |grad(Phi_0 + U'(rho))|^2``: the rate at which finite volumes lower Q.

        With entropy the fluxes are those of Scharfetter and Gummel, else upwind, so that it is never negative.
        """
        if point not in self._dissipation:  # the loop and the schemes read that of the same point
            self._dissipation[point] = self._square_speed(point)
        return self._dissipation[point]

    def _square_speed(self, point: Any, power: float = 0.5) -> float:
        """``int <v, M^{-1} v> d rho``; with power 1 ``int |v|^2 d rho`` (see :meth:`blocks`)."""
        from wflow.kernels.jumps import jump_dissipation

        internal, total = self.energy.internal, 0.0
        sigma = internal.sigma if isinstance(internal, Entropy) else 0.0
        for widths, volume, om, (r, phi) in self.blocks(point.x, point.potential, power=power):
            psi = phi if internal is None else phi + internal.slope(np.maximum(r, 0))
            for axis, dx in enumerate(widths, start=1):
                arrays = along(axis, r, phi if sigma else psi, psi)
                rate = jump_dissipation(*arrays, sigma).reshape(len(om), -1).sum(axis=1)
                total += float(om @ rate) * volume / dx**2
        return max(total, 0.0)

    def length(self, point: Any, new: Any, h: float) -> float:
        """``h |v|``, with ``|v|^2`` the mean of both ends: the length of the path in parameters (Benamou, Brenier)."""
        square = partial(self._square_speed, power=1.0) if self.energy.mobilities else self.dissipation
        return h * float(np.sqrt(0.5 * (square(point) + square(new))))

    def stop_reason(self, x: Array) -> str:
        """That the density has reached the boundary of its box; empty when it has not."""
        rho: Any = self.measure(x)
        for name in rho.blocks:
            if (outer := rho.outer_mass(name)) > self.outer_mass:
                box = ", ".join(f"({lo:g}, {hi:g})" for lo, hi in rho.box[name])
                more = f"mass {outer:.3g} of {name}, more than {self.outer_mass:g},"
                return f"has {more} in the outer cells of the box {box}"
        return ""


class GridScheme(Scheme):
    """What all schemes for grids share: which problems they take, and the option ``outer_mass``."""

    internals: ClassVar[tuple[type, ...]] = (Entropy,)
    measure = Grid
    #: What it steps in.
    flow_type: ClassVar[type[GridFlow]] = GridFlow
    #: The largest number of parameters of a block.
    max_dimension: ClassVar[int] = 3
    outer_mass: float

    def __post_init__(self) -> None:
        check_fields(self, check_nonnegative, "outer_mass")

    def _set_orders(self, order: int, error_order: int | None) -> None:
        """The orders of a scheme in which they depend on an option, in place of those of its class."""
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "error_order", error_order)

    def flow(self, energy: Energy, rho0: Any, noise: int | None = None) -> GridFlow:
        """The flow that the scheme steps in.

        Raises
        ------
        InputError
            For a measure, its dimension or an internal energy that the scheme does not treat, and a box that is too
            small for the initial measure.
        """
        self.check_problem(energy, rho0)
        for name in rho0.blocks:
            if (p := len(rho0.box[name])) > self.max_dimension:
                most = f"at most {self.max_dimension} parameters, but {name} has {p}"
                raise InputError(f"scheme {self.name!r} takes grids of {most}")
        return self.flow_type(energy, rho0, noise, self.outer_mass)


def is_negative(x: Array) -> bool:
    """Whether a density is negative somewhere, by more than what counts as 0."""
    return bool(x.min() < -NEGATIVE * x.max())


def unless_negative(x: Array, plain: Array) -> tuple[Array, dict[str, int]]:
    """An extrapolated density, or the plain one where extrapolation made it negative; and a note of that."""
    return (plain, {"not_extrapolated": 1}) if is_negative(x) else (x, {})


def along(axis: int, *arrays: Array) -> list[Array]:
    """Arrays (S, n_1, ..., n_p) as (outer, n, inner) around an axis, for kernels that work along it."""
    return [u.reshape(math.prod(u.shape[:axis]), u.shape[axis], -1) for u in arrays]
