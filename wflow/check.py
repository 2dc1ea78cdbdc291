"""The error bar of a run: solve it again with every discretisation refined, and compare.

A run has up to three sources of error: the depth (L layers), the width (M particles, or the cells of a grid) and the
steps in training time. :func:`check` solves a run file with each of them refined and, where that is possible, coarsened
by a factor of two, and estimates from the differences how far Q, R, the predictions and what the run observes are from
those of the equation at the end. :func:`check_problem` does the same for objects, such as encoders of your own.

>>> solve = lambda refined: {"Q": 1.0 + 0.01 * 0.5 ** refined.get("depth", 0)}
>>> report = error_bars(solve, [Source("depth", order=1.0)])
>>> bar = report.bars["Q"]["depth"]
>>> round(bar.order, 6), bool(bar.error >= 0.01), bool(bar.error < 0.02)
(1.0, True, True)
>>> report.verdict()
'depth dominates the error of Q: depth 2 times as fine halves it, at 2 times the work'
"""

from __future__ import annotations

__all__ = ["Bar", "Report", "Source", "check", "check_problem", "error_bars"]

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow import runfile
from wflow.checks import check_array, check_boolean, check_fields, check_integer, check_nonnegative, check_number, shown
from wflow.controllers import Fixed, Replay
from wflow.errors import InputError, SolveError
from wflow.measures import Grid, Measure, Particles
from wflow.observers import ErrorRate
from wflow.run.solve import solve
from wflow.schemes import scheme_of
from wflow.settings import Observers
from wflow.solution import Solution, Status

Array = NDArray[Any]
Outcome = Mapping[str, Any]
Say = Callable[[str], None]
Problem = tuple[Any, Measure, Observers]
#: ``make(layers, size, stream)``: energy, initial measure and observers; streams are independent random numbers.
Make = Callable[[Any, Any, int], Problem]

#: Estimates are multiplied by this much, since they are no bounds: from a coarser and a finer outcome, and from others
#: (Roache, Annu. Rev. Fluid Mech. 29 (1997) 123, grid convergence index).
SAFETY, SAFETY_UNSEEN = 1.25, 3.0
#: Observed orders below this are not trusted.
LEAST_ORDER = 0.5
#: The 97.5 % quantiles of Student's distribution: what one random difference, and two of them, warrant.
STUDENT = {1: 12.706, 2: 4.303}
#: Differences below this share of a quantity are rounding.
ROUNDING = 1000 * float(np.finfo(float).eps)
#: Fixed steps are doubled where at least this share of their error is that of pairs of equal steps.
DOUBLED = 0.9


@dataclass(frozen=True)
class Source:
    """A source of error: refined once, it is divided by ``ratio ** order``.

    Parameters
    ----------
    name, order, ratio
        An infinite ratio stands for a refinement that removes the error.
    random
        Whether it is sampling noise: every outcome is an independent sample, whose standard deviation refining divides
        by ``ratio ** order`` (order 0: the same once more).
    words
        What the table says of it.
    finer
        How to make it x times as fine, in words: ``finer(4.0)`` is such as "M = 64".
    cost
        The work grows with this power of x.
    """

    name: str
    order: float
    ratio: float = 2.0
    random: bool = False
    words: str = ""
    finer: Callable[[float], str] | None = None
    cost: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"name must be text, got {shown(self.name)}")
        check_fields(self, check_nonnegative, "order", "cost")
        check_fields(self, check_number, "ratio", finite=False)
        check_fields(self, check_boolean, "random")
        if not self.ratio > 1 or (self.order == 0 and not self.random):
            raise InputError(f"ratio must be greater than 1, and order than 0, got {self.ratio!r} and {self.order!r}")


@dataclass(frozen=True)
class Bar:
    """The estimated error of one quantity from one source.

    ``order`` is the observed one, None where none was observed or it means nothing: random differences, rounding,
    errors that grew; ``power`` is the power of the refinement with which the error is expected to fall.
    """

    error: float
    order: float | None
    power: float


@dataclass(frozen=True)
class Report:
    """The error bars of every quantity by source; :meth:`error` is their sum."""

    values: Mapping[str, Any]
    bars: Mapping[str, Mapping[str, Bar]]
    sources: Sequence[Source]

    def error(self, quantity: str) -> float:
        """The sum of a quantity's error bars."""
        return float(sum(bar.error for bar in self.bars[quantity].values()))

    def verdict(self, quantity: str | None = None) -> str:
        """One sentence: which sources make the error of a quantity (None: the first), and what halves it.

        Of the sources that make more than half of the error, the largest ones are refined, as many as need the least
        work: with the share s of the error, a source of power p is made ``(1 - 1/(2 s))^(-1/p)`` times as fine.
        """
        quantity = next(iter(self.bars)) if quantity is None else quantity
        total, bars = self.error(quantity), self.bars[quantity]
        if not math.isfinite(total):
            return f"the error of {quantity} is not known"
        if total <= ROUNDING * _size(self.values[quantity]):
            return f"the error of {quantity} is that of rounding"
        groups: dict[Any, list[Source]] = {}
        for source in self.sources:  # several sources of noise may have one remedy
            groups.setdefault(source.finer or source.name, []).append(source)
        shares = {key: sum(bars[s.name].error for s in group) / total for key, group in groups.items()}
        largest = sorted(groups, key=lambda key: -shares[key])
        plans = []
        for k in range(1, len(largest) + 1):
            if (share := sum(shares[key] for key in largest[:k])) > 0.5:
                left = max(1 - 0.5 / share, 1e-9)
                finer = [left ** (-1 / min(bars[s.name].power for s in groups[key])) for key in largest[:k]]
                plans.append((math.prod(x ** groups[key][0].cost for x, key in zip(finer, largest)), finer))
        work, finer = min(plans, key=lambda plan: plan[0])
        chosen = [groups[key] for key in largest[: len(finer)]]
        who = _listed(["noise" if len(group) > 1 else group[0].name for group in chosen])
        what = _listed([(g[0].finer or f"{g[0].name} {{:.3g}} times as fine".format)(x) for g, x in zip(chosen, finer)])
        several = "" if len(chosen) > 1 else "s"
        at = "" if any(math.isinf(group[0].ratio) for group in chosen) else f", at {work:.2g} times the work"
        return f"{who} dominate{several} the error of {quantity}: {what} halve{several} it{at}"

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
        lines += [f"{source.name}: {source.words}" for source in self.sources if source.words]
        return "\n".join([*lines, self.verdict()])


def error_bars(
    solve: Callable[[Mapping[str, int]], Outcome], sources: Sequence[Source], resolution: float = ROUNDING
) -> Report:
    """Estimate the errors of the outcome ``solve({})`` from refined and coarsened ones.

    Parameters
    ----------
    solve
        Called with ``{source: k}``, which refines k times by the source's ratio: k = 1, and -1 to coarsen, or 2 where
        that is impossible. What is impossible raises :class:`InputError` or :class:`SolveError`.
    sources
        Deterministic ones are extrapolated: with ``d_- = |y_{-1} - y_0|``, ``d_+ = |y_0 - y_1|`` and the order p (the
        observed one ``log(d_-/d_+)/log(ratio)``, at most the expected one), the error of ``y_0`` is
        ``d_+ / (1 - ratio^-p)``; without ``y_{-1}`` it is ``d_+`` and the error of ``y_1``, likewise. The safety factor
        is 1.25, but 3 where ``y_{-1}`` or ``y_1`` cannot be had, and where outcomes go to and fro. With one of them
        only, p is the expected order.
        Random ones are 95 % intervals: independent samples of the variances ``s^2``, ``s^2/r`` and ``r s^2``,
        ``r = ratio^(2 order)``, make ``E d_+^2 = (1 + 1/r) s^2`` and ``E d_-^2 = (1 + r) s^2``; the bar is 4.3 s, or
        12.7 s from ``d_+`` alone.
    resolution
        Differences below this share of a quantity have no order.

    Returns
    -------
    Report
        Arrays are measured by their root mean square.
    """
    if not callable(solve):
        raise InputError(f"solve must be a function of what to refine, got {shown(solve)}")
    if not isinstance(sources, Sequence) or not all(isinstance(source, Source) for source in sources):
        raise InputError(f"sources must be a list of wflow.check.Source, got {shown(sources)}")

    def outcome(refined: Mapping[str, int]) -> Outcome:
        found = solve(refined)
        if not isinstance(found, Mapping):
            raise InputError(f"solve must return numbers and arrays by name, got {shown(found)}")
        for quantity, y in found.items():
            check_array(f"{quantity!s:.80} of solve", y, tuple(range(9)), "(...)", finite=False)
        return found

    base = outcome({})
    bars: dict[str, dict[str, Bar]] = {quantity: {} for quantity in base}
    told = []
    for source in sources:
        outcomes, words = _outcomes(outcome, source)
        outcomes[0] = base
        told.append(replace(source, words="; ".join(filter(None, [source.words, *words]))))
        for quantity, y in base.items():
            steps = itertools.pairwise(sorted(outcomes))
            changes = {a: np.subtract(outcomes[a][quantity], outcomes[b][quantity]) for a, b in steps}
            bars[quantity][source.name] = _bar(source, changes, resolution * _size(y))
    return Report(base, bars, tuple(told))


def _outcomes(solve: Callable[[Mapping[str, int]], Outcome], source: Source) -> tuple[dict[int, Outcome], list[str]]:
    """The outcomes beside the first one that a source allows, by how often it is refined, and why others fail."""
    outcomes: dict[int, Outcome] = {}
    errors: dict[str, Exception] = {}
    for k, what in [(1, "refined"), (-1, "coarsened")][: 2 if math.isfinite(source.ratio) else 1]:
        try:
            outcomes[k] = solve({source.name: k})
        except (InputError, SolveError) as error:
            errors[what] = error
    if not outcomes:
        raise errors["refined"]
    if "coarsened" in errors and not source.random:
        with contextlib.suppress(InputError, SolveError):
            outcomes[2] = solve({source.name: 2})
    return outcomes, [f"not {what}: {str(error).splitlines()[0]}" for what, error in errors.items()]


def _size(y: Any) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(np.square(y))))


def _bar(source: Source, changes: Mapping[int, Any], smallest: float) -> Bar:
    """The bar from the changes ``y_k - y_{k+1}`` by k; where they are smaller than that, no order is seen."""
    sizes = {k: _size(change) for k, change in changes.items()}
    if source.random:
        r = source.ratio ** (2 * source.order)
        squares = [size**2 / (1 + (r if k < 0 else 1 / r)) for k, size in sizes.items()]
        return Bar(STUDENT[len(squares)] * float(np.sqrt(np.mean(squares))), None, 0.5)
    if len(changes) == 1:
        ((k, size),) = sizes.items()
        safety = SAFETY_UNSEEN if math.isfinite(source.ratio) else SAFETY
        share = abs(1 - source.ratio ** (source.order if k < 0 else -source.order))  # of the error in the change
        return Bar(safety * size / share, None, source.order)
    (coarse, fine), smallest = sizes.values(), max(smallest, float(np.finfo(float).tiny))
    order = float(np.log(max(coarse, smallest) / max(fine, smallest)) / np.log(source.ratio))
    p = float(np.clip(order, LEAST_ORDER, source.order))
    turns = np.vdot(*changes.values()) < 0  # as where two terms of the error cancel
    seen = not turns and min(fine, coarse) > smallest and 0 < order <= source.order + 1
    fine = max(fine, coarse * source.ratio**-source.order)  # it is small where the error changes its sign
    error = fine / (1 - source.ratio**-p) + (0.0 if -1 in changes else coarse)
    return Bar((SAFETY if -1 in changes and not turns else SAFETY_UNSEEN) * error, order if seen else None, p)


def check(path: str | PathLike[str], say: Say = lambda line: None, progress: bool | None = None) -> Report:
    """The error bars of the run of a run file: of Q, R, the predictions and what it observes, at the end.

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
        When the run fails, or both a finer and a coarser one do.
    """
    run = runfile.read(path)
    config, key = run.resolved, "cells" if isinstance(run.rho0, Grid) else "M"

    def make(layers: int, size: Any, stream: int) -> Problem:
        other = copy.deepcopy(config)
        other["objective"]["layers"], other["initial"][key] = layers, size
        made = runfile.rebuild(other, path, stream)
        return made.objective, made.rho0, made.observe

    layers, size = config["objective"]["layers"], config["initial"][key]
    arguments = run.solve_arguments | {"max_seconds": None}  # runs to different ends could not be compared
    return _Check(make, layers, size, arguments, say, progress).report()


def check_problem(
    make: Callable[[Any, Any, np.random.Generator], Any],
    *,
    layers: int | None = None,
    M: Any = None,
    seed: int = 0,
    say: Say = lambda line: None,
    progress: bool | None = None,
    **arguments: Any,
) -> Report:
    """The error bars of a problem made of objects, such as encoders and observers of your own.

    Parameters
    ----------
    make
        ``make(layers, M, rng)`` returns the energy and the initial measure, and third, if you like, a dictionary of
        observers; all random numbers of the initial measure come from ``rng``.
    layers
        L; None for an energy without depth.
    M
        The number of particles (or one for each block), or of the cells of a density; None for an initial measure that
        is exact.
    seed
        Of the initial measure and of schemes with noise.
    say, progress
        As in :func:`check`.
    arguments
        Those of :func:`wflow.solve`: tau_range, scheme, dtau, ...

    Raises
    ------
    InputError
        For arguments that do not fit.
    SolveError
        When the run fails, or both a finer and a coarser one do.

    Examples
    --------
    >>> import wflow
    >>> from wflow.problems import SineEncoder
    >>> data = wflow.Dataset(np.zeros((2, 1, 1)), [0.2, -0.8])
    >>> def make(layers, M, rng):
    ...     Q = wflow.TransformerObjective(data, SineEncoder(), layers=layers)
    ...     return Q, wflow.initial.gaussian(0.5).sample(Q, M, rng), {"watched": wflow.observers.Risk(Q)}
    >>> report = check_problem(make, layers=2, M=16, tau_range=(0, 1), scheme="heun", dtau=0.1)
    >>> list(report.values), list(report.bars["Q"])
    (['Q', 'R', 'predictions', 'watched'], ['depth', 'width', 'tau'])
    """
    if taken := sorted({"path", "overwrite", "observe", "rng", "attributes", "max_seconds"} & arguments.keys()):
        raise InputError(f"check_problem does not take {taken[0]}: it solves several times; make returns the observers")
    layers, M, seed = _scaled(layers, 0, "layers"), _scaled(M, 0, "M"), check_integer("seed", seed, 0)

    def made(layers: Any, size: Any, stream: int) -> Problem:
        parts = make(layers, size, np.random.default_rng([seed, stream]))
        if not isinstance(parts, tuple) or not 2 <= len(parts) <= 3:
            raise InputError(f"make must return an energy, an initial measure and perhaps observers, got {parts!r:.80}")
        energy, rho0, *observe = parts
        return energy, rho0, dict(*observe)

    return _Check(made, layers, M, arguments | {"rng": seed}, say, progress).report()


class _Check:
    """A problem, and its runs: as it is, refined and coarsened."""

    def __init__(
        self, make: Make, layers: Any, size: Any, arguments: Mapping[str, Any], say: Say, progress: bool | None
    ) -> None:
        self.make, self.layers, self.size, self.arguments = make, layers, size, arguments
        self.say, self.progress = say, progress
        self.scheme = scheme_of(arguments.get("scheme", "dopri5"))
        self.is_fixed = arguments.get("dtau") is not None or isinstance(arguments.get("controller"), Fixed)
        self.steps: list[float] = []
        self.runs = itertools.count()
        self.problem = make(layers, size, 0)
        if taken := sorted({"Q", "R", "predictions"} & self.problem[2].keys()):
            raise InputError(f"observers need other names than Q, R and predictions, got {taken[0]!r}")

    def report(self) -> Report:
        """Solve as it is, refined and coarsened, and compare."""
        base, first = self.run({})
        self.steps = base.series["dtau"][1:].tolist()
        resolution = 1000 * float(np.finfo(self.problem[1].dtype).eps)
        if not self.is_fixed:  # a refined problem takes other steps, whose errors differ
            resolution = max(resolution, float(self.arguments.get("rtol", 1e-6)))
        kept = {name: y for name, y in first.items() if np.isfinite(y).all()}  # no R without a risk

        def solve_again(refined: Mapping[str, int]) -> Outcome:
            at_rest = "tau" in refined and not self.steps
            return self.run(refined)[1] if refined and not at_rest else kept

        report = error_bars(solve_again, self.sources(base), resolution)
        values, bars = dict(report.values), dict(report.bars)
        for name, observe in self.problem[2].items():
            if isinstance(observe, ErrorRate):
                bars[name] = _rate_bars(values.pop(_decisive(name)), bars.pop(_decisive(name)))
        return replace(report, values=values, bars=bars)

    def run(self, refined: Mapping[str, int]) -> tuple[Solution, Outcome]:
        """Solve with a source refined (1), refined twice (2) or coarsened (-1)."""
        depth, width, grid, tau = (refined.get(name, 0) for name in ("depth", "width", "grid", "tau"))
        if grid > 1 or (tau > 1 and not self.is_fixed):
            raise InputError("the work of refining twice would be too much")
        energy, rho0, observe = self.problem
        arguments, number = dict(self.arguments), next(self.runs)
        if refined and self.scheme.noisy:
            arguments["rng"] = np.random.default_rng([arguments["rng"], number])
        if depth or width or grid:
            layers = _scaled(self.layers, depth, "layers")
            size = _scaled(self.size, width + grid, "cells" if grid else "M")
            energy, rho0, observe = self.make(layers, size, width % 3)
        if depth and isinstance(rho0, Particles):
            rho0 = _at_depth(self.problem[1], energy)  # type: ignore[arg-type]
        if tau:
            arguments = _replayed(arguments, self.steps, tau, self.scheme.order if self.is_fixed else None)
        if "tol" in refined:
            arguments["tol"] = 0.0
        kinds = {-1: "coarsened", 1: "refined", 2: "refined twice"}
        what = ", ".join(f"{name} {kinds[step]}" for name, step in refined.items())
        self.say(what or "as it is")
        try:
            solution = solve(energy, rho0, observe=observe, progress=self.progress, **arguments)
        except SolveError as error:
            raise SolveError(f"{what}: {error}" if what else str(error)) from None
        return solution, _outcome(solution, energy, observe)

    def sources(self, base: Solution) -> list[Source]:
        """The sources of error, after the first run."""
        (energy, rho0, _), size, sources = self.problem, self.size, []
        if (L := self.layers) is not None:
            words = f"L = {L} -> {2 * L}, rule {energy.rule.name}"
            sources.append(Source("depth", energy.rule.order, words=words, finer=lambda x: f"L = {_finer(L, x)}"))
        key = "cells" if isinstance(rho0, Grid) else "M"
        more = None if size is None else lambda x: f"{key} = {_words(_finer(size, x))}"
        if size is not None and isinstance(rho0, Grid):
            cost = max(len(intervals) for intervals in rho0.box.values())
            sources.append(Source("grid", 2.0, words="the cells of the grid halved", finer=more, cost=cost))
        elif size is not None:
            words = f"M = {_words(size)} doubled with other random numbers, 95 % interval"
            sources.append(Source("width", 0.5, random=True, words=words, finer=more))
        sources.append(self._steps())
        if self.scheme.noisy:  # all differences hold noise, which more particles reduce
            sources = [
                replace(s, finer=more)
                if s.random
                else replace(s, order=0.0, random=True, words=f"{s.words}, with other noise", finer=more)
                for s in sources
            ]
        if base.status is Status.STEADY:
            words = f"|v| <= tol from tau = {base.tau[-1]:.6g} on; again to the end without tol"
            sources.append(Source("tol", 1.0, math.inf, words=words, finer=lambda x: "a smaller tol"))
        return sources

    def _steps(self) -> Source:
        steps = self.steps
        if not steps:
            words = "no steps were made"
        elif self.is_fixed:
            words = f"{len(steps)} step{'s' * (len(steps) > 1)} of at most {max(steps):g}, halved"
        else:
            words = "every step of the adaptive run halved"
        fixed, longest = self.is_fixed, max(steps, default=0.0)
        finer = lambda x: f"dtau = {longest / x:.2g}" if fixed else f"{x:.2g} times as many steps"  # noqa: E731
        return Source("tau", self.scheme.order, words=words, finer=finer)


def _outcome(solution: Solution, energy: Any, observe: Observers) -> dict[str, Any]:
    """All quantities at the end, and the predictions on which error rates rest."""
    out: dict[str, Any] = {"Q": float(solution.energy[-1]), "R": float(solution.risk[-1])}
    rho = solution.measure(-1)
    if hasattr(energy, "predict"):
        out["predictions"] = energy.predict(rho)
    out |= {name: float(values[-1]) for name, values in solution.observed.items()}
    rates = {name: f for name, f in observe.items() if isinstance(f, ErrorRate)}
    data = {name: f.dataset or f.objective.dataset for name, f in rates.items()}
    return out | {_decisive(name): f.objective.predict(rho, data[name].tokens) for name, f in rates.items()}


def _decisive(name: str) -> str:
    return f"predictions for {name}"


def _rate_bars(predictions: Array, bars: Mapping[str, Bar]) -> dict[str, Bar]:
    """The bars of an error rate, which jumps: how many prompts errors of the predictions can take to the other side.

    With the root mean square e of the errors of B K predictions, ``sum of |error_b|^2 = B K e^2``; a prompt changes its
    side where its error is at least its distance from it. So at most as many do as the smallest distances allow.
    """
    values = np.sort(predictions.reshape(len(predictions), -1), axis=1)
    distance = np.abs(values[:, 0]) if values.shape[1] == 1 else (values[:, -1] - values[:, -2]) / np.sqrt(2)
    total = sum(bar.error for bar in bars.values())
    within = np.cumsum(np.sort(distance**2)) <= values.size * total**2
    rate = float(np.mean(within)) if total > 0 else 0.0
    return {name: Bar(rate and rate * bar.error / total, None, bar.power) for name, bar in bars.items()}


def _replayed(arguments: Mapping[str, Any], steps: Sequence[float], finer: int, order: int | None) -> dict[str, Any]:
    """The steps of a run once more, every one cut in two (``finer = 1``) or in four (2), or two made one (-1).

    What was made is halved, not the setting: saved times and the end cut fixed steps, failures halve them, and those
    of a stiff flow that adapt are those of its stability limit, whatever the tolerance. These are not doubled for the
    same reason: their ``order`` is None.
    """
    if finer > 0:
        again = [h / 2**finer for h in steps for _ in range(2**finer)]
    elif order is None:
        raise InputError("adaptive steps are not doubled")
    else:
        again = _doubled(steps, order)
    start = float(arguments.get("tau_range", (0.0, 1.0))[0])
    end = float(np.cumsum([start, *again])[-1])  # as the run adds them, so that the last step is not cut
    kept = {name: x for name, x in arguments.items() if name not in ("rtol", "atol", "dtau", "save")}
    controller = Replay(tuple(again), monotone=finer < 0)
    return kept | {"controller": controller, "tau_range": (start, end), "tol": 0.0}


def _doubled(steps: Sequence[float], order: int) -> list[float]:
    """Pairs of equal steps as one; where these are too few, doubled steps would not tell an order."""
    again, rest, i = [], 0.0, 0
    while i < len(steps):
        pair = steps[i : i + 2]
        equal = len(pair) == 2 and math.isclose(*pair, rel_tol=0.01)
        again.append(sum(pair) if equal else pair[0])
        rest += 0.0 if equal else pair[0] ** (order + 1)
        i += 1 + equal
    if rest > (1 - DOUBLED) * sum(h ** (order + 1) for h in steps):
        what = "one step makes no pair" if len(steps) == 1 else "too few steps make pairs of equal ones"
        raise InputError(what)
    return again


def _scaled(value: Any, step: int, name: str) -> Any:
    """An integer, or every one of several, times ``2 ** step``; None stays."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _scaled(entry, step, name) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scaled(entry, step, name) for entry in value]
    value = check_integer(name, value)
    if step < 0 and value % 2:
        raise InputError(f"{name} = {value} cannot be halved")
    return value * 2**step if step > 0 else value // 2**-step


def _finer(value: Any, x: float) -> Any:
    """An integer, or every one of several, about x times as large."""
    if isinstance(value, Mapping):
        return {key: _finer(entry, x) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finer(entry, x) for entry in value]
    return math.ceil(value * float(f"{x:.2g}"))


def _words(value: Any) -> str:
    """A size as it stands in run files."""
    return f"{{ {', '.join(f'{k} = {v}' for k, v in value.items())} }}" if isinstance(value, Mapping) else str(value)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


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
