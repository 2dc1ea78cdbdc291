"""Gonzalez's discrete gradient: the energy identity holds to round-off at every step."""

from __future__ import annotations

__all__ = ["DiscreteGradient"]

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_fields, check_integer
from wflow.schemes.adams import adams_moulton_error, past
from wflow.schemes.anderson import Anderson
from wflow.schemes.base import Scheme, Trial
from wflow.schemes.particle_flow import Flow, Point

Array = NDArray[Any]


@dataclass(frozen=True)
class DiscreteGradient(Scheme):
    """``x+ = x - h G(x, x+)`` with ``<G, x+ - x> = Q(x+) - Q(x)``, so that ``Q(x+) - Q(x) = -|x+ - x|^2/h``; order 2.

    With ``D = x+ - x`` and g the gradient of Q at ``(x + x+)/2``::

        G = g + D (Q(x+) - Q(x) - <g, D>)/|D|^2

    Gonzalez, J. Nonlinear Sci. 6 (1996) 449; McLachlan, Quispel, Robidoux, Phil. Trans. R. Soc. A 357 (1999) 1021. The
    correction is left out where its numerator is round-off: the identity holds without it then. The equation is solved
    by Anderson's iteration to round-off; the step is halved where that does not converge. The error estimate is the
    difference to Adams and Moulton's formula of order 3.

    Parameters
    ----------
    max_iter
        Iterations, after which the step is halved.

    Raises
    ------
    InputError
        Unless ``max_iter`` is a positive integer.

    Examples
    --------
    >>> import wflow
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x)
    >>> answer = wflow.solve(Q, wflow.Particles(x=[[0.2], [2.0]]), (0, 1), scheme="discrete-gradient", dtau=0.1)
    >>> bool(abs(answer.series["defect"]).max() < 1e-13)
    True
    """

    max_iter: int = 25

    name = "discrete-gradient"
    order = 2
    error_order = 3

    def __post_init__(self) -> None:
        check_fields(self, check_integer, "max_iter")

    def step(self, flow: Flow, point: Point, h: float) -> Trial:
        """One step of size h."""
        with np.errstate(over="ignore", invalid="ignore"):  # iterations may diverge
            new = self.solve(flow, point, h)
        if new is None:
            return Trial(h, point, failure=f"did not converge in {self.max_iter} iterations")
        error = adams_moulton_error(flow, point, new, h) if flow.need_error else None
        new = replace(new, carry=past(point, h) if flow.need_error else {})
        return Trial(h, new, error, flow.norm2(new.x - point.x) / h)

    def solve(self, flow: Flow, point: Point, h: float) -> Point | None:
        """The solution of the equation of the step; None without convergence."""
        eps = float(np.finfo(point.x.dtype).eps)
        y, accelerate = point.x + h * point.velocity, Anderson()
        for _ in range(self.max_iter):
            velocity, new = self.mean_velocity(flow, point, y)
            D = y - point.x
            residual = h * velocity - D
            if not np.isfinite(residual).all():
                break
            solved = np.abs(residual).max() <= 1e-10 * np.abs(D).max() + 8 * eps * np.abs(y).max()
            if solved and (new is None or abs(new.value - point.value + flow.norm2(D) / h) <= 2 * _rounding(point)):
                return new or flow.evaluate(y)
            y = accelerate(y, residual)
        return None

    def mean_velocity(self, flow: Flow, point: Point, y: Array) -> tuple[Array, Point | None]:
        """``-G`` between a point and y; and y evaluated, if the energy identity is to hold to round-off there."""
        new = flow.evaluate(y)
        velocity = flow.evaluate(0.5 * (point.x + y)).velocity
        D = y - point.x
        excess = new.value - point.value + flow.inner(velocity, D)
        if abs(excess) > _rounding(point):
            velocity = velocity - excess / flow.norm2(D) * D
        return velocity, new


def _rounding(point: Point) -> float:
    """The rounding of Q: of 16 units in the last place."""
    return float(16 * np.finfo(point.x.dtype).eps * max(1.0, abs(point.value)))
