"""Does every scheme for densities have its order on every flow that is known?

Ornstein-Uhlenbeck in one and two dimensions, the heat equation, the porous medium equation, a double well without
noise; and constant encoders with entropy sigma: there the mean is that without noise and the variance relaxes,

    v(tau) = sigma/lambda + (v(0) - sigma/lambda) e^(-2 lambda tau)

Measured: the error in L1 at the end for cells and steps that are refined together, by its order in the number of
steps, and the mass of every slice, which may not change. Densities in kinks, and peaks that the limiter of MUSCL
flattens, cost some of the order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import common_legend, line_of, panels
from validation.flows import DENSITIES
from validation.studies.exact._errors import order
from validation.study import Answer, Claim, Runs, Table, at_most, within
from wflow import schemes

COST = 0.8
CAPTION = "Ornstein-Uhlenbeck densities: the error in L1 against evaluations of the first variation, and against steps."

#: flow, scheme, options, (cells, steps) from coarse to fine, the order in the number of steps and how near to it.
REFINED: list[tuple[str, str, dict[str, Any], list[tuple[int, int]], float, float]] = [
    ("Ornstein-Uhlenbeck", "kernel", {"levels": 1}, [(120, 40), (120, 80), (120, 160)], 1, 0.15),
    ("Ornstein-Uhlenbeck", "kernel", {"levels": 2}, [(120, 20), (120, 40), (120, 80)], 2, 0.15),
    ("Ornstein-Uhlenbeck", "kernel", {"levels": 3}, [(120, 12), (120, 24), (120, 48)], 3, 0.15),
    ("Ornstein-Uhlenbeck", "kernel", {"levels": 4}, [(120, 5), (120, 10), (120, 20)], 4, 0.15),
    ("Ornstein-Uhlenbeck", "finite-volume", {}, [(60, 25), (120, 50), (240, 100)], 2, 0.15),
    ("Ornstein-Uhlenbeck", "finite-volume", {"extrapolate": False}, [(60, 25), (120, 100), (240, 400)], 1, 0.15),
    ("Ornstein-Uhlenbeck", "entropic-jko", {}, [(120, 10), (120, 20), (120, 40)], 1, 0.15),
    ("Ornstein-Uhlenbeck, 2-D", "kernel", {"levels": 2}, [(64, 20), (64, 40)], 2, 0.15),
    ("oblong plane, noise", "kernel", {"levels": 2}, [(64, 10), (64, 20)], 2, 0.15),
    ("oblong plane, noise", "finite-volume", {}, [(48, 10), (96, 20)], 2, 0.15),
    ("oblong plane, noise", "entropic-jko", {}, [(96, 4), (96, 8)], 1, 0.15),
    ("oblong plane", "muscl", {}, [(64, 80), (128, 160)], 2, 0.3),
    ("heat kernel", "finite-volume", {}, [(80, 25), (160, 50), (320, 100)], 2, 0.15),
    ("constant encoders, noise", "kernel", {"levels": 2}, [(120, 10), (120, 20), (120, 40)], 2, 0.15),
    ("constant encoders, noise", "finite-volume", {}, [(60, 20), (120, 40), (240, 80)], 2, 0.15),
    ("constant encoders, noise", "entropic-jko", {}, [(120, 5), (120, 10), (120, 20)], 1, 0.15),
    ("constant encoders", "muscl", {}, [(120, 90), (240, 180), (480, 360)], 2, 0.2),
    ("double well", "muscl", {}, [(128, 700), (256, 1400)], 1.9, 0.15),
    ("Barenblatt", "muscl", {}, [(30, 100), (60, 400), (120, 1600)], 1, 0.15),
]


def cases(full: bool) -> list[dict[str, Any]]:
    out = []
    for flow, scheme, options, sizes, p, _ in REFINED:
        (cells, steps), (finer, more_steps) = sizes[-2:]
        finest = [(finer * finer // cells, more_steps * more_steps // steps)]
        # At orders 3 and 4 the error of the steps soon reaches that of the grid; entropic-jko wants cells below
        # sqrt(h gamma).
        further = full and p < 3 and flow != "Barenblatt" and scheme != "entropic-jko"
        more = sizes + finest if further else sizes
        out.append({"flow": flow, "scheme": scheme, "options": options, "sizes": more})
    return [*out, {"flow": "heat kernel", "scheme": "kernel", "options": {}, "sizes": [(160, 1), (160, 2)]}]


def measure(flow: str, scheme: str, options: Mapping[str, Any], sizes: Sequence[tuple[int, int]]) -> Answer:
    """The errors in L1, summed over blocks and averaged over depth, for numbers of cells and steps."""
    errors, evaluations, seconds, masses = [], [], [], 0.0
    for cells, steps in sizes:
        Q, rho0, exact, tau = DENSITIES[flow](cells)
        began = time.perf_counter()
        chosen = schemes.scheme_of(scheme, outer_mass=1e-4, **options)
        answer = wflow.solve(Q, rho0, (0, tau), scheme=chosen, dtau=tau / steps, tol=0)
        seconds.append(time.perf_counter() - began)
        evaluations.append(answer.stats["evaluations"])
        rho, (name,) = answer.measure(-1), rho0.blocks
        gaps = np.abs(rho.weights(name) - exact.weights(name)).reshape(rho.n_slices, -1).sum(axis=1)
        errors.append(float(rho.depth_weights @ gaps))
        masses = max(masses, float(np.abs(rho.weights(name).reshape(rho.n_slices, -1).sum(axis=1) - 1).max()))
    series = {"errors": errors, "evaluations": evaluations, "seconds_each": seconds}
    return {k: np.array(v) for k, v in series.items()} | {"masses": masses}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for (case, a), (flow, *_, p, tolerance) in zip(runs, REFINED):
        out.append(within(f"order of {_words(case)} on {flow}", _order(case, a), p, tolerance))
    masses = max(a["masses"] for _, a in runs[: len(REFINED)])
    out.append(at_most("largest change of the mass of a slice, all densities", masses, 1e-12))
    exact = runs.one(flow="heat kernel", scheme="kernel")
    return [*out, at_most("kernel on the heat kernel is exact: error in L1", float(exact["errors"].max()), 1e-9)]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> Table:
    rows = []
    for case, a in runs[: len(REFINED)]:
        (cells, steps), error = case["sizes"][-1], float(a["errors"][-1])
        cost = [int(a["evaluations"][-1]), float(a["seconds_each"][-1])]
        rows.append([case["flow"], _words(case), cells, steps, error, _order(case, a), *cost])
    head = ["flow", "scheme", "cells", "steps", "error in L1", "order", "evaluations", "seconds"]
    return Table("Densities: errors for the finest grid and step", head, rows)


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2, 2.9, sharey=True)
    orders = [p for flow, *_, p, _ in REFINED if flow == "Ornstein-Uhlenbeck"]
    for k, ((case, a), p) in enumerate(zip(runs.of(flow="Ornstein-Uhlenbeck"), orders)):
        steps = [n for _, n in case["sizes"]]
        for axes, x in zip(row, (a["evaluations"], steps)):
            axes.loglog(x, a["errors"], label=f"{case['scheme']}, order {p}", **line_of(k, marker="o"))
    row[0].set(xlabel="evaluations of $dQ/d\\rho$", ylabel=r"error in $L^1$")
    row[1].set(xlabel="steps")
    common_legend(row[0], "outside right center")
    return drawing


def _words(case: Mapping[str, Any]) -> str:
    return " ".join([case["scheme"], *(f"{name}={value}" for name, value in case["options"].items())])


def _order(case: Mapping[str, Any], a: Mapping[str, Any]) -> float:
    return order(a["errors"], [steps for _, steps in case["sizes"]])
