"""Derivatives by differences: along a motion of particles, and of encoders against their adjoints."""

from __future__ import annotations

__all__ = ["adjoint_error", "along"]

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
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


def adjoint_error(encoder: Any, dimension: int, n_tokens: int, width: int, rng: np.random.Generator) -> float:
    """``vjp`` against differences of ``mean``, extrapolated twice, for the tokens and every particle alone; relative.

    Tokens, particles, their directions and the cotangent are normal; the largest error is divided by the sizes of
    gradient and direction.

    Examples
    --------
    >>> import wflow
    >>> adjoint_error(wflow.FeedForward("tanh"), 2, 3, 4, np.random.default_rng(0)) < 1e-11
    True
    """
    Z, k, dZ = rng.standard_normal((3, 3, dimension, n_tokens))
    p = encoder.n_parameters(dimension)
    beta, dbeta, a = rng.standard_normal((width, p)), rng.standard_normal((width, p)), rng.dirichlet(np.ones(width))
    tokens_bar, bar = encoder.vjp(Z, beta, a, k)

    def slope(f: Callable[[float], NDArray[Any]], h: float = 1e-3) -> float:
        first = [np.sum(k * (f(h / i) - f(-h / i))) * i / (2 * h) for i in (1, 2, 4)]
        second = [(4 * fine - coarse) / 3 for coarse, fine in pairwise(first)]
        return float(16 * second[1] - second[0]) / 15

    def of_one(x: NDArray[Any], dx: NDArray[Any]) -> float:
        return slope(lambda s: encoder.mean(Z, (x + s * dx)[None], np.ones(1)))

    errors = [slope(lambda s: encoder.mean(Z + s * dZ, beta, a)) - np.sum(tokens_bar * dZ)]
    errors += [of_one(x, dx) - float(x_bar @ dx) for x, dx, x_bar in zip(beta, dbeta, bar)]
    return float(np.abs(errors).max() / (np.linalg.norm(bar) * np.linalg.norm(dbeta[0])))
