"""The average vector field."""

from __future__ import annotations

__all__ = ["AVF"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.schemes.discrete_gradient import DiscreteGradient
from wflow.schemes.particle_flow import Flow, Point

Array = NDArray[Any]


@dataclass(frozen=True)
class AVF(DiscreteGradient):
    """``x+ = x + h int_0^1 v(x + s (x+ - x)) ds``, the integral by Gauss and Legendre's rule with four nodes; order 2.

    The mean value discrete gradient of Harten, Lax, van Leer (1983); McLachlan, Quispel, Robidoux, Phil. Trans. R. Soc.
    A 357 (1999) 1021. ``Q(x+) - Q(x) = -|x+ - x|^2/h`` up to the error of the quadrature, to round-off if Q is a
    polynomial of degree 8 along the step. Solved as :class:`wflow.schemes.DiscreteGradient` is.

    Parameters
    ----------
    max_iter
        Iterations, after which the step is halved.

    Examples
    --------
    >>> import wflow
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x)
    >>> answer = wflow.solve(Q, wflow.Particles(x=[[0.2], [2.0]]), (0, 1), scheme="avf", dtau=0.1)
    >>> bool(abs(answer.series["defect"]).max() < 1e-9)
    True
    """

    name = "avf"

    def mean_velocity(self, flow: Flow, point: Point, y: Array) -> tuple[Array, Point | None]:
        """The mean of the velocity on the way from a point to y."""
        nodes, weights = np.polynomial.legendre.leggauss(4)
        mean = np.zeros_like(y)
        for s, weight in zip(0.5 * (1 + nodes), 0.5 * weights):
            mean += float(weight) * flow.evaluate(point.x + float(s) * (y - point.x)).velocity
        return mean, None
