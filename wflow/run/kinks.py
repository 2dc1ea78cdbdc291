"""Kinks of Q: whether the velocity jumps ahead of a state, for runs that crawl there."""

from __future__ import annotations

__all__ = ["crawls", "jumps_ahead"]

from typing import Any

import numpy as np

from wflow.schemes.particle_flow import Flow, Point

#: A run crawls when this many steps are left at its pace, and its step is such a share of the largest one.
STEPS_LEFT, SLOW = 1e5, 1e-2
#: The share of the change of velocity that is left between points 2^-HALVINGS as far apart, if it jumps.
JUMP, HALVINGS = 0.05, 14


def crawls(h: float, h_largest: float, left: float) -> bool:
    """Whether steps of size h are far from the end, and far shorter than they have been.

    Examples
    --------
    >>> crawls(1e-6, 0.1, 10.0), crawls(1e-3, 0.1, 10.0), crawls(1e-6, 1e-6, 10.0)
    (True, False, False)
    """
    return left > STEPS_LEFT * h and h < SLOW * h_largest


def jumps_ahead(flow: Flow, point: Any, h: float) -> bool:
    """Whether the velocity jumps between ``x`` and ``x + h v(x)``.

    Bisection towards the larger change: that of a smooth velocity is halved each time, however stiff it is.

    Examples
    --------
    >>> from wflow import Particles, PotentialEnergy
    >>> for gradient in np.sign, lambda x: np.tanh(1e3 * x):
    ...     flow = Flow(PotentialEnergy(lambda x: abs(x[:, 0]), gradient), Particles(x=[[0.3]]))
    ...     print(jumps_ahead(flow, flow.evaluate(np.array([0.3])), 1.0))
    True
    False
    """
    if not isinstance(point, Point):
        return False

    def change(a: Point, b: Point) -> float:
        return flow.norm(b.velocity - a.velocity)

    with np.errstate(all="ignore"):
        near, far = point, flow.evaluate(point.x + h * point.velocity)
        whole = change(near, far)
        for _ in range(HALVINGS if 0 < whole < np.inf else 0):
            middle = flow.evaluate(0.5 * near.x + 0.5 * far.x)
            near, far = (near, middle) if change(near, middle) >= change(middle, far) else (middle, far)
        return bool(0 < whole < np.inf and change(near, far) > JUMP * whole)
