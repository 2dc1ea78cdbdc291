"""Logarithmic axes that can be read."""

from __future__ import annotations

__all__ = ["log_log"]

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import ArrayLike

from wflow.figures.style import log_axis


def log_log(axes: Axes, x: Sequence[float], y: ArrayLike) -> None:
    """Both axes logarithmic: x labelled at these values, or at powers of ten if they are many, y as y needs."""
    axes.set_xscale("log")
    if len(x) <= 8:
        axes.xaxis.set_major_locator(FixedLocator(sorted(x)))
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    log_axis(axes, np.ravel(np.asarray(y, float)))
