"""Exponential decays.

>>> tau = np.linspace(0.0, 4.0, 9)
>>> round(decay_rate(tau, 3 * np.exp(-0.5 * tau)), 12)
0.5
"""

from __future__ import annotations

__all__ = ["decay_rate"]

import numpy as np
from numpy.typing import ArrayLike


def decay_rate(tau: ArrayLike, size: ArrayLike) -> float:
    """The k of ``size ~ e^{-k tau}``, by least squares in the logarithm."""
    return -float(np.polyfit(np.asarray(tau, float), np.log(size), 1)[0])
