"""The second-order backward difference formula as a minimisation."""

from __future__ import annotations

__all__ = ["BDF2"]

from collections.abc import Mapping
from dataclasses import dataclass

from wflow.schemes.particle_flow import Flow, Point
from wflow.schemes.proximal import Proximal


@dataclass(frozen=True)
class BDF2(Proximal):
    """``x+ = prox(((1 + r)^2 x - r^2 x_-)/(1 + 2r), h (1 + r)/(1 + 2r))``, ``r = h/h_-`` the ratio of steps; order 2.

    Matthes, Plazotta, ESAIM: M2AN 53 (2019) 145, here with variable steps. The first step, and one more than
    1 + sqrt(2) times as long as the last, is a step of the midpoint rule. A step that raises Q is replaced by a JKO
    step and counted in ``Solution.stats["fallbacks"]``. The error estimate is the difference to a JKO step.

    Parameters
    ----------
    max_iter, memory
        As for :class:`wflow.schemes.JKO`.

    Examples
    --------
    >>> import wflow
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    >>> answer = wflow.solve(Q, wflow.Particles(x=[[1.0]]), (0, 1), scheme="bdf2", dtau=0.01)
    >>> bool(abs(answer.measure(-1).x.item() - 0.36787944) < 2e-5)
    True
    """

    name = "bdf2"
    order = 2

    def advance(self, flow: Flow, point: Point, h: float) -> tuple[Point, float | None, Mapping[str, int]]:
        """The step of order 2 unless it raises Q."""
        first = self.euler(flow, point, h) if flow.need_error else None
        second = self.bdf2(flow, point, h, start=first or point)
        error = flow.norm(second.x - first.x) if first else None
        if flow.rises(point, second):
            return first or self.euler(flow, point, h), error, {"fallbacks": 1}
        return second, error, {}
