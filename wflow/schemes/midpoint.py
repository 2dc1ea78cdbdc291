"""The implicit midpoint rule as a minimisation."""

from __future__ import annotations

__all__ = ["Midpoint"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from wflow.schemes.adams import adams_moulton_error, past
from wflow.schemes.particle_flow import Flow, Point
from wflow.schemes.proximal import Proximal


@dataclass(frozen=True)
class Midpoint(Proximal):
    """``x+ = 2 prox(x, h/2) - x``, that is ``x+ = x + h v((x + x+)/2)``; order 2.

    Legendre, Turinici, C. R. Math. 355 (2017) 345: half a JKO step, extrapolated. A step that raises Q is replaced by a
    JKO step and counted in ``Solution.stats["fallbacks"]``. The error estimate is the difference to
    Adams and Moulton's formula of order 3.

    Parameters
    ----------
    max_iter, memory
        As for :class:`wflow.schemes.JKO`.

    Examples
    --------
    >>> import wflow
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    >>> answer = wflow.solve(Q, wflow.Particles(x=[[1.0]]), (0, 1), scheme="midpoint", dtau=0.01)
    >>> bool(abs(answer.measure(-1).x.item() - 0.36787944) < 1e-5)
    True
    """

    name = "midpoint"
    order = 2
    error_order = 3

    def advance(self, flow: Flow, point: Point, h: float) -> tuple[Point, float | None, Mapping[str, int]]:
        """The step of order 2 unless it raises Q."""
        new = self.midpoint(flow, point, h)
        notes = {}
        if flow.rises(point, new):
            new, notes = self.euler(flow, point, h), {"fallbacks": 1}
        return new, adams_moulton_error(flow, point, new, h) if flow.need_error else None, notes

    def remember(self, flow: Flow, point: Point, h: float) -> dict[str, NDArray[Any]]:
        """The velocity, for the error estimate."""
        return past(point, h) if flow.need_error else {}
