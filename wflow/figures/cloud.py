"""Particles at a few training times."""

from __future__ import annotations

__all__ = ["clouds"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from wflow.checks import is_integer, shown
from wflow.errors import InputError
from wflow.figures import style
from wflow.figures.style import Array
from wflow.measures import Particles
from wflow.solution import Solution


@style.style()
def clouds(
    solution: Solution, *, coordinates: tuple[int, int] | None = None, frames: int | Sequence[int] = 4
) -> Figure:
    """The particles of every block (rows) at a few training times (columns), coloured by depth.

    Blocks of more than two parameters are projected on the two principal coordinates of all particles shown, with
    their masses; the labels tell their shares of the variance. Areas of dots are proportional to the weights. A block
    of one parameter is shown by its distribution functions, one for every depth slice.

    Parameters
    ----------
    coordinates
        Two parameters to show instead of principal coordinates, counted from 0.
    frames
        How many frames, the first, the last and others at equal distances along the curve, measured by
        ``int |v| dtau``; or which ones, counted from 0.
    """
    chosen = style.choose_frames(solution, frames)
    measures: list[Any] = [solution.measure(i) for i in chosen]
    if not isinstance(measures[0], Particles):
        raise InputError(f"clouds need a run on particles, this one has {type(measures[0]).__name__}: draw 'density'")
    names = list(measures[0].blocks)
    width = style.SINGLE if len(chosen) < 3 else style.DOUBLE
    figure = Figure(figsize=(width, 0.35 + 1.6 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), len(chosen), sharex="row", sharey="row", squeeze=False)
    for row, name in zip(grid, names):
        view = View.of(name, measures, coordinates)
        for axes, rho in zip(row, measures):
            view.draw(axes, rho, copies=len(measures))
            axes.set_xlabel(view.labels[0])
        row[0].set_ylabel(view.labels[1])
        row[0].locator_params(nbins=5, steps=[1, 2, 5, 10])
    for axes, i in zip(grid[0], chosen):
        axes.set_title(style.at_tau(solution.frame_tau[i]))
    depth_bar(figure, grid, measures[0])
    figure.align_ylabels(grid[:, 0])
    return style.laid_out(figure)


#: The largest variance, whose square is a number.
LARGEST = 1e150


@dataclass(frozen=True)
class View:
    """How a block of particles is shown: its points along two directions, or the distribution of its one parameter."""

    block: str
    origin: Array
    directions: Array
    labels: tuple[str, str]

    @classmethod
    def of(cls, name: str, measures: Sequence[Particles], coordinates: tuple[int, int] | None = None) -> View:
        """The view of all these measures."""
        p, symbol = measures[0].points(name).shape[2], style.symbol_of(name)
        if p == 1:
            return cls(name, np.zeros(1), np.eye(1), (f"${symbol}$", "cumulative mass"))
        if coordinates is None and p > 2:
            points = [rho.points(name).reshape(-1, p).astype(float) for rho in measures]
            mean, directions, shares = _principal(points, [rho.mass(name).ravel() for rho in measures])
            x, y = (rf"${symbol}$: PC {k + 1} ({100 * share:.2g}%)" for k, share in enumerate(shares))
            return cls(name, mean, directions, (x, y))
        pair = (0, 1) if coordinates is None else coordinates
        if not (np.iterable(pair) and len(pair) == 2 and all(is_integer(k) and 0 <= k < p for k in pair)):
            raise InputError(f"coordinates must be two of the {p} parameters of {name}, from 0, got {shown(pair)}")
        i, j = map(int, pair)
        return cls(name, np.zeros(p), np.eye(p)[:, [i, j]], (f"${symbol}_{{{i}}}$", f"${symbol}_{{{j}}}$"))

    def project(self, rho: Particles) -> Array:
        """The points along the directions, slice after slice."""
        return (rho.points(self.block).reshape(-1, len(self.origin)).astype(float) - self.origin) @ self.directions

    def draw(self, axes: Axes, rho: Particles, copies: int = 1) -> None:
        """The cloud; ``copies`` is the number of clouds in the figure."""
        if len(self.origin) == 1:
            self._distributions(axes, rho)
            return
        xy = self.project(rho)
        order = np.random.default_rng(0).permutation(len(xy))  # so that no depth hides another
        t, a = np.broadcast_arrays(rho.t[:, None], rho.weights(self.block))
        area = np.clip(2500 / a.size, 1, 10) * a.shape[1] * a.ravel()[order]
        coloured: dict[str, Any] = {"s": area, "linewidths": 0, "alpha": 0.85, "c": style.PALETTE[0]}
        if len(t) > 1:
            coloured |= {"c": t.ravel()[order], "cmap": "viridis", "vmin": 0, "vmax": 1}
        dots = axes.scatter(*xy[order].T, **coloured)
        dots.set_rasterized(a.size * copies > style.MAX_VECTOR_POINTS)

    def _distributions(self, axes: Axes, rho: Particles) -> None:
        for x, a, t in zip(rho.points(self.block)[..., 0], rho.weights(self.block), rho.t):
            order = np.argsort(x, kind="stable")
            colour = matplotlib.colormaps["viridis"](float(t)) if len(rho.t) > 1 else style.PALETTE[0]
            mass = np.concatenate([[0.0], np.cumsum(a[order])])
            axes.plot(x[order][[0, *range(len(x))]], mass, color=colour, drawstyle="steps-post", linewidth=0.9)


def depth_bar(figure: Figure, grid: Any, rho: Particles) -> None:
    """The bar of the colours of depth, where there is depth."""
    if rho.n_slices > 1:
        bar = figure.colorbar(ScalarMappable(Normalize(0, 1), "viridis"), ax=grid, aspect=15 * len(grid), pad=0.015)
        bar.set_label("depth $t$")


def _principal(points: list[Array], masses: list[Array]) -> tuple[Array, Array, Array]:
    """Mean, the two leading directions of the common covariance, and their shares of the variance."""
    total, p = sum(float(m.sum()) for m in masses), points[0].shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum((m @ x for x, m in zip(points, masses)), np.zeros(p)) / total
        centred = [x - mean for x in points]
        variance = sum(float(m @ np.sum(x**2, axis=1)) for x, m in zip(centred, masses)) / total

    if not variance < LARGEST:
        raise InputError(f"clouds need particles whose squares are finite numbers, theirs are {variance:.3g}")
    if variance == 0:
        return mean, np.eye(p)[:, :2], np.zeros(2)

    def covariance(v: Array) -> Array:
        return sum(((m * (x @ v.ravel())) @ x for x, m in zip(centred, masses)), np.zeros(p)) / total

    start = np.random.default_rng(0).standard_normal(p)
    try:
        values, vectors = eigsh(LinearOperator((p, p), covariance, dtype=float), 2, v0=start)
    except ArpackError:
        raise InputError(f"the particles have no principal directions: their variance is {variance:.3g}") from None
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), [0, 1]])
    return mean, vectors[:, ::-1], np.maximum(values[::-1] / variance, 0)
