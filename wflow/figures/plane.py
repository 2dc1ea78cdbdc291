"""Q or R on a plane, and the trajectory on it."""

from __future__ import annotations

__all__ = ["landscape"]

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter

from wflow import landscapes
from wflow.checks import check_choice, check_integer
from wflow.energies import Energy
from wflow.errors import InputError
from wflow.figures import style
from wflow.figures.style import Array
from wflow.measures import Particles
from wflow.solution import Solution

#: Contours, about so many; ticks of their bar, about so many.
CONTOURS, TICKS = 16, 5
#: The plane reaches beyond the trajectory by this share of its extent, and along the shorter axis at least as far as
#: this share of the longer one.
MARGIN, SHAPE = 0.25, 0.75
#: More values along an axis are refused: more than a page can show, and their squares take long.
MOST = 1000


@style.style()
def landscape(
    solution: Solution, *, objective: Energy | None = None, quantity: str = "energy", points: int = 25
) -> Figure:
    """Contours of Q or R on the plane of the two principal directions of the trajectory, which is projected on it.

    The plane goes through the last frame. Axes are distances in the metric of the flow, on the same scale; their labels
    say how much of the squared displacements of the frames they hold. Dots are frames; the circle is the first one, the
    star the last. Contours are logarithmic where values are positive and spread over more than a decade. It is a slice
    of a high-dimensional function, chosen to contain the trajectory: :mod:`wflow.landscapes` says what not to read from
    it.

    Parameters
    ----------
    objective
        The energy; None for that of the run.
    quantity
        "energy" for Q, or "risk" for R.
    points
        So many values along each axis; each pair takes one evaluation of Q.
    """
    style.check_solution(solution)
    check_choice("quantity", quantity, ("energy", "risk"))
    points = check_integer("points", points, least=3, most=MOST)
    objective = solution.objective if objective is None else objective
    if not isinstance(objective, Energy):
        raise InputError("a landscape needs the energy, which is not stored if it is of your own: pass objective=")
    if not isinstance(solution.measure(0), Particles):
        raise InputError("a landscape is for runs on particles; this one is on a grid: draw 'density'")
    measures: list[Any] = [solution.measure(i) for i in range(solution.n_frames)]
    d1, d2, shares = landscapes.principal_directions(objective, measures)
    origin, centre = measures[-1], [0.0]
    plane = landscapes.landscape(objective, origin, d1, d2, centre, centre)
    path = np.array([plane.project(rho) for rho in measures])
    made = landscapes.landscape(objective, origin, d1, d2, *_axes(path, points))
    values = made.energy if quantity == "energy" else made.risk
    if not np.isfinite(values).any():
        raise InputError(f"the {quantity} has no finite value on the plane: " + _remedy(quantity))

    height = np.ptp(made.b) / np.ptp(made.a)
    figure = Figure(figsize=(style.SINGLE, min(4.5, 0.5 + 2.2 * height)), layout="constrained")
    axes = figure.subplots()
    axes.set_aspect("equal")
    seen = np.ma.masked_invalid(values.T)
    levels, logarithmic = _levels(seen.compressed())
    filled: Any = axes.contourf(made.a, made.b, seen, levels, cmap="viridis", norm="log" if logarithmic else None)
    filled.set_edgecolor("face")  # no seams between the areas
    axes.contour(made.a, made.b, seen, levels, colors="white", linewidths=0.3, alpha=0.6)
    axes.plot(*path.T, color="white", linewidth=2.4, solid_capstyle="round")
    axes.plot(*path.T, color=style.PALETTE[1], marker="o", markersize=2.5)
    ends: Any = {"linestyle": "", "markerfacecolor": "white", "markeredgecolor": style.PALETTE[1], "zorder": 3}
    axes.plot(*path[0], marker="o", markersize=5, **ends)
    axes.plot(*path[-1], marker="*", markersize=9, **ends)
    for i, neighbour in ((0, 1), (-1, -2)):
        right = path[i, 0] < made.a.mean()  # inwards, and away from the trajectory
        above = path[neighbour, 1] <= path[i, 1]
        axes.annotate(
            style.at_tau(solution.frame_tau[i]),
            path[i],
            (6 if right else -6, 7 if above else -7),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=8,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
    axes.set_xlabel(f"PC 1 ({100 * shares[0]:.2g}%)")
    axes.set_ylabel(f"PC 2 ({100 * shares[1]:.2g}%)")
    for spine in axes.spines.values():
        spine.set_visible(True)
    beside = axes.inset_axes((1.03, 0, 0.035, 1))  # as high as the axes, whatever their shape
    bar = figure.colorbar(filled, cax=beside, ticks=levels[:: round(CONTOURS / TICKS)])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value, 2)))
    bar.ax.minorticks_off()
    bar.set_label("$Q$" if quantity == "energy" else "$R$", rotation="horizontal")
    return style.laid_out(figure)


def _remedy(quantity: str) -> str:
    return "this energy has none, draw its energy" if quantity == "risk" else "it overflows"


def _axes(path: Array, points: int) -> tuple[Array, Array]:
    """Coordinates around the trajectory."""
    low, high = path.min(axis=0), path.max(axis=0)
    half = (0.5 + MARGIN) * (high - low)
    half = np.maximum(half, SHAPE * half.max())
    first, second = (np.linspace(c - h, c + h, points) for c, h in zip(0.5 * (low + high), half))
    return first, second


def _levels(values: Array) -> tuple[Array, bool]:
    """Where contours are, and whether they are logarithmic."""
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > 10 * low:
        return np.geomspace(low, high, CONTOURS), True
    return np.linspace(low, high if high > low else low + 1.0, CONTOURS), False
