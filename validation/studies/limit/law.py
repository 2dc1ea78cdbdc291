"""Is the error from the limit rms^2 = (a/L)^2 + b^2/(M L) along training, too?

a and b are fitted to the prediction errors of drawn Transformers from the limit, at the start, where they are largest
along training, and at the end. The misfit is that of least squares,

    chi^2 = sum over M, L of (ln rms - ln law)^2 / variance,

with variances by resampling the draws; per degree of freedom it is about 1 if the law holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import optimize, stats

from validation import atoms
from validation.atoms import STEPS
from validation.drawing import log_log, panels
from validation.studies.limit._errors import largest, networks, total_errors, trained
from validation.study import Claim, Runs, Table, at_most
from wflow.figures.style import PALETTE

Array = NDArray[np.float64]

COST = atoms.cost
CAPTION = "The largest error of the predictions from the limit along training, and the law fitted to it."


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"what": "limit", "layers": 16, "refinement": 1}, *trained(full)]


measure = atoms.measure


def claims(runs: Runs) -> list[Claim]:
    freedom = len(networks(runs.full)) - 2
    text = "misfit chi^2 per freedom of rms^2 = (a/L)^2 + b^2/(M L), largest error along training"
    return [at_most(text, _fits(runs)[1][-1], float(stats.chi2.ppf(0.999, freedom)) / freedom)]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> Table:
    head = ["prediction error", "a", "95 %", "b", "95 %", "chi^2 per freedom"]
    return Table("rms^2 = (a/L)^2 + b^2/(M L), fitted", head, _fits(runs))


def figure(runs: Runs) -> Figure:
    drawing, axes = panels(1, 2.5)
    error = {key: largest(errors, "predictions") for key, errors in total_errors(runs).items()}
    widths, layers = np.array(list(error), float).T
    a, b = _fit(widths, layers, np.array(list(error.values())))
    L = np.geomspace(layers.min(), layers.max(), 50)
    for M, colour in zip(sorted(set(widths)), PALETTE):
        some = {depth: y for (width, depth), y in error.items() if width == M}
        axes.plot(list(some), list(some.values()), "o", color=colour, label=f"$M={M:g}$")
        axes.plot(L, np.sqrt((a / L) ** 2 + b**2 / (M * L)), color=colour, linewidth=0.8)
    log_log(axes, sorted(set(layers)), list(error.values()))
    axes.set(xlabel="layers $L$", ylabel="error from the limit")
    axes.legend()
    return drawing


def _fits(runs: Runs) -> list[list[Any]]:
    """a and b with their intervals, and the misfit: at the start, of the largest error along training, at the end."""
    total, rows = total_errors(runs), []
    M, L = np.array(list(total), float).T
    for words, of in (("at tau = 0", 0), ("largest along training", None), ("at the end", STEPS)):
        errors = [x["predictions"] for x in total.values()]
        samples = np.array([x.max(axis=1) if of is None else x[:, of] for x in errors])
        measured = np.sqrt(np.mean(samples**2, axis=1))
        a, b = _fit(M, L, measured)
        seeds, rng = samples.shape[1], np.random.default_rng(5)
        again = [np.sqrt(np.mean(samples[:, rng.integers(seeds, size=seeds)] ** 2, axis=1)) for _ in range(200)]
        spread = np.std(np.log(again), axis=0)
        residual = 0.5 * np.log((a / L) ** 2 + b**2 / (M * L)) - np.log(measured)
        chi = float(np.sum((residual / spread) ** 2)) / (len(M) - 2)
        limits = np.quantile([_fit(M, L, y) for y in again], [0.025, 0.975], axis=0)
        of_a, of_b = (f"{low:.3g} to {high:.3g}" for low, high in limits.T)
        rows.append([words, a, of_a, b, of_b, chi])
    return rows


def _fit(M: Array, L: Array, y: Array) -> Array:
    """a and b, by least squares in the logarithms."""

    def residual(logs: Array) -> Array:
        a, b = np.exp(logs)
        return np.asarray(0.5 * np.log((a / L) ** 2 + b**2 / (M * L)) - np.log(y))

    start = np.log([np.median(y * L), np.median(y * np.sqrt(M * L))])
    return np.asarray(np.exp(optimize.least_squares(residual, start, bounds=(start - 12, start + 12)).x))
