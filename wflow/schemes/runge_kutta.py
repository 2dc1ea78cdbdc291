"""Explicit Runge-Kutta schemes: the engine that every tableau shares."""

from __future__ import annotations

__all__ = ["RungeKutta"]

from dataclasses import dataclass, field
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_array, check_fields, check_integer, check_positive, shown
from wflow.errors import InputError
from wflow.plain import build, describe
from wflow.schemes.base import Scheme, Trial
from wflow.schemes.particle_flow import Flow, Point

#: Coefficients are accurate to this.
ACCURACY = 1e-10


@dataclass(frozen=True)
class RungeKutta(Scheme):
    """An explicit Runge-Kutta pair whose last stage is the first of the next step.

    ``k_i = v(x + h sum_j a_ij k_j)``, ``x+ = x + h sum_i b_i k_i``, error estimate ``h sum_i (b_i - bhat_i) k_i``.
    ``a`` lists the rows of stages 2, 3, ...; its last row is b, so that the last stage sits at ``x+``: its energy and
    velocity cost nothing extra.

    Parameters
    ----------
    name
        The name in messages and files.
    order, error_order
        The order of the scheme, and the power of h with which the error estimate falls.
    stability
        h times the Lipschitz constant up to which decaying modes stay bounded; None for no cap on adaptive steps.
    a, b_hat
        The tableau.

    Raises
    ------
    InputError
        For rows of wrong lengths and for a tableau without these orders. Tested are ``b c^{k-1} = 1/k`` and
        ``b A^{k-1} 1 = 1/k!`` up to the order, and that bhat agrees with b there below the error order: all conditions
        up to order 3, and some of the higher ones (Hairer, Norsett, Wanner, Solving ODEs I, section II.2).

    Examples
    --------
    >>> from wflow.schemes import SCHEMES
    >>> SCHEMES["dopri5"].order, len(SCHEMES["dopri5"].b)
    (5, 7)
    """

    # The class of any other scheme fixes these; here they belong to the tableau.
    name: str  # type: ignore[misc]
    order: int  # type: ignore[misc]
    error_order: int = field()  # type: ignore[misc]
    stability: float | None = field()  # type: ignore[misc]
    a: tuple[tuple[float, ...], ...]
    b_hat: tuple[float, ...]

    def __post_init__(self) -> None:
        check_fields(self, check_integer, "order", "error_order")
        check_fields(self, check_positive, "stability", optional=True)
        if not (isinstance(self.name, str) and isinstance(self.a, (tuple, list))):
            raise InputError(f"name must be a word and a a tuple of rows, got {shown(self.name)} and {shown(self.a)}")
        rows = [check_array("a row of a, and b_hat,", row, 1, "(stages,)").tolist() for row in (*self.a, self.b_hat)]
        lengths, stages = [len(row) for row in rows], len(rows)
        if stages < 2 or lengths != [*range(1, stages + 1)] or rows[0] == [0.0]:
            raise InputError(f"a and b_hat must be rows of 1, 2, ... numbers, the first not 0, got lengths {lengths}")
        object.__setattr__(self, "a", tuple(map(tuple, rows[:-1])))
        object.__setattr__(self, "b_hat", tuple(rows[-1]))
        tableau = np.array([row + [0.0] * (stages - len(row)) for row in ([], *rows)])
        nodes, tall = tableau[:-1].sum(axis=1), np.ones(stages)
        for k in range(1, max(self.order + 1, self.error_order)):
            for factor, exact in ((nodes ** (k - 1), 1 / k), (tall, 1 / factorial(k))):
                b, b_hat = tableau[-2:] @ factor
                if max(abs(b - exact) * (k <= self.order), abs(b - b_hat) * (k < self.error_order)) > ACCURACY:
                    words = f"{exact:.9g} is exact, b gives {b:.9g} and b_hat {b_hat:.9g}"
                    raise InputError(f"the tableau of {self.name!r} misses a condition of order {k}: {words}")
            tall = tableau[:-1] @ tall

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A tableau that files know by its name alone is itself again, not another one with the same numbers.
        return (build, (describe(self),)) if type(self) is RungeKutta else super().__reduce_ex__(protocol)

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
        dissipated = h * sum(b * flow.norm2(stage) for b, stage in zip(self.b, k) if b)
        first, c_2 = flow.norm(k[0]), sum(self.a[0])
        lipschitz = flow.norm(k[1] - k[0]) / (c_2 * h * first) if first > 0 else 0.0
        return Trial(h, new, flow.norm(_combine(h, difference, k)), dissipated, lipschitz)


def _combine(h: float, weights: tuple[float, ...], k: list[NDArray[Any]]) -> NDArray[Any]:
    """``h sum_i w_i k_i`` in the precision of k."""
    total = np.zeros_like(k[0])
    for weight, stage in zip(weights, k):
        if weight:
            total += h * weight * stage
    return total
