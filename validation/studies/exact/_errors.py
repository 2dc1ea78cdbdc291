"""Schemes of particles and their orders, and how errors are measured."""

from __future__ import annotations

__all__ = ["ORDERS", "applies", "gaps", "mean_variance", "order", "ticks"]

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from validation.flows import LINE
from wflow.measures import Measure

ORDERS = {"euler": 1, "heun": 2, "bs3": 3, "rk4": 4, "dopri5": 5}
ORDERS |= {"jko": 1, "bdf2": 2, "midpoint": 2, "discrete-gradient": 2, "avf": 2, "quantile-jko": 1}


def applies(scheme: str, flow: str) -> bool:
    """Whether a scheme solves a flow of particles."""
    return scheme != "quantile-jko" or flow in LINE


def gaps(a: Measure, b: Measure) -> dict[str, NDArray[Any]]:
    """The differences of particles; on the line in their order, which no flow changes but one scheme sorts."""
    pairs = {name: (a.blocks[name], b.blocks[name]) for name in a.blocks}
    return {n: np.sort(x, axis=1) - np.sort(y, axis=1) if x.shape[2] == 1 else x - y for n, (x, y) in pairs.items()}


def order(errors: Sequence[float], steps: Sequence[float]) -> float:
    """The order between the two finest resolutions whose errors are not yet round-off.

    >>> order([1e-3, 2.5e-4, 1e-12], [10, 20, 40])
    2.0
    """
    last = max((k for k in range(1, len(errors)) if errors[k] > 3e-12), default=1)
    return float(np.log(errors[last - 1] / errors[last]) / np.log(steps[last] / steps[last - 1]))


def mean_variance(rho: Any) -> tuple[float, float]:
    """Of a measure on the line."""
    first, second = float(rho.moment(1).x[0, 0]), float(rho.moment(2).x[0, 0])
    return first, second - first**2


def ticks(axes: Axes, places: Sequence[float]) -> None:
    """Label x at these values alone."""
    axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.xaxis.set_minor_formatter(NullFormatter())
