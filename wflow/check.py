"""The error bar of a run: solve it again with every discretisation refined, and compare.

A run has up to three sources of error: the depth (L layers), the width (M particles, or the cells of a grid) and the
steps in training time. :func:`check` solves a run file with each of them refined and, where that is possible, coarsened
by a factor of two, and estimates from the differences how far Q, R and the predictions at the end are from those of the
equation.

>>> solve = lambda refined: {"Q": 1.0 + 0.01 * 0.5 ** refined.get("depth", 0)}
>>> report = error_bars(solve, [Source("depth", order=1.0)])
>>> bar = report.bars["Q"]["depth"]
>>> round(bar.order, 6), bool(bar.error >= 0.01), bool(bar.error < 0.02)
(1.0, True, True)
"""

from __future__ import annotations

__all__ = ["Bar", "Report", "Source", "check", "error_bars"]

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow import runfile
from wflow.controllers import Replay
from wflow.errors import InputError, SolveError
from wflow.measures import Grid, Particles

Array = NDArray[Any]
Outcome = Mapping[str, Any]

#: Differences are multiplied by this much: an estimate is not a bound (Roache, grid convergence index).
SAFETY = 1.25
#: Observed orders below this are not trusted.
LEAST_ORDER = 0.5
#: The settings of a run file, integers, that refine a source of error: section and key.
INTEGERS = {"depth": ("objective", "layers"), "width": ("initial", "M"), "grid": ("initial", "cells")}
#: The 97.5 % quantile of Student's distribution with two degrees of freedom: what two random differences warrant.
STUDENT = 4.303


@dataclass(frozen=True)
class Source:
    """A source of error: refined once, it is divided by ``ratio ** order``; random, it is sampling noise."""

    name: str
    order: float
    ratio: float = 2.0
    random: bool = False
    words: str = ""


@dataclass(frozen=True)
class Bar:
    """The estimated error of one quantity from one source, and the order that was observed (None without)."""

    error: float
    order: float | None


@dataclass(frozen=True)
class Report:
    """The error bars of every quantity by source; :meth:`error` is their sum."""

    values: Mapping[str, Any]
    bars: Mapping[str, Mapping[str, Bar]]
    sources: Sequence[Source]

    def error(self, quantity: str) -> float:
        """The sum of a quantity's error bars."""
        return float(sum(bar.error for bar in self.bars[quantity].values()))

    def __str__(self) -> str:
        head = ["", "value", *(source.name for source in self.sources), "error"]
        rows = [head]
        for quantity, bars in self.bars.items():
            value = self.values[quantity]
            row = [quantity, f"{value:.6g}" if np.ndim(value) == 0 else "(rms)"]
            for source in self.sources:
                bar = bars[source.name]
                row.append(f"{bar.error:.2g}" + ("" if bar.order is None else f" (order {bar.order:.2f})"))
            rows.append([*row, f"{self.error(quantity):.2g}"])
        widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return "\n".join(lines + [f"{source.name}: {source.words}" for source in self.sources if source.words])


def error_bars(solve: Callable[[Mapping[str, int]], Outcome], sources: Sequence[Source]) -> Report:
    """Estimate the errors of the outcome ``solve({})`` from refined and coarsened ones.

    Parameters
    ----------
    solve
        Called with ``{source: 1}`` to refine and ``{source: -1}`` to coarsen by the source's ratio; returns numbers and
        arrays by name. Raises :class:`InputError` or :class:`SolveError` where coarsening is impossible.
    sources
        Deterministic ones are extrapolated: with the differences ``d_- = |y_{-1} - y_0|`` and ``d_+ = |y_0 - y_1|`` and
        the order p (the observed one ``log(d_-/d_+)/log(ratio)``, at most the expected one), the error of ``y_0`` is
        ``d_+ / (1 - ratio^-p)``, times a safety factor of 1.25. Random ones are 95 % intervals: independent samples of
        the variances ``s^2, 2 s^2, s^2/2`` make ``E d_-^2 = 3 s^2, E d_+^2 = 3/2 s^2``, and the bar is 4.3 s.

    Returns
    -------
    Report
        Arrays are measured by their root mean square.
    """
    base = solve({})
    bars: dict[str, dict[str, Bar]] = {quantity: {} for quantity in base}
    for source in sources:
        finer = solve({source.name: 1})
        try:
            coarser = solve({source.name: -1})
        except (InputError, SolveError):
            coarser = None
        for quantity, y in base.items():
            fine = _distance(finer[quantity], y)
            coarse = None if coarser is None else _distance(coarser[quantity], y)
            bars[quantity][source.name] = _bar(source, fine, coarse)
    return Report(base, bars, tuple(sources))


def _distance(a: Any, b: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(a) - np.asarray(b)))))


def _bar(source: Source, fine: float, coarse: float | None) -> Bar:
    """The bar from the distances to the refined and to the coarsened outcome."""
    order = None
    if coarse is not None and fine > 0 and coarse > 0:
        order = float(np.log(coarse / fine) / np.log(source.ratio))
    if source.random:
        squares = [fine**2 / 1.5] + ([] if coarse is None else [coarse**2 / 3])
        return Bar(STUDENT * float(np.sqrt(np.mean(squares))), order)
    p = source.order if order is None else float(np.clip(order, LEAST_ORDER, source.order))
    if coarse is not None:  # a difference may be small because the error changes its sign
        fine = max(fine, coarse * source.ratio**-source.order)
    return Bar(SAFETY * fine / (1 - source.ratio**-p), order)


def check(
    path: str | PathLike[str], say: Callable[[str], None] = lambda line: None, progress: bool | None = None
) -> Report:
    """The error bars of Q, R and the predictions at the end of the run of a run file.

    Parameters
    ----------
    path
        The run file.
    say
        Told before every run what it is.
    progress
        As in :func:`wflow.solve`.

    Raises
    ------
    InputError
        For a run file that cannot be used.
    SolveError
        When the run, or one that refines it, fails.
    """
    run = runfile.read(path)
    sources = _sources(run)
    steps: list[float] = []

    def solve(refined: Mapping[str, int]) -> Outcome:
        words = [f"{name} {'refined' if step > 0 else 'coarsened'}" for name, step in refined.items()]
        again = _refined(run, refined, path)
        if "tau" in refined and run.resolved["solve"]["dtau"] is None:
            again = replace(again, solve_arguments=_halved(again.solve_arguments, steps, refined["tau"]))
        say(", ".join(words) or "as it is")
        solution = again.solve(progress=progress)
        if not refined:
            steps.extend(solution.series["dtau"][1:].tolist())
        rho = solution.measure(-1)
        out: dict[str, Any] = {"Q": float(solution.energy[-1]), "R": float(solution.risk[-1])}
        return out | {"predictions": again.objective.predict(rho)}

    return error_bars(solve, sources)


def _sources(run: runfile.Run) -> list[Source]:
    """The sources of error of a run."""
    config, scheme = run.resolved, run.solve_arguments["scheme"]
    rule, L = config["objective"]["depth"], config["objective"]["layers"]
    sources = [Source("depth", run.objective.rule.order, words=f"L = {L} -> {2 * L}, rule {rule}")]
    if isinstance(run.rho0, Grid):
        sources.append(Source("grid", 2.0, words="the cells of the grid halved"))
    elif config["initial"]["M"] is not None:
        words = f"M = {config['initial']['M']} doubled with other random numbers, 95 % interval"
        sources.append(Source("width", 0.5, random=True, words=words))
    dtau = config["solve"]["dtau"]
    if dtau is None:
        sources.append(Source("tau", 1.0, words="every step of the adaptive run halved"))
    else:
        sources.append(Source("tau", scheme.order, random=scheme.noisy, words=f"dtau = {dtau:g} -> {dtau / 2:g}"))
    return sources


def _refined(run: runfile.Run, refined: Mapping[str, int], path: Any) -> runfile.Run:
    """The run with other settings."""
    config = copy.deepcopy(run.resolved)
    for name, step in refined.items():
        if name in INTEGERS:
            section, key = INTEGERS[name]
            config[section][key] = _scaled(config[section][key], step, key)
        elif config["solve"]["dtau"] is not None:
            config["solve"]["dtau"] *= 2.0**-step
    again = runfile.rebuild(config, path, other_particles=bool(refined.get("width")))
    if "depth" in refined and isinstance(run.rho0, Particles):
        again = replace(again, rho0=_at_depth(run.rho0, again.objective))
    return again


def _halved(arguments: Mapping[str, Any], steps: Sequence[float], step: int) -> dict[str, Any]:
    """The steps of the adaptive run, every one cut in two.

    A tighter tolerance would often change nothing: the steps of a stiff flow are those of its stability limit. Steps
    cannot be doubled for the same reason, so that the order is taken to be 1, which is safe.
    """
    if step < 0:
        raise InputError("adaptive steps are not coarsened")
    kept = {name: value for name, value in arguments.items() if name not in ("rtol", "atol", "dtau")}
    return kept | {"controller": Replay(tuple(0.5 * h for h in steps for _ in range(2)))}


def _scaled(value: Any, step: int, name: str) -> Any:
    """An integer, or every one of several, doubled or halved."""
    if isinstance(value, dict):
        return {key: _scaled(entry, step, name) for key, entry in value.items()}
    if isinstance(value, list):
        return [_scaled(entry, step, name) for entry in value]
    if step < 0 and value % 2:
        raise InputError(f"{name} = {value} cannot be halved")
    return 2 * value if step > 0 else value // 2


def _at_depth(rho: Particles, objective: Any) -> Particles:
    """The same clouds in other layers: repeated in twice as many, joined two by two in half as many.

    So the depth alone changes, and not what was drawn.
    """
    old, new = rho.n_slices, objective.rule.n_slices
    # rk4-nodes has slices at both ends: only clouds that are the same at all depths coarsen well.
    ends = int(objective.rule.name == "rk4-nodes")
    same = np.arange(new) * (old - ends) // (new - ends)
    blocks, weights = {}, {}
    for name, x in rho.blocks.items():
        if new > old or ends:
            blocks[name], weights[name] = x[same], rho.weights(name)[same]
        else:
            blocks[name] = x.reshape(new, -1, x.shape[2])
            weights[name] = 0.5 * rho.weights(name).reshape(new, -1)
    return Particles(weights=weights, **blocks)
