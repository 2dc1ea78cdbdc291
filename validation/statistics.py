"""Fits with intervals.

>>> fit = power_law([1.0, 2.0, 4.0], [3.0, 1.5, 0.75])
>>> round(fit.exponent, 12), round(fit.constant, 12)
(-1.0, 3.0)
"""

from __future__ import annotations

__all__ = ["PowerLaw", "bootstrap", "geometric_mean", "least_squares", "power_law", "relative_gap", "rms"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class PowerLaw:
    """``y = constant x^exponent`` with the 95 % interval of the exponent."""

    exponent: float
    constant: float
    interval: Interval


def rms(x: ArrayLike) -> float:
    """The root of the mean square of all entries.

    Examples
    --------
    >>> rms([[1.0, 7.0], [5.0, 5.0]])
    5.0
    """
    return float(np.sqrt(np.mean(np.square(x))))


def relative_gap(x: ArrayLike, exact: ArrayLike) -> float:
    """The largest difference of two arrays over the largest entry of the second; infinity if it is no number.

    Examples
    --------
    >>> relative_gap([1.0, 3.5], [1.0, 4.0])
    0.125
    """
    gap = float(np.abs(np.asarray(x) - exact).max() / np.abs(exact).max())
    return gap if np.isfinite(gap) else np.inf


def geometric_mean(x: ArrayLike) -> float:
    """The exponential of the mean logarithm.

    Examples
    --------
    >>> round(geometric_mean([1.0, 4.0]), 12)
    2.0
    """
    return float(np.exp(np.mean(np.log(x))))


def least_squares(columns: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Coefficients of ``y = columns @ c`` and their standard errors.

    Examples
    --------
    >>> least_squares([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], [1.0, 3.0, 5.0])[0].round(12)
    array([1., 2.])
    """
    A, b = np.asarray(columns, float), np.asarray(y, float)
    c, *_ = np.linalg.lstsq(A, b, rcond=None)
    freedom = max(1, len(b) - A.shape[1])
    variance = float(np.sum((b - A @ c) ** 2)) / freedom
    return c, np.sqrt(variance * np.diag(np.linalg.pinv(A.T @ A)))


def power_law(x: ArrayLike, y: ArrayLike) -> PowerLaw:
    """Least squares in the logarithms; the interval is Student's, from the scatter about the line."""
    log_x, log_y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    (constant, slope), (_, error) = least_squares(np.stack([np.ones_like(log_x), log_x], axis=1), log_y)
    quantile = float(stats.t.ppf(0.975, max(1, len(log_x) - 2)))
    return PowerLaw(float(slope), float(np.exp(constant)), (slope - quantile * error, slope + quantile * error))


def bootstrap(statistic: Callable[[Any], float], samples: ArrayLike, seed: int, repeats: int = 400) -> Interval:
    """The 95 % percentile interval of a statistic of samples, resampled along their first axis.

    Examples
    --------
    >>> low, high = bootstrap(np.mean, np.random.default_rng(0).standard_normal(400), seed=1)
    >>> bool(low < 0 < high), bool(0.15 < high - low < 0.25)
    (True, True)
    """
    values, rng = np.asarray(samples), np.random.default_rng(seed)
    draws = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(repeats)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
