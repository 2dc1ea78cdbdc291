"""The scheme of Jordan, Kinderlehrer and Otto: one minimisation a step, at any step size."""

from __future__ import annotations

__all__ = ["JKO"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_fields, check_integer
from wflow.distances import conditional_w2
from wflow.measures import Particles
from wflow.schemes.particle_flow import Flow, Point
from wflow.schemes.proximal import Proximal


@dataclass(frozen=True)
class JKO(Proximal):
    """``rho+ = argmin_rho Q(rho) + d(rho, rho_n)^2/(2h)``, d the conditional Wasserstein distance; order 1.

    Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29 (1998) 1. What is minimised is ``Q(x) + |x - x_n|^2/(2h)`` with
    the mass-weighted norm: implicit Euler, ``x+ = x + h v(x+)``. For particles of equal weights this is the exact step
    among measures of as many equal particles, if the transport that keeps the labels is optimal between x and x+. That
    is tested on a sample of the steps and counted in ``Solution.stats``: ``jko_checked``, and ``not_jko`` where another
    assignment is cheaper (with mobilities in the metric of the flow, between particles with the same frozen
    parameters). With unequal weights mass cannot leave its particle: a restricted JKO step, counted in
    ``restricted_jko``.

    ``Q(x+) + |x+ - x|^2/(2h) <= Q(x)`` at every step, whatever h. The error estimate is the difference to a BDF2 step.

    Parameters
    ----------
    check_every
        How often the assignment is tested, in steps: the first, and every so many later; 0 for never.
    max_iter, memory
        Iterations of one minimisation, after which the step is halved, and differences that make its Hessian.

    Raises
    ------
    InputError
        For options that are no such integers.

    Examples
    --------
    >>> import wflow
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    >>> answer = wflow.solve(Q, wflow.Particles(x=[[3.0], [6.0]]), (0, 1), scheme="jko", dtau=0.5)
    >>> answer.measure(-1).x[0, :, 0].round(12) * 1.5**2
    array([3., 6.])
    >>> answer.stats["jko_checked"]
    1
    """

    check_every: int = 10

    name = "jko"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, check_integer, "check_every", least=0)

    def advance(self, flow: Flow, point: Point, h: float) -> tuple[Point, float | None, Mapping[str, int]]:
        """The minimiser, its distance to a step of order 2, and the test of the assignment."""
        new = self.euler(flow, point, h)
        error = flow.norm(self.bdf2(flow, point, h, start=new).x - new.x) if flow.need_error else None
        return new, error, self._check(flow, point, new)

    def remember(self, flow: Flow, point: Point, h: float) -> dict[str, NDArray[Any]]:
        """The number of steps, and the last one for the error estimate."""
        past = super().remember(flow, point, h) if flow.need_error else {}
        return past | {"steps": np.array(_steps(point) + 1)}

    def _check(self, flow: Flow, point: Point, new: Point) -> dict[str, int]:
        if any(np.ptp(flow.template.weights(block), axis=1).any() for block in flow.template.blocks):
            return {"restricted_jko": 1}
        if self.check_every == 0 or _steps(point) % self.check_every:
            return {}
        cheapest = _cheapest(flow, point.x, new.x)
        cheaper = cheapest < flow.norm2(new.x - point.x) * (1 - 1e-10)
        return {"jko_checked": 1} | ({"not_jko": 1} if cheaper else {})


def _cheapest(flow: Flow, x: NDArray[Any], y: NDArray[Any]) -> float:
    """``d^2`` in the metric of the flow: coordinates are divided by ``sqrt(M)``, and mass keeps the frozen ones.

    Without mobilities it is that of :func:`wflow.distances.conditional_w2`.
    """
    a, b = flow.measure(x), flow.measure(y)
    if not flow.energy.mobilities:
        return conditional_w2(a, b) ** 2
    total = 0.0
    for block, clouds in a.blocks.items():
        M = flow.energy.mobilities.get(block, np.ones(clouds.shape[2]))
        moves = M > 0
        scaled = [rho.points(block)[:, :, moves] / np.sqrt(M[moves]) for rho in (a, b)]
        for l, cloud in enumerate(clouds if moves.any() else ()):
            # Particles may change places where their frozen coordinates are the same.
            kinds = np.unique(cloud[:, ~moves], axis=0, return_inverse=True)[1].ravel()
            share = a.depth_weights[l] / len(cloud)
            for kind, count in enumerate(np.bincount(kinds)):
                p, q = (x[l, kinds == kind] for x in scaled)
                cost = conditional_w2(Particles(x=p), Particles(x=q)) ** 2 if count > 1 else np.sum((p - q) ** 2)
                total += share * count * float(cost)
    return total


def _steps(point: Point) -> int:
    return int(point.carry.get("steps", 0))
