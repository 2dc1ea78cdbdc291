"""Proximal schemes: the minimisation that JKO, BDF2 and the midpoint rule share."""

from __future__ import annotations

__all__ = ["Proximal"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_fields, check_integer
from wflow.schemes.base import Scheme, Trial
from wflow.schemes.minimise import NoMinimum, prox
from wflow.schemes.particle_flow import Flow, Point

Array = NDArray[Any]

#: The ratio of successive steps up to which variable BDF2 is stable (Grigorieff, Numer. Math. 42 (1983) 359).
LARGEST_RATIO = 1 + np.sqrt(2)


@dataclass(frozen=True)
class Proximal(Scheme):
    """Schemes made of ``prox(B, h) = argmin_x Q(x) + |x - B|^2/(2h)`` in the mass-weighted norm.

    Parameters
    ----------
    max_iter
        Iterations of one minimisation, after which the step is halved.
    memory
        Differences of iterates that approximate the Hessian.
    """

    max_iter: int = 200
    memory: int = 10

    order = 1
    error_order = 2

    def __post_init__(self) -> None:
        check_fields(self, check_integer, "max_iter", "memory")

    def step(self, flow: Flow, point: Point, h: float) -> Trial:
        """One step of size h; a failed minimisation is a failure of the trial."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # a line search may look where Q overflows
                new, error, notes = self.advance(flow, point, h)
        except NoMinimum as failure:
            return Trial(h, point, failure=str(failure))
        new = replace(new, carry=self.remember(flow, point, h))
        # The square of the mean velocity: it has the order of the scheme, for every scheme of order 1 or 2.
        return Trial(h, new, error, flow.norm2(new.x - point.x) / h, notes=notes)

    def advance(self, flow: Flow, point: Point, h: float) -> tuple[Point, float | None, Mapping[str, int]]:
        """The new point, the estimated error if the controller reads it, and notes."""
        raise NotImplementedError

    def remember(self, flow: Flow, point: Point, h: float) -> dict[str, Array]:
        """What the next step must know of this one."""
        return {"x": point.x, "h": np.array(h)}

    def euler(self, flow: Flow, point: Point, h: float) -> Point:
        """``prox(x, h)``: the implicit Euler method, which never raises Q."""
        return self._prox(flow, point, point, point.x, h, 1)

    def midpoint(self, flow: Flow, point: Point, h: float) -> Point:
        """``2 prox(x, h/2) - x``."""
        middle = self._prox(flow, point, point, point.x, h / 2, 2)
        return flow.evaluate(2 * middle.x - point.x)

    def bdf2(self, flow: Flow, point: Point, h: float, start: Point) -> Point:
        """The second-order backward difference formula; the midpoint rule where it has no usable past."""
        ratio = h / float(point.carry["h"]) if "x" in point.carry else np.inf
        if ratio > LARGEST_RATIO:
            return self.midpoint(flow, point, h)
        base = point.x + ratio**2 / (1 + 2 * ratio) * (point.x - point.carry["x"])
        return self._prox(flow, point, start, base, h * (1 + ratio) / (1 + 2 * ratio), 2)

    def _prox(self, flow: Flow, old: Point, start: Point, base: Array, h: float, order: int) -> Point:
        """The minimiser to a thousandth of the error of a step of this order.

        That error, relative to the step, is about ``(h Lambda)^order``, and the velocities know ``h Lambda``.
        """
        speed = flow.norm(old.velocity)

        def accuracy(point: Point) -> float:
            change = flow.norm(point.velocity - old.velocity) / speed if speed > 0 else 0.0
            return max(1e-3 * min(1.0, change**order), 1e-9)

        return prox(flow, start, base, h, accuracy, max_iter=self.max_iter, memory=self.memory)
