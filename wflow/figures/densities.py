"""Densities on grids at a few training times and depths, also with particles over them."""

from __future__ import annotations

__all__ = ["density"]

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator

from wflow.checks import check_choice
from wflow.errors import InputError
from wflow.figures import style
from wflow.figures.style import Array
from wflow.measures import Grid, Measure, Particles
from wflow.solution import Solution

#: From white, so that dots and lines over it are seen.
COLOURS = "Blues"

#: The lines of a map enclose these shares of the mass, where the density is largest.
SHARES = (0.5, 0.9)

#: From so many frames on, one parameter is also shown as a map over training time.
HISTORY = 8


@style.style()
def density(
    solution: Solution,
    *,
    frames: int | Sequence[int] = 4,
    block: str | None = None,
    slices: int | Sequence[int] | None = None,
    particles: Solution | Particles | None = None,
) -> Figure:
    """The densities of a run on grids.

    One parameter gives curves for each depth slice, coloured by training time, over a map of all frames; with more
    than four slices, of which none are chosen, maps over depth for each frame. Two parameters give maps for each frame
    (columns) and slice (rows), three the maps of the three marginals. Lines enclose 50% and 90% of the mass of a
    marginal, where its density is largest. Axes end where less than 0.1% of the mass remains.

    Parameters
    ----------
    frames
        As for :func:`clouds`.
    block
        The block to show; None for all.
    slices
        How many depth slices, from the first to the last, or which ones, counted from 0. None stands for 3, and for
        the one in the middle of densities of three parameters.
    particles
        What to show over the densities: a solution on particles with a frame at every training time shown, or one
        measure for all of them. One parameter shows histograms.

    Examples
    --------
    >>> import wflow
    >>> x = np.linspace(-5.9, 5.9, 60)
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + wflow.Entropy(0.5)
    >>> rho0 = wflow.Grid(x=np.exp(-2 * (x - 1) ** 2), box={"x": ((-6, 6),)})
    >>> answer = wflow.solve(Q, rho0, (0, 1), scheme="kernel", rtol=1e-3, save=wflow.SaveAt(every=0.1))
    >>> [axes.get_xlabel() for axes in density(answer).axes[:2]]
    ['', '$x$']
    """
    chosen = style.choose_frames(solution, frames)
    taus = [float(solution.frame_tau[i]) for i in chosen]
    measures: list[Any] = [solution.measure(i) for i in chosen]  # grids, as panels_of checks
    clouds = companions(particles, taus, measures[0])
    groups = panels_of(solution, measures[0], block, slices)
    curved = [panels[0].is_curve for panels in groups]
    history: dict[float, Any] = {}
    if any(curved) and solution.n_frames >= HISTORY:
        history = {float(tau): solution.measure(i) for i, tau in enumerate(solution.frame_tau)}
    columns = max(len(panels) if curve else len(chosen) for panels, curve in zip(groups, curved))
    high = 3.4 if history else 2.0
    heights = [high if curve else 0.45 + 1.4 * len(panels) for panels, curve in zip(groups, curved)]
    figure = Figure(figsize=(style.SINGLE if columns < 3 else style.DOUBLE, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, panels, curve in zip(parts, groups, curved):
        if curve:
            _draw_curves(part, panels, measures, clouds, taus, history)
        else:
            _draw_maps(part, panels, measures, clouds, taus)
    return style.laid_out(figure)


@dataclass(frozen=True)
class Panel:
    """One view of a block: a depth slice (None: all over depth) along one or two of its parameters."""

    block: str
    slice: int | None
    along: tuple[int, ...]
    labels: tuple[str, str]

    @property
    def is_curve(self) -> bool:
        """Whether the panel shows curves, not a map."""
        return self.slice is not None and len(self.along) == 1

    def place(self, rho: Grid) -> str:
        """The depth of the slice, where there are several."""
        return "" if self.slice is None or rho.n_slices == 1 else f"$t=${style.number(rho.t[self.slice], 2)}"

    def values(self, rho: Grid) -> Array:
        """The density shown: (n,), or (n_y, n_x) for a map."""
        if self.slice is None:
            return rho.blocks[self.block]
        integrated = tuple(k for k in range(len(rho.box[self.block])) if k not in self.along)
        volume = np.prod([rho.spacing(self.block)[k] for k in integrated])
        return np.asarray(rho.blocks[self.block][self.slice].sum(axis=integrated).T * volume)

    def limits(self, measures: Sequence[Grid], clouds: Sequence[Particles | None]) -> list[tuple[float, float]]:
        """Where the densities and the particles are, along every axis of a map, and along the first of curves."""
        t = measures[0].t
        depth = [(1.5 * t[0] - 0.5 * t[1], 1.5 * t[-1] - 0.5 * t[-2])] if self.slice is None else []
        return [_limits(measures, clouds, self.block, k) for k in self.along] + depth

    def draw(self, axes: Axes, rho: Grid, cloud: Particles | None, peak: float, colour: Any = None) -> None:
        """The density, and the particles over it: curves of this colour, or each of another."""
        nodes = [rho.axes(self.block)[k] for k in self.along]
        values = self.values(rho)
        if self.is_curve:
            axes.plot(nodes[0], values, color=colour or style.PALETTE[0])
            if cloud is not None:
                self._histogram(axes, rho, cloud, colour or style.PALETTE[1])
            return
        y = rho.t if self.slice is None else nodes[1]
        axes.pcolormesh(nodes[0], y, values, cmap=COLOURS, vmin=0, vmax=peak, rasterized=True)
        if self.slice is not None:
            levels = np.unique([_level(values, share) for share in SHARES])
            axes.contour(*nodes, values, levels=levels, colors="0.25", linewidths=0.6)
        if cloud is not None:
            self._dots(axes, cloud)

    def _histogram(self, axes: Axes, rho: Grid, cloud: Particles, colour: Any) -> None:
        x, a = cloud.points(self.block)[self.slice, :, 0].astype(float), cloud.weights(self.block)[self.slice]
        width = max(np.ptp(x) / (2 * len(x) ** (1 / 3)), rho.spacing(self.block)[0])
        first, last = int(np.floor(x.min() / width)), int(np.floor(x.max() / width))
        mass = np.bincount(np.floor(x / width).astype(int) - first, a, last - first + 1)
        axes.stairs(mass / width, width * np.arange(first, last + 2), color=colour, linewidth=0.6)

    def _dots(self, axes: Axes, cloud: Particles) -> None:
        points, a = cloud.points(self.block), cloud.weights(self.block)
        if self.slice is None:
            x, y = points[:, :, 0], np.broadcast_to(cloud.t[:, None], a.shape)
        else:
            (x, y), a = (points[self.slice, :, k] for k in self.along), a[self.slice]
        area = np.clip(1200 / a.size, 0.5, 6) * a.shape[-1] * a
        dots = axes.scatter(x.ravel(), y.ravel(), area.ravel(), style.PALETTE[1], linewidths=0, alpha=0.7)
        dots.set_rasterized(a.size > style.MAX_VECTOR_POINTS)


def panels_of(
    solution: Solution, rho: Measure, block: str | None, slices: int | Sequence[int] | None
) -> list[list[Panel]]:
    """The panels of every block shown, slice after slice."""
    if not isinstance(rho, Grid):
        raise InputError(f"densities need a run on a wflow.Grid, this one has {type(rho).__name__}: draw 'clouds'")
    if block is not None:
        check_choice("block", block, rho.blocks)
    groups = []
    for name in rho.blocks if block is None else [block]:
        p, labels = len(rho.box[name]), _parameters(solution, rho, name)
        if p == 1 and slices is None and rho.n_slices > 4:
            groups.append([Panel(name, None, (0,), (labels[0], "depth $t$"))])
            continue
        shown = _choose_slices(rho.n_slices, (1 if p == 3 else 3) if slices is None else slices)
        pairs: list[tuple[int, ...]] = [*combinations(range(p), 2)] or [(0,)]
        groups.append(
            [Panel(name, l, k, (labels[k[0]], labels[k[1]] if p > 1 else "density")) for l in shown for k in pairs]
        )
    return groups


def companions(
    particles: Solution | Particles | None, taus: Sequence[float], rho: Measure
) -> list[Particles] | list[None]:
    """The particles to show at each of these training times."""
    if particles is None:
        return [None] * len(taus)
    if isinstance(particles, Solution):
        times = particles.frame_tau
        nearest = [int(np.abs(times - tau).argmin()) for tau in taus]
        for tau, i in zip(taus, nearest):
            if abs(times[i] - tau) > 1e-6 * max(abs(tau), times[-1] - times[0]):
                raise InputError(
                    f"the particles have no frame at tau = {tau:.6g}, the nearest is at {times[i]:.6g}; choose frames "
                    "at common training times, or save both runs at the same ones"
                )
        clouds: list[Any] = [particles.measure(i) for i in nearest]
    else:
        clouds = [particles] * len(taus)
    cloud = clouds[0]
    if not isinstance(cloud, Particles):
        raise InputError(f"particles must be a wflow.Particles or a run on them, got {type(cloud).__name__}")
    expected = {name: (rho.n_slices, rho.points(name).shape[2]) for name in rho.blocks}
    found = {name: (x.shape[0], x.shape[2]) for name, x in cloud.blocks.items()}
    if expected != found:
        raise InputError(f"particles must have the blocks {{name: (slices, parameters)}} = {expected}, got {found}")
    return clouds


def map_bar(part: FigureBase, grid: Any, peak: float, lines: bool) -> None:
    """The bar of colours of the maps."""
    bar = part.colorbar(ScalarMappable(Normalize(0, peak), COLOURS), ax=grid, aspect=15 * len(grid), pad=0.015)
    shares = ", ".join(f"{100 * share:.0f}" for share in SHARES)
    bar.set_label("density" + lines * f"{' ' if len(grid) > 1 else chr(10)}(lines: {shares}% of mass)")
    bar.locator = MaxNLocator(5)


def _draw_curves(
    part: FigureBase,
    panels: list[Panel],
    measures: list[Grid],
    clouds: Any,
    taus: list[float],
    history: dict[float, Grid],
) -> None:
    """Curves for every slice, and below them maps over training time."""
    grid = part.subplots(1 + bool(history), len(panels), sharex=True, sharey="row", squeeze=False)
    colours = style.tau_colours(len(taus))
    for axes, panel in zip(grid[0], panels):
        for rho, cloud, colour in zip(measures, clouds, colours):
            panel.draw(axes, rho, cloud, 0, colour)
        axes.set(xlim=panel.limits(measures, clouds)[0], ylim=(0, None))
        axes.set_title(panel.place(measures[0]))
    style.tau_bar(part, grid[0], taus, 15)
    if history:
        seen = [np.array([panel.values(rho) for rho in history.values()]) for panel in panels]
        peak = max(float(values.max()) for values in seen)
        for axes, panel, values in zip(grid[1], panels, seen):
            x = measures[0].axes(panel.block)[0]
            axes.pcolormesh(x, list(history), values, cmap=COLOURS, vmin=0, vmax=peak, rasterized=True)
        map_bar(part, grid[1:], peak, False)
        grid[1, 0].set_ylabel(r"training time $\tau$")
    for axes, panel in zip(grid[-1], panels):
        axes.set_xlabel(panel.labels[0])
    grid[0, 0].set_ylabel("density")
    part.align_ylabels(grid[:, 0])


def _draw_maps(part: FigureBase, panels: list[Panel], measures: list[Grid], clouds: Any, taus: list[float]) -> None:
    """Maps: panels in rows, frames in columns."""
    same = len({panel.along for panel in panels}) == 1
    grid = part.subplots(len(panels), len(measures), sharex=same or "row", sharey="row", squeeze=False)
    peak = max(float(panel.values(rho).max()) for panel in panels for rho in measures)
    for row, panel in zip(grid, panels):
        for axes, rho, cloud in zip(row, measures, clouds):
            panel.draw(axes, rho, cloud, peak)
            if not same or panel is panels[-1]:
                axes.set_xlabel(panel.labels[0])
        x, y = panel.limits(measures, clouds)
        row[0].set(xlim=x, ylim=y)
        row[0].set_ylabel(f"{panel.place(measures[0])}\n{panel.labels[1]}".lstrip())
        row[0].locator_params(nbins=5, steps=[1, 2, 5, 10])
    for axes, tau in zip(grid[0], taus):
        axes.set_title(style.at_tau(tau))
    map_bar(part, grid, peak, panels[0].slice is not None)
    part.align_ylabels(grid[:, 0])


def _parameters(solution: Solution, rho: Grid, block: str) -> list[str]:
    """The names of the parameters: those of the encoder's matrices, else numbers."""
    p, symbol = len(rho.box[block]), style.symbol_of(block)
    objective: Any = solution.objective
    encoder = getattr(objective, "encoders", {}).get(block)
    if encoder is None or not hasattr(encoder, "groups"):
        return [f"${symbol}$"] if p == 1 else [rf"${symbol}_{{{k}}}$" for k in range(p)]
    labels = []
    for name, (place, _) in encoder.groups(objective.dataset.dimension).items():
        count = place.stop - place.start
        labels += [f"${name}$"] if count == 1 else [f"$({name})_{{{k}}}$" for k in range(count)]
    return labels


def _choose_slices(count: int, slices: int | Sequence[int]) -> list[int]:
    if not isinstance(slices := style.check_indices("slices", "depth slices", slices, count), int):
        return slices
    if slices == 1:
        return [count // 2]
    return sorted({round(l) for l in np.linspace(0, count - 1, slices)})


def _limits(measures: Sequence[Grid], clouds: Sequence[Particles | None], block: str, k: int) -> tuple[float, float]:
    """The interval of parameter k outside which there is less than 0.1% of the mass on either side, and no particle."""
    x, dx, ends = measures[0].axes(block)[k], measures[0].spacing(block)[k], []
    for rho in measures:
        cell = rho.marginal(block, k) * dx
        left = np.cumsum(cell, axis=1)
        inside = x[((left > 1e-3) & (left - cell < 1 - 1e-3)).any(axis=0)]
        ends += [inside[0], inside[-1]]
    lo, hi = measures[0].box[block][k]
    margin = 0.05 * (max(ends) - min(ends)) + dx
    ends = [max(min(ends) - margin, lo), min(max(ends) + margin, hi)]
    for cloud in clouds:
        if cloud is not None:
            points = cloud.points(block)[:, :, k]
            ends += [points.min() - margin / 2, points.max() + margin / 2]
    return float(min(ends)), float(max(ends))


def _level(values: Array, share: float) -> float:
    """The density above which there is this share of the mass."""
    falling = np.sort(values, axis=None)[::-1]
    mass = np.cumsum(falling)
    return float(falling[np.searchsorted(mass, share * mass[-1])])
