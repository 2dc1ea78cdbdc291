"""Explicit Runge-Kutta schemes: the engine that every tableau shares."""

from __future__ import annotations

__all__ = ["RungeKutta"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.schemes.scheme import Flow, ParticleScheme, Point, Trial


@dataclass(frozen=True)
class RungeKutta(ParticleScheme):
    """An explicit Runge-Kutta pair whose last stage is the first of the next step.

    ``k_i = v(x + h sum_j a_ij k_j)``, ``x+ = x + h sum_i b_i k_i``, error estimate ``h sum_i (b_i - bhat_i) k_i``.
    ``a`` lists the rows of stages 2, 3, ...; its last row is b, so that the last stage sits at ``x+``: its energy and
    velocity cost nothing extra.

    Examples
    --------
    >>> from wflow.schemes import SCHEMES
    >>> SCHEMES["dopri5"].order, len(SCHEMES["dopri5"].b)
    (5, 7)
    """

    name: str
    order: int
    error_order: int
    stability: float
    a: tuple[tuple[float, ...], ...]
    b_hat: tuple[float, ...]

    @property
    def b(self) -> tuple[float, ...]:
        """The weights of the stages."""
        return (*self.a[-1], 0.0)

    def step(self, flow: Flow, point: Point, h: float) -> Trial:
        """One step of size h from a point with known velocity."""
        k = [point.velocity]
        for row in self.a:
            new = flow.evaluate(point.x + _combine(h, row, k))
            k.append(new.velocity)
        difference = tuple(b - b_hat for b, b_hat in zip(self.b, self.b_hat))
        first = flow.norm(k[0])
        c_2 = sum(self.a[0])
        return Trial(
            h=h,
            point=new,
            error=flow.norm(_combine(h, difference, k)),
            dissipated=h * sum(b * flow.norm2(stage) for b, stage in zip(self.b, k) if b),
            lipschitz=flow.norm(k[1] - k[0]) / (c_2 * h * first) if first > 0 else 0.0,
        )


def _combine(h: float, weights: tuple[float, ...], k: list[NDArray[Any]]) -> NDArray[Any]:
    """``h sum_i w_i k_i`` in the precision of k."""
    total = np.zeros_like(k[0])
    for weight, stage in zip(weights, k):
        if weight:
            total += h * weight * stage
    return total
