"""Derivatives along a motion of particles, by differences."""

from __future__ import annotations

__all__ = ["along"]

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from wflow.measures import Measure


def along(f: Callable[[Any], Any], rho: Measure, direction: Mapping[str, NDArray[Any]], h: float = 1e-3) -> Any:
    """The derivative of f(rho + s direction) at s = 0, by central differences of order 6.

    Parameters
    ----------
    f
        A function of a measure, with numbers or arrays for values.
    direction
        By block; blocks without one stay.

    Examples
    --------
    >>> import numpy as np, wflow
    >>> rho = wflow.Particles(x=np.array([[1.0], [2.0]]))
    >>> round(float(along(lambda rho: rho.x.mean() ** 2, rho, {"x": np.ones((1, 2, 1))})), 9)
    3.0
    """

    def at(s: float) -> Any:
        return f(rho.replace(**{b: x + s * direction[b] if b in direction else x for b, x in rho.blocks.items()}))

    weights = ((1, 45), (2, -9), (3, 1))
    return sum(c * (at(k * h) - at(-k * h)) for k, c in weights) / (60 * h)
