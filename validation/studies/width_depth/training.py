"""Which exponents does the largest noise along training have?

Transformers of all kinds are trained, and so are those with all atoms and as many layers. The noise is the largest
difference of the predictions along training; its exponents are fitted as those of Transformers drawn from one law:

    noise ~ M^-alpha L^-gamma
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation import atoms
from validation.drawing import panels
from validation.studies.width_depth._noise import KINDS, TABLE, Map, draw, errors, exponents, row, words
from validation.study import Claim, Runs, Table

COST = atoms.cost
CAPTION = "The largest noise of the predictions along training, rms over seeds."


def _sizes(full: bool) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Widths, depths and seeds."""
    return ((4, 8, 16, 32), (4, 8, 16), 16) if full else ((4, 16), (4, 16), 8)


def cases(full: bool) -> list[dict[str, Any]]:
    widths, depths, seeds = _sizes(full)
    out: list[dict[str, Any]] = [{"what": "trained", "M": None, "L": L} for L in depths]
    for kind, M, L, seed in itertools.product(KINDS, widths, depths, range(seeds)):
        out.append({"what": "trained", "M": M, "L": L, "seed": seed, "kind": kind})
    return out


measure = atoms.measure


def claims(runs: Runs) -> list[Claim]:
    return []


def findings(runs: Runs) -> list[str]:
    parts = []
    for kind, noise in _noise_of(runs).items():
        (alpha, gamma), (of_alpha, of_gamma) = exponents(noise)
        parts.append(f"{KINDS[kind]} {alpha:.2f} ({words(of_alpha)}) and {gamma:.2f} ({words(of_gamma)})")
    return ["Along training the exponents of 1/M and 1/L in the largest noise are: " + "; ".join(parts) + "."]


def table(runs: Runs) -> Table:
    title = "Noise of the width ~ M^-alpha L^-gamma, rms over seeds and prompts, and the shape that fits best"
    return Table(title, TABLE, [row(kind, "along training", noise) for kind, noise in _noise_of(runs).items()])


def figure(runs: Runs) -> Figure:
    drawing, axes = panels(1)
    draw(axes, _noise_of(runs))
    return drawing


def _noise_of(runs: Runs) -> dict[str, Map]:
    """The largest noise along training of every run, by kind."""
    widths, depths, _ = _sizes(runs.full)
    out: dict[str, Map] = {kind: {} for kind in KINDS}
    for kind, L, M in itertools.product(KINDS, depths, widths):
        deep = runs.one(M=None, L=L)["predictions"]
        drawn = [answer["predictions"] for _, answer in runs.of(M=M, L=L, kind=kind)]
        out[kind][M, L] = errors(np.array(drawn) - deep).max(axis=1)
    return out
