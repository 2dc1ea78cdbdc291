"""Figures of trajectories, ready for a paper.

A figure is a function of a :class:`wflow.Solution`, just computed or read from a file, and returns a matplotlib
figure. :data:`FIGURES` names them, :func:`draw` calls one by name, :func:`save` writes it:

=============== ==================================================================================================
``energy``      Q and R over training time, the dissipation ``|v|^2 = -dQ/dtau``, and error rates that were observed
``clouds``      the particles of every block at a few training times, coloured by depth
``density``     the densities of every block at a few training times and depths, also with particles over them
``depth``       ``int |beta|^2 d rho(beta|t)`` and ``|int beta d rho(beta|t)|`` over depth, coloured by training time
``predictions`` ``Read T(1)`` against the labels in the first and the last frame
``landscape``   contours of Q or R on the plane of the trajectory's principal directions, with the trajectory
=============== ==================================================================================================

``clouds`` and ``landscape`` are for runs on particles, ``density`` for runs on grids, the others for both;
:func:`animate` writes an animation of either.

Widths are those of journal columns, type is 8 to 9 points; colours survive colour blindness, and come with dashes or
hatches. No figure needs a display or changes matplotlib's settings. All raise :class:`wflow.InputError` for frames or
quantities that do not exist.
"""

from __future__ import annotations

__all__ = [
    "DOUBLE",
    "FIGURES",
    "PALETTE",
    "SINGLE",
    "animate",
    "clouds",
    "density",
    "depth",
    "draw",
    "energy",
    "landscape",
    "predictions",
    "save",
]

import inspect
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from wflow.checks import check_choice, unknown_keyword
from wflow.figures.cloud import clouds
from wflow.figures.densities import density
from wflow.figures.movie import animate
from wflow.figures.plane import landscape
from wflow.figures.prediction import predictions
from wflow.figures.profile import depth
from wflow.figures.series import energy
from wflow.figures.style import DOUBLE, PALETTE, SINGLE, save
from wflow.solution import Solution

#: The figures by name, as ``wflow figure`` takes them.
FIGURES: dict[str, Callable[..., Figure]] = {
    f.__name__: f for f in (energy, clouds, density, depth, predictions, landscape)
}


def draw(kind: str, solution: Solution, **options: Any) -> Figure:
    """The figure of this name; an :class:`InputError` for another name.

    Examples
    --------
    >>> draw("cloud", None)
    Traceback (most recent call last):
    wflow.errors.InputError: figure must be one of energy, clouds, density, depth, predictions, landscape, got
    'cloud';
    did you mean 'clouds'?
    """
    function = FIGURES[check_choice("figure", kind, FIGURES)]
    known = inspect.signature(function).parameters
    if unknown := [name for name in options if name not in known]:
        raise unknown_keyword(function, unknown[0])
    return function(solution, **options)
