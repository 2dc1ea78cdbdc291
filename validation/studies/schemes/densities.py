"""Densities, noise and particles: do methods that share nothing but the equation agree?

A Transformer of scalar tokens, where heads and neurons have two parameters each. With entropy sigma densities on grids
(kernel, finite volumes, regularised JKO steps), noise (Langevin) and smoothed densities of particles (blob) solve it;
without, characteristics (rk4), JKO steps, MUSCL and upwind finite volumes. Distributions are compared by the quantile
functions of the single parameters, whose L2 distance is the Wasserstein distance of the marginals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import wflow
from validation.drawing import common_legend, panels
from validation.statistics import rms
from validation.studies.schemes._bars import QUANTITIES, bars, furthest
from validation.studies.schemes._scalar import quantile_functions, transformer
from validation.study import Answer, Claim, Runs, Table, at_most
from wflow import initial
from wflow.check import Source
from wflow.figures.style import PALETTE
from wflow.schemes import Blob, EntropicJKO, FiniteVolume, Kernel, Muscl

SIGMA = 0.2
METHODS: dict[str, dict[str, Any]] = {
    "kernel": {"sigma": SIGMA, "dtau": 0.25, "box": 5.0, "cells": 40, "order": 4, "space": 4},
    "finite-volume": {"sigma": SIGMA, "dtau": 0.25, "box": 5.0, "cells": 40, "order": 2, "space": 2},
    "entropic-jko": {"sigma": SIGMA, "dtau": 0.25, "box": 5.0, "cells": 68, "order": 1, "space": 4},
    "langevin": {"sigma": SIGMA, "dtau": 0.05, "M": 4096, "kind": "iid", "order": 0},
    "blob": {"sigma": SIGMA, "dtau": 0.1, "M": 256, "kind": "net", "order": 2},
    "rk4": {"sigma": 0.0, "dtau": 0.25, "M": 1024, "kind": "net", "order": 4},
    "jko": {"sigma": 0.0, "dtau": 0.1, "M": 512, "kind": "net", "order": 1},
    "muscl": {"sigma": 0.0, "dtau": 0.02, "box": 3.6, "cells": 36, "order": 2, "space": 2},
    "finite-volume, upwind": {"sigma": 0.0, "dtau": 0.1, "box": 3.6, "cells": 48, "order": 2, "space": 1},
}
SCHEMES = {
    "kernel": Kernel(outer_mass=1e-6),
    "finite-volume": FiniteVolume(outer_mass=1e-6),
    "finite-volume, upwind": FiniteVolume(outer_mass=1e-3),
    "entropic-jko": EntropicJKO(outer_mass=1e-6),
    "muscl": Muscl(outer_mass=1e-4),
    "blob": Blob(),
}
COMPARED = QUANTITIES | {"quantiles": "quantile functions"}

COST = 5.0
CAPTION = "Distances from the first method, and the sum of both bars (grey)."


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"method": method, "scale": 2 if full else 1, "tau": 4.0 if full else 2.0} for method in METHODS]


def measure(method: str, scale: int, tau: float) -> Answer:
    """One method with its bars; scale multiplies the cells along an axis, and particles by its square."""
    settings = METHODS[method]
    Q, law = transformer(settings["sigma"]), initial.gaussian(std=0.6)

    def solve(refined: Mapping[str, int]) -> dict[str, Any]:
        if "cells" in settings:
            box = dict.fromkeys(("theta", "w"), ((-settings["box"], settings["box"]),) * 2)
            rho0: Any = law.on_grid(Q, box, int(scale * settings["cells"] * 2.0 ** refined.get("space", 0)))
        else:
            M, step = settings["M"] * scale**2, refined.get("space", 0)
            rho0 = law.sample(Q, int(M * 2.0**step), 2 + step, kind=settings["kind"])
        h = settings["dtau"] * 2.0 ** -refined.get("tau", 0) / (scale if method == "muscl" else 1)
        seed = 8 + refined.get("tau", 0)
        chosen = SCHEMES.get(method, method)
        shorter = h / 2 if method == "muscl" and "space" in refined else h  # its steps are bound to the cells
        rho = wflow.solve(Q, rho0, (0, tau), scheme=chosen, dtau=shorter, rng=seed, tol=0).measure(-1)
        moments = np.concatenate([m.mean(axis=0) for m in rho.moment(2).values()])
        states = {"risk": Q.risk(rho), "predictions": Q.predict(rho), "moments": moments}
        return states | {"quantiles": quantile_functions(rho)}

    space = Source("space", settings.get("space", 0.5), random="cells" not in settings)
    # Of order 0: noise drawn again.
    return bars(solve, [space, Source("tau", float(settings["order"]), random=method == "langevin")])


def claims(runs: Runs) -> list[Claim]:
    out = []
    for words, rows in _by_sigma(runs).items():
        for quantity, name in COMPARED.items():
            share, apart, names = furthest(rows, quantity)
            statement = f"{words}, {len(rows)} methods: {name} of {names}, {apart:.1e} apart, as a share of their bars"
            out.append(at_most(statement, share, 1.0))
    return out


def findings(runs: Runs) -> list[str]:
    out = []
    for words, rows in _by_sigma(runs).items():
        sharpest = min(rows, key=lambda name: rows[name]["predictions bar"])
        bar = rows[sharpest]["predictions bar"]
        out.append(f"{words}: {sharpest} has the smallest bar of the predictions, {bar:.1e}.")
    return out


def table(runs: Runs) -> list[Table]:
    head = ["method", "risk", "bar: predictions", "second moments", "quantiles", "from space", "from tau", "seconds"]
    out = []
    for words, rows in _by_sigma(runs).items():
        body = []
        for name, a in rows.items():
            risk = f"{float(a['risk']):.6f} +- {a['risk bar']:.1e}"
            parts = [float(a[f"{q} bar"]) for q in ("predictions", "moments", "quantiles")]
            parts += [float(a[f"predictions bar from {source}"]) for source in ("space", "tau")]
            body.append([name, risk, *parts, float(a["took"])])
        out.append(Table(f"Scalar tokens, {words}", head, body))
    return out


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2)
    for axes, (words, rows) in zip(row, _by_sigma(runs).items()):
        (first, base), *rest = rows.items()
        for k, quantity in enumerate(COMPARED):
            places = np.arange(len(rest)) + 0.18 * (k - 1.5)
            allowed = [a[f"{quantity} bar"] + base[f"{quantity} bar"] for _, a in rest]
            axes.bar(places, allowed, width=0.15, bottom=1e-12, color="0.85")
            apart = [rms(a[quantity] - base[quantity]) for _, a in rest]
            axes.plot(places, apart, "o", color=PALETTE[k], markersize=4, label=quantity)
        axes.set_yscale("log")
        axes.set_ylim(1e-6, 1)
        axes.set_xticks(range(len(rest)), [name.replace(", ", ",\n") for name, _ in rest])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(rf"$\{words.replace(' ', '')}$: distance from {first}")
    common_legend(row[1], "outside lower center", ncols=4)
    return drawing


def _by_sigma(runs: Runs) -> dict[str, dict[str, Answer]]:
    """The answers of the methods, with entropy and without."""
    out: dict[str, dict[str, Answer]] = {}
    for sigma in (SIGMA, 0.0):
        some = {case["method"]: a for case, a in runs if METHODS[case["method"]]["sigma"] == sigma}
        out[f"sigma = {sigma:g}"] = some
    return out
