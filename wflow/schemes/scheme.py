"""What a time-stepping scheme is, and what it sees of the problem: flat vectors with masses."""

from __future__ import annotations

__all__ = ["Flow", "Point", "Scheme", "Trial"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wflow.energies.energy import Energy
from wflow.measures import Blocks, Particles

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Point:
    """A state of the flow with everything one evaluation of the energy yields there."""

    x: Array
    value: float
    velocity: Array
    parts: Mapping[str, float]

    @property
    def is_finite(self) -> bool:
        """Whether Q and every velocity are finite numbers."""
        return bool(np.isfinite(self.value) and np.isfinite(self.velocity).all())


@dataclass(frozen=True, eq=False)
class Trial:
    """A proposed step of size h, to be accepted or rejected by a controller.

    ``error`` is the label norm of the estimated error (None without an estimate), ``dissipated`` approximates
    ``int |v|^2 d tau`` over the step to the scheme's order, ``lipschitz`` estimates the Lipschitz constant of the
    velocity along the step (0 without an estimate).
    """

    h: float
    point: Point
    error: float | None
    dissipated: float
    lipschitz: float


class Flow:
    """``dx/d tau = v(x)`` as schemes see it: all blocks in one vector x, with the mass of every entry.

    The norm is the label norm ``|e|^2 = sum_l om_l sum_j a_{l,j} |e_{l,j}|^2``, an upper bound of the conditional
    Wasserstein distance.
    """

    def __init__(self, energy: Energy, rho0: Particles, interrupt: Callable[[], None] = lambda: None) -> None:
        self.energy = energy
        self.template = energy.prepare(rho0)
        self.interrupt = interrupt
        self.n_evaluations = 0
        self.mass = self.flat(
            Blocks(
                **{
                    b: np.broadcast_to(self.template.mass(b)[..., None], x.shape)
                    for b, x in self.template.blocks.items()
                }
            )
        )

    @staticmethod
    def flat(blocks: Mapping[str, Array]) -> Array:
        """All blocks in one vector."""
        return np.concatenate([np.ravel(x) for x in blocks.values()])

    def measure(self, x: Array) -> Particles:
        """The measure whose particles are the entries of x."""
        blocks, start = {}, 0
        for name, like in self.template.blocks.items():
            blocks[name] = x[start : start + like.size].reshape(like.shape)
            start += like.size
        return self.template.replace(**blocks)

    def evaluate(self, x: Array) -> Point:
        """Q, its parts and the velocity at x."""
        self.interrupt()
        self.n_evaluations += 1
        result = self.energy.evaluate(self.measure(x))
        return Point(x, result.value, self.flat(result.velocity), result.parts)

    def norm2(self, e: Array) -> float:
        """The squared label norm, summed in float64."""
        wide = e.astype(np.float64, copy=False)
        return float(np.einsum("i,i,i->", self.mass, wide, wide))

    def norm(self, e: Array) -> float:
        """The label norm."""
        return float(np.sqrt(self.norm2(e)))


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

    def step(self, flow: Flow, point: Point, h: float) -> Trial:
        """Propose a step of size h from a point."""
        ...
