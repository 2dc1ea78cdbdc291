"""Powers, and what they claim.

>>> falls_as("error", [1.0, 2.0, 4.0], [3.0, 1.5, 0.75], 1.0).passed
True
>>> leading(8, 0.5 / 8 + 1 / 64, 0.5 / 16 + 1 / 256)
0.5
"""

from __future__ import annotations

__all__ = ["falls_as", "grows_as", "leading"]

from typing import Any

from numpy.typing import ArrayLike

from validation.statistics import power_law
from validation.study import Claim, within


def falls_as(statement: str, x: ArrayLike, y: ArrayLike, exponent: float, tolerance: float = 0.1) -> Claim:
    """``y ~ x^-exponent``: the fitted exponent of 1/x is this, up to a tolerance."""
    fit = power_law(x, y)
    low, high = fit.interval
    return within(statement, -fit.exponent, exponent, tolerance, interval=(-high, -low))


def grows_as(statement: str, x: ArrayLike, y: ArrayLike, exponent: float, tolerance: float = 0.1) -> Claim:
    """``y ~ x^exponent``: the fitted exponent is this, up to a tolerance."""
    fit = power_law(x, y)
    return within(statement, fit.exponent, exponent, tolerance, interval=fit.interval)


def leading(n: int, coarse: Any, fine: Any) -> Any:
    """``c`` from the errors ``c/n + d/n^2`` of sizes n and 2 n."""
    return 4 * n * fine - n * coarse
