"""Figures as wide as a page, and logarithmic axes that can be read."""

from __future__ import annotations

__all__ = ["common_legend", "dots", "line_of", "log_log", "panels"]

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import ArrayLike

from wflow.figures.style import DASHES, DOUBLE, PALETTE, SINGLE, log_axis

Place = Literal["outside lower center", "outside upper center", "outside right center"]


def panels(count: int, height: float = 2.6, nrows: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure and its panels: so many side by side, in so many rows; a single one is as wide as a column."""
    width = SINGLE if count == 1 else DOUBLE
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(nrows, count, **options)


def line_of(k: int, **options: Any) -> dict[str, Any]:
    """Colour and dashes of curve k."""
    return {"color": PALETTE[k % len(PALETTE)], "linestyle": DASHES[k % len(DASHES)], **options}


def common_legend(axes: Axes, place: Place, **options: Any) -> None:
    """The legend of a panel beside all panels of its figure."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc=place, **options)


def dots(axes: Axes, names: Sequence[str], values: ArrayLike) -> None:
    """A dot for every name, the first at the top."""
    axes.plot(np.asarray(values, float), range(len(names)), "o", ms=3.5, color=PALETTE[0])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", color="0.9", lw=0.5)


def log_log(axes: Axes, x: Sequence[float], y: ArrayLike) -> None:
    """Both axes logarithmic: x labelled at these values, or at powers of ten if they are many, y as y needs."""
    axes.set_xscale("log")
    if len(x) <= 8:
        axes.xaxis.set_major_locator(FixedLocator(sorted(x)))
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    log_axis(axes, np.ravel(np.asarray(y, float)))
