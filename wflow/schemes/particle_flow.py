"""The flow of particles, as schemes see it: flat vectors with masses."""

from __future__ import annotations

__all__ = ["ROUNDING", "Flow", "Point"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_memory, check_number
from wflow.energies.energy import Energy
from wflow.energies.mobility import check_mobilities, inverse_mobility
from wflow.errors import InputError
from wflow.measures import Particles

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Point:
    """A state of the flow with everything one evaluation of the energy yields there.

    ``terms`` is the size of what Q is the sum of (see :class:`wflow.energies.energy.Evaluation`). ``carry`` is what the
    scheme remembers from step to step, by name; checkpoints keep it.
    """

    x: Array
    value: float
    velocity: Array
    parts: Mapping[str, float]
    carry: Mapping[str, Array] = field(default_factory=dict)
    terms: float = 0.0

    @property
    def is_finite(self) -> bool:
        """Whether Q and every velocity are finite numbers."""
        return bool(np.isfinite(self.value) and np.isfinite(self.velocity).all())


#: A step holds at least so many arrays like the state: two states, velocities, and what kernels read and write.
COPIES = 5
#: Differences of Q below this many units of round-off (of the working precision) have no sign.
ROUNDING = 64


class Flow:
    """``dx/d tau = v(x)`` as schemes see it: all blocks in one vector x, with the mass of every entry.

    The norm is the mass-weighted norm ``|e|^2 = sum_l om_l sum_j a_{l,j} |e_{l,j}|^2``, an upper bound of the
    conditional Wasserstein distance. With mobilities it is that of the metric of the flow,
    ``<e_{l,j}, M^{-1} e_{l,j}>`` over the coordinates that move: ``mass`` is divided by M, and 0 where M is; the masses
    themselves are then ``plain_mass``.

    Parameters
    ----------
    energy, rho0
        The functional and the initial measure.
    noise
        The key of the run's random numbers (see :meth:`normal`).
    """

    def __init__(self, energy: Energy, rho0: Particles, noise: int | None = None) -> None:
        self.energy = energy
        self.template = energy.prepare(rho0)
        if energy.mobilities:
            check_mobilities(energy.mobilities, {name: rho0.points(name).shape[2] for name in rho0.blocks})
        self.interrupt: Callable[[], None] = lambda: None
        self.noise = noise
        #: Whether the controller reads error estimates, which may cost evaluations.
        self.need_error = True
        self.n_evaluations = 0
        self.plain_mass = self.flat(self._masses())
        n_bytes = COPIES * self.plain_mass.size * rho0.dtype.itemsize
        check_memory(f"steps of {self.plain_mass.size} numbers", n_bytes, "take fewer particles, cells or layers")
        self.mass = self._in_metric(self.plain_mass)

    def _masses(self) -> dict[str, Array]:
        """The mass of every entry, by block."""
        rho = self.template
        return {name: np.broadcast_to(rho.mass(name)[..., None], x.shape) for name, x in rho.blocks.items()}

    def _in_metric(self, mass: Array) -> Array:
        """Masses divided by mobilities, 0 where these are."""
        return mass * inverse_mobility(self.mobility) if self.energy.mobilities else mass

    @cached_property
    def mobility(self) -> Array:
        """The mobility of every entry."""
        ones = {name: np.ones(x.shape) for name, x in self.template.blocks.items()}
        return self.flat({name: one * self.energy.mobilities.get(name, 1.0) for name, one in ones.items()})

    @staticmethod
    def flat(blocks: Mapping[str, Array]) -> Array:
        """All blocks in one vector."""
        return np.concatenate([np.ravel(x) for x in blocks.values()])

    def unflat(self, x: Array) -> dict[str, Array]:
        """The blocks of a vector."""
        blocks, start = {}, 0
        for name, like in self.template.blocks.items():
            blocks[name] = x[start : start + like.size].reshape(like.shape)
            start += like.size
        return blocks

    def measure(self, x: Array) -> Particles:
        """The measure whose particles are the entries of x."""
        return self.template.taking(self.unflat(x))

    def evaluate(self, x: Array) -> Point:
        """Q, its parts and the velocity at x."""
        self.interrupt()
        self.n_evaluations += 1
        result = self.energy.evaluate(self.measure(x))
        velocity = self.flat(result.velocity_at(self.template))
        return Point(x, check_number("Q", result.value, finite=False), velocity, result.parts, terms=result.terms)

    def where_not_finite(self, point: Point) -> str:
        """What of a point is no finite number, in words."""
        for words, vector in (("", point.x), ("the velocity of ", getattr(point, "velocity", point.x))):
            for block, array in self.unflat(vector).items():
                if not np.isfinite(array).all():
                    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
                    if words and (cause := self.energy.overflow(self.measure(point.x))):
                        return cause
                    return f"{words}{block} is {array[index]} at index {index}"
        return f"Q is {point.value}"

    def inner(self, a: Array, b: Array) -> float:
        """The inner product of the mass-weighted norm, summed in float64."""
        return _weighted(self.mass, a, b)

    def norm2(self, e: Array) -> float:
        """The squared mass-weighted norm, summed in float64."""
        return self.inner(e, e)

    def norm(self, e: Array) -> float:
        """The mass-weighted norm."""
        return float(np.sqrt(self.norm2(e)))

    def dissipation(self, point: Point) -> float:
        """``|v|^2 = -dQ/d tau`` at a point, in the metric of the flow."""
        return self.norm2(point.velocity)

    def rounding(self, old: Point) -> float:
        """The differences of Q that have no sign: ``ROUNDING`` units of round-off of its terms."""
        return self._units(max(abs(old.value), old.terms))

    def _units(self, size: float) -> float:
        return ROUNDING * float(np.finfo(self.template.dtype).eps) * size

    def hidden_rounding(self, old: Point, new: Point) -> float:
        """The same, and not less, for terms that cancel inside a function of the user, as velocities show them.

        Those of ``k |x - a|^2/2 = k |x|^2/2 - k a x + k |a|^2/2`` near a have the size of ``k |x|^2``, and
        ``k = |v+ - v|/|x+ - x|``.
        """
        moved = self.norm(new.x - old.x)
        curvature = self.norm(new.velocity - old.velocity) / moved if moved > 0 else 0.0
        return max(self.rounding(old), self._units(curvature * self.norm2(old.x)))

    def rises(self, old: Any, new: Any) -> bool:
        """Whether Q rose from one point to another by more than rounding, or is no number.

        Where rounding may hide in a function of the user, the slopes at both ends decide. An energy that knows its
        terms needs them not, and they err where a long step of low order bends the way.
        """
        rise = new.value - old.value
        if not new.is_finite or rise <= self.rounding(old):
            return not new.is_finite
        if not self.energy.cancels:
            return True
        return rise > self.hidden_rounding(old, new) or self.inner(old.velocity + new.velocity, new.x - old.x) < 0

    def size(self, point: Point) -> float:
        """The size of the state in the metric, for the first step: the mass-weighted norm."""
        return self.norm(point.x)

    def stop_reason(self, x: Array) -> str:
        """Why a run must not go on from x; empty when it may."""
        return ""

    def length(self, point: Point, new: Point, h: float) -> float:
        """The length of a step in parameters: the mass-weighted norm of the displacement, whatever the mobilities."""
        return self.plain_norm(new.x - point.x)

    def plain_norm(self, e: Array) -> float:
        """The mass-weighted norm without mobilities."""
        return float(np.sqrt(_weighted(self.plain_mass, e, e)))

    def normal(self, index: int, node: int = 0) -> Array:
        """The run's vector of standard normal numbers of this index: a function of the key and the index alone.

        Every node has numbers of its own; node 0 is for the steps.
        """
        if self.noise is None:
            raise InputError("a scheme with noise needs random numbers: pass rng=seed")
        stream = np.random.Philox(key=self.noise, counter=[0, 0, node, index])
        return np.random.Generator(stream).standard_normal(self.mass.size).astype(self.template.dtype, copy=False)


def _weighted(mass: Array, a: Array, b: Array) -> float:
    """``sum_i mass_i a_i b_i``, summed in float64."""
    return float(np.einsum("i,i,i->", mass, a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)))
