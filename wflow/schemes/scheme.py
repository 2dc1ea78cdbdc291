"""What a time-stepping scheme is, and what it sees of the problem: flat vectors with masses."""

from __future__ import annotations

__all__ = ["ROUNDING", "Flow", "ParticleScheme", "Point", "Scheme", "Trial", "check_problem", "rises"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from wflow.energies.energy import Energy
from wflow.errors import InputError
from wflow.measures import Particles

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Point:
    """A state of the flow with everything one evaluation of the energy yields there.

    ``carry`` is what the scheme remembers from step to step, by name; checkpoints keep it.
    """

    x: Array
    value: float
    velocity: Array
    parts: Mapping[str, float]
    carry: Mapping[str, Array] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        """Whether Q and every velocity are finite numbers."""
        return bool(np.isfinite(self.value) and np.isfinite(self.velocity).all())


@dataclass(frozen=True, eq=False)
class Trial:
    """A proposed step of size h, to be accepted or rejected by a controller.

    ``error`` is the label norm of the estimated error (None without an estimate), ``dissipated`` approximates
    ``int |v|^2 d tau`` over the step to the scheme's order (NaN where it has no meaning), ``lipschitz`` estimates the
    Lipschitz constant of the velocity along the step (0 without an estimate). A step that could not be made says why
    in ``failure``, such as "did not converge": it is tried again with half the h. ``notes`` counts what the run
    should report, such as fallbacks to another method; they are added up in ``Solution.stats``.
    """

    h: float
    point: Point
    error: float | None = None
    dissipated: float = float("nan")
    lipschitz: float = 0.0
    failure: str = ""
    notes: Mapping[str, int] = field(default_factory=dict)


#: Differences of Q below this many units of round-off (of the working precision) have no sign.
ROUNDING = 64


def rises(old: Any, new: Any) -> bool:
    """Whether Q rose from one point to another by more than rounding, or is no number."""
    slack = ROUNDING * np.finfo(old.x.dtype).eps * abs(old.value)
    return not (new.is_finite and new.value <= old.value + slack)


class Flow:
    """``dx/d tau = v(x)`` as schemes see it: all blocks in one vector x, with the mass of every entry.

    The norm is the label norm ``|e|^2 = sum_l om_l sum_j a_{l,j} |e_{l,j}|^2``, an upper bound of the conditional
    Wasserstein distance.

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
        self.interrupt: Callable[[], None] = lambda: None
        self.noise = noise
        #: Whether the controller wants error estimates that cost evaluations.
        self.wants_error = True
        self.n_evaluations = 0
        self.mass = self.flat(self._masses())

    def _masses(self) -> dict[str, Array]:
        """The mass of every entry, by block."""
        rho = self.template
        return {name: np.broadcast_to(rho.mass(name)[..., None], x.shape) for name, x in rho.blocks.items()}

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
        return self.template.replace(**self.unflat(x))

    def evaluate(self, x: Array) -> Point:
        """Q, its parts and the velocity at x."""
        self.interrupt()
        self.n_evaluations += 1
        result = self.energy.evaluate(self.measure(x))
        return Point(x, result.value, self.flat(result.velocity), result.parts)

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
        """The inner product of the label norm, summed in float64."""
        return float(
            np.einsum("i,i,i->", self.mass, a.astype(np.float64, copy=False), b.astype(np.float64, copy=False))
        )

    def norm2(self, e: Array) -> float:
        """The squared label norm, summed in float64."""
        return self.inner(e, e)

    def norm(self, e: Array) -> float:
        """The label norm."""
        return float(np.sqrt(self.norm2(e)))

    def dissipation(self, point: Point) -> float:
        """``|v|^2 = -dQ/d tau`` at a point."""
        return self.norm2(point.velocity)

    def size(self, point: Point) -> float:
        """The size of the state in the metric, for the first step: the label norm."""
        return self.norm(point.x)

    def complaint(self, point: Point) -> str:
        """Why a run must not go on from an accepted point; empty when it may."""
        return ""

    def length(self, point: Point, trial: Trial) -> float:
        """The metric length of a step: the label norm of the displacement."""
        return self.norm(trial.point.x - point.x)

    def normal(self, index: int) -> Array:
        """The run's vector of standard normal numbers of this index: a function of the key and the index alone."""
        if self.noise is None:
            raise InputError("a scheme with noise needs random numbers: pass rng=seed")
        stream = np.random.Philox(key=self.noise, counter=[0, 0, 0, index])
        return np.random.Generator(stream).standard_normal(self.mass.size).astype(self.template.dtype, copy=False)


class Scheme(Protocol):
    """A one-step method.

    ``error_order`` is the power of h with which its error estimate falls (None without an estimate), ``stability`` the
    h times Lipschitz constant up to which decaying modes stay bounded.
    """

    @property
    def name(self) -> str: ...
    @property
    def order(self) -> int: ...
    @property
    def error_order(self) -> int | None: ...
    @property
    def stability(self) -> float: ...

    def step(self, flow: Any, point: Any, h: float) -> Trial:
        """Propose a step of size h from a point."""
        ...


class ParticleScheme:
    """What all schemes for particles share: which problems they take."""

    #: The internal energies that the scheme treats.
    internals: ClassVar[tuple[type, ...]] = (NoneType,)
    #: Whether Q must not rise from step to step.
    monotone: ClassVar[bool] = True
    #: Whether it moves particles by noise: the energy of its runs is the smooth part.
    noisy: ClassVar[bool] = False
    name: str

    def flow(self, energy: Energy, rho0: Any, noise: int | None = None) -> Flow:
        """The flow that the scheme steps in.

        Raises
        ------
        InputError
            For a measure or an internal energy that the scheme does not treat.
        """
        check_problem(self, energy, rho0, Particles)
        return Flow(energy, rho0, noise)


def check_problem(scheme: Any, energy: Energy, rho0: Any, measure: type) -> None:
    """Raise :class:`InputError` unless the scheme treats this kind of measure and internal energy."""
    if not isinstance(rho0, measure):
        raise InputError(
            f"scheme {scheme.name!r} moves a measure of type wflow.{measure.__name__}, got {type(rho0).__name__}"
        )
    internals = getattr(scheme, "internals", (NoneType,))
    if isinstance(energy.internal, internals):
        return
    if energy.internal is None:
        raise InputError(f"scheme {scheme.name!r} needs an internal energy, such as entropy > 0")
    raise InputError(
        f"scheme {scheme.name!r} does not treat internal energies such as entropy, but this one has {energy.internal}: "
        "leave it out (entropy=0), or choose a scheme that does (docs/schemes.md)"
    )
