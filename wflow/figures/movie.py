"""Animations over training time."""

from __future__ import annotations

__all__ = ["animate"]

from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wflow.checks import check_choice, check_integer
from wflow.errors import InputError
from wflow.figures.cloud import View, depth_bar
from wflow.figures.densities import Panel, companions, map_bar, panels_of
from wflow.figures.style import DOUBLE, SINGLE, check_solution, check_target, laid_out, style, writing
from wflow.measures import Grid, Particles
from wflow.solution import Solution

#: Dots an inch: half of those of figures, since every picture is stored.
DPI = 150

#: Axes, and what draws a picture on them.
Panels = list[tuple[Axes, Callable[..., None]]]


@style()
def animate(
    solution: Solution,
    path: str | PathLike[str],
    *,
    frames: int = 100,
    block: str | None = None,
    slices: int | Sequence[int] | None = None,
    particles: Solution | Particles | None = None,
    fps: int = 10,
) -> Path:
    """Write an animation over training time: densities, also with particles over them, or clouds of particles.

    It shows what :func:`density` shows, one frame after another, or what :func:`clouds` shows. The same run
    gives the same file. Returns the path.

    Parameters
    ----------
    path
        A ``.gif``, or an ``.mp4`` where ffmpeg is installed; an old file is replaced.
    frames
        How many pictures at most, at equal distances of training time: each shows the nearest frame of the run.
    block, slices, particles
        As for :func:`density`; the last two are for densities only.
    fps
        Pictures a second.
    """
    check_solution(solution)
    target = check_target("an animation", path, (".gif", ".mp4"))
    frames, writer = check_integer("frames", frames), _writer(target, check_integer("fps", fps))
    times = np.linspace(solution.frame_tau[0], solution.frame_tau[-1], min(frames, solution.n_frames))
    chosen = [int(np.abs(solution.frame_tau - tau).argmin()) for tau in times]
    taus = [float(solution.frame_tau[i]) for i in chosen]
    measures: list[Any] = [solution.measure(i) for i in chosen]
    if isinstance(measures[0], Grid):
        clouds = companions(particles, taus, measures[0])
        figure, panels = _densities(panels_of(solution, measures[0], block, slices), measures, clouds)
        pictures: list[tuple[Any, ...]] = list(zip(measures, clouds))
    elif slices is not None or particles is not None:
        raise InputError("slices and particles are for animations of densities; this run is on particles")
    else:
        figure, panels = _clouds(measures, block)
        pictures = [(rho,) for rho in measures]
    digits = max(0, 2 - int(np.floor(np.log10(taus[-1] - taus[0])))) if taus[-1] > taus[0] else 2
    with writing(target), writer.saving(figure, target, DPI):
        for tau, picture in zip(taus, pictures):
            figure.suptitle(rf"$\tau=${tau:.{digits}f}")
            for axes, draw in panels:
                for artist in (*axes.lines, *axes.collections, *axes.patches):
                    artist.remove()
                draw(axes, *picture)
            writer.grab_frame()
    return target


def _densities(groups: list[list[Panel]], measures: list[Grid], clouds: Any) -> tuple[Figure, Panels]:
    """The empty figure of densities, and its panels."""
    # Depth slices stand side by side; of three parameters the marginals do.
    columns = [3 if len(measures[0].box[group[0].block]) == 3 else len(group) for group in groups]
    rows = [len(group) // n for group, n in zip(groups, columns)]
    figure = Figure(figsize=(SINGLE if max(columns) < 2 else DOUBLE, 0.3 + 2.1 * sum(rows)), layout="constrained")
    figure.suptitle(r"$\tau$")
    parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=rows)[:, 0]
    panels: Panels = []
    for part, group, n in zip(parts, groups, columns):
        grid = part.subplots(len(group) // n, n, squeeze=False)
        peak = max(float(panel.values(rho).max()) for panel in group for rho in measures)
        for axes, panel in zip(grid.flat, group):
            x, *y = panel.limits(measures, clouds)
            top = (1.05 if clouds[0] is None else 1.3) * peak  # histograms scatter
            axes.set(xlim=x, ylim=y[0] if y else (0, top), xlabel=panel.labels[0], ylabel=panel.labels[1])
            axes.set_title(panel.place(measures[0]))
            panels.append((axes, partial(panel.draw, peak=peak)))
        if not group[0].is_curve:
            map_bar(part, grid, peak, group[0].slice is not None)
    return laid_out(figure), panels


def _clouds(measures: list[Particles], block: str | None) -> tuple[Figure, Panels]:
    """The empty figure of clouds, and its panels."""
    if block is not None:
        check_choice("block", block, measures[0].blocks)
    names = list(measures[0].blocks) if block is None else [block]
    figure = Figure(figsize=(SINGLE, 0.3 + 2.1 * len(names)), layout="constrained")
    figure.suptitle(r"$\tau$")
    grid = figure.subplots(len(names), 1, squeeze=False)
    panels: Panels = []
    for axes, name in zip(grid[:, 0], names):
        view = View.of(name, measures)
        seen = np.concatenate([view.project(rho) for rho in measures])
        lo, hi = seen.min(axis=0), seen.max(axis=0)
        margin = 0.03 * (hi - lo) + np.where(hi > lo, 0, 1e-9 * (np.abs(hi) + (hi == 0)))
        limits = list(zip(lo - margin, hi + margin))
        y = limits[1] if len(limits) > 1 else (0, 1.02)
        axes.set(xlim=limits[0], ylim=y, xlabel=view.labels[0], ylabel=view.labels[1])
        panels.append((axes, view.draw))
    depth_bar(figure, grid, measures[0])
    figure.align_ylabels(grid[:, 0])
    return laid_out(figure), panels


def _writer(target: Path, fps: int) -> Any:
    from matplotlib import animation  # takes time to import, and no other figure needs it

    if target.suffix.lower() == ".gif":
        return animation.PillowWriter(fps)
    if not animation.FFMpegWriter.isAvailable():
        raise InputError(f"cannot write {target}: ffmpeg is not installed; write a .gif, or install ffmpeg")
    return animation.FFMpegWriter(fps)
