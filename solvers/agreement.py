r"""
Agreement: one Transformer, three discretisations
=================================================

A Transformer whose tokens are numbers has two parameters a head, :math:`f(T) = V\,T\,\mathrm{softmax}(T^\top W T)`, and
two a neuron, :math:`h(T) = W_2 \tanh(W_1 T)`. Its flow is a pair of densities in the plane for every layer. With noise
(entropy :math:`\sigma`) the kernel scheme, finite volumes and Langevin particles solve it; without, particles along
characteristics, MUSCL and JKO steps. They share nothing but the equation: that they agree within their error bars is
evidence for all of them.

.. code-block:: sh

   python solvers/agreement.py -o agreement.pdf

It prints two tables and takes some minutes; with ``--size 0.5`` it takes seconds. The exit code is 1 if two methods
differ by more than their error bars, those of ``wflow check`` for cells, particles and steps, allow.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from wflow import figures, initial
from wflow.check import Report, Source, error_bars
from wflow.figures.style import PALETTE, style
from wflow.schemes import FiniteVolume, Kernel, Muscl

LAW = initial.gaussian(std=0.6)


def arguments() -> argparse.Namespace:
    """What can be changed from the command line."""
    parser = argparse.ArgumentParser(description="One Transformer, three discretisations.")
    parser.add_argument("-o", "--output", type=Path, default=Path("agreement.pdf"), help="the figure to write")
    parser.add_argument("--tau-end", type=float, default=10.0, help="training time")
    parser.add_argument("--size", type=float, default=1.0, help="scales cells along an axis; particles by its square")
    return parser.parse_args()


def problem(sigma: float) -> wflow.TransformerObjective:
    """Eight prompts of three numbers, labelled by a Transformer with one head and one neuron."""
    tokens = np.random.default_rng(0).standard_normal((8, 1, 3))
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    teacher = wflow.TransformerObjective(wflow.Dataset(tokens, np.zeros(8)), *encoders, layers=1)
    labels = teacher.predict(wflow.Particles(theta=[[2.0, 1.0]], w=[[1.5, -2.0]]))
    data = wflow.Dataset(tokens, labels, name="scalar tokens")
    return wflow.TransformerObjective(data, *encoders, weight_decay=0.05, entropy=sigma, layers=2)


def methods(sigma: float, size: float) -> dict[str, dict[str, Any]]:
    """Three methods for the flow with or without noise: a scheme, its step, and cells or particles."""
    cells, M = 4 * round(12 * size), 4 * round(256 * size**2)
    if sigma:
        return {
            "kernel": {"scheme": Kernel(outer_mass=1e-6), "dtau": 0.25, "box": 6.0, "cells": cells},
            "finite volumes": {"scheme": FiniteVolume(outer_mass=1e-6), "dtau": 0.25, "box": 6.0, "cells": cells},
            "Langevin": {"scheme": "langevin", "dtau": 0.1, "M": M, "kind": "iid"},
        }
    return {
        "particles": {"scheme": "rk4", "dtau": 0.5, "M": M, "kind": "net"},
        "MUSCL": {"scheme": Muscl(outer_mass=1e-6), "dtau": 0.04, "box": 4.0, "cells": cells},
        "JKO": {"scheme": "jko", "dtau": 0.1, "M": M // 2, "kind": "net"},
    }


def solver(Q: wflow.TransformerObjective, tau_end: float, kept: dict[str, Any], **method: Any) -> Callable[..., Any]:
    """A function that solves by one method, refined or coarsened (see :func:`wflow.check.error_bars`)."""

    def solve(refined: Mapping[str, int]) -> dict[str, Any]:
        if "cells" in method:
            box = dict.fromkeys(("theta", "w"), ((-method["box"], method["box"]),) * 2)
            rho0: Any = LAW.on_grid(Q, box, int(method["cells"] * 2.0 ** refined.get("grid", 0)))
        else:
            step = refined.get("width", 0)
            rho0 = LAW.sample(Q, int(method["M"] * 2.0**step), 2 + step, kind=method["kind"])
        dtau = method["dtau"] * 2.0 ** -refined.get("tau", 0)
        seed = 8 + refined.get("tau", 0)
        solution = wflow.solve(Q, rho0, (0, tau_end), scheme=method["scheme"], dtau=dtau, rng=seed)
        if not refined:
            kept["solution"] = solution
        end = solution.measure(-1)
        second = np.concatenate([m.mean(axis=0) for m in end.moment(2).values()])
        outcome = {"moments": second, "densities": distributions(end), "predictions": Q.predict(end)}
        return {"risk": float(solution.risk[-1]), **outcome}

    return solve


def distributions(rho: Any) -> np.ndarray:
    """The distribution functions of all parameters in all layers, at 25 places."""
    places, values = np.linspace(-2, 2, 25), []
    for block in ("theta", "w"):
        for l, axis in itertools.product(range(rho.n_slices), range(2)):
            if isinstance(rho, wflow.Grid):
                (lo, hi), dx = rho.box[block][axis], rho.spacing(block)[axis]
                mass = np.cumsum(rho.marginal(block, axis)[l]) * dx
                values.append(np.interp(places, np.linspace(lo, hi, len(mass) + 1), [0.0, *mass]))
            else:
                values.append(np.mean(rho.points(block)[l, :, axis, None] <= places, axis=0))
    return np.array(values)


def bars(name: str, method: Mapping[str, Any], solve: Callable[..., Any]) -> Report:
    """The error bars of a method: from cells or particles, and from steps."""
    spectral = name == "kernel"  # on a density of a few cells a standard deviation, grids hardly matter
    space = Source("grid", 4.0 if spectral else 2.0) if "cells" in method else Source("width", 0.5, random=True)
    order = {"kernel": 4.0, "particles": 4.0, "Langevin": 0.0, "JKO": 1.0}.get(name, 2.0)  # 0: noise drawn again
    return error_bars(solve, [space, Source("tau", order, random=name == "Langevin")])


def compare(sigma: float, options: argparse.Namespace) -> tuple[dict[str, wflow.Solution], bool]:
    """Solve by three methods, print the table, and say whether they agree."""
    Q, solutions, reports = problem(sigma), {}, {}
    print(
        f"\nsigma = {sigma:g}, tau = {options.tau_end:g}; the others: how far from the first, rms (what the bars allow)"
    )
    print(f"  {'':15} {'risk':23} {'second moments':19} {'distributions':19} predictions")
    agree = True
    for name, method in methods(sigma, options.size).items():
        kept: dict[str, Any] = {}
        began = time.perf_counter()
        report = reports[name] = bars(name, method, solver(Q, options.tau_end, kept, **method))
        seconds = time.perf_counter() - began
        solutions[name] = kept["solution"]
        first, cells = next(iter(reports.values())), []
        for quantity in ("moments", "densities", "predictions"):
            apart = float(np.sqrt(np.mean((report.values[quantity] - first.values[quantity]) ** 2)))
            allowed = report.error(quantity) + first.error(quantity)
            agree = agree and (report is first or apart <= allowed)
            cells.append(f"{apart:.1e} ({allowed:.1e})" if report is not first else f"        ({allowed / 2:.1e})")
        risk = f"{report.values['risk']:.7f} +- {report.error('risk'):.1e}"
        print(f"  {name:15} {risk:23}", *(f"{cell:19}" for cell in cells), f"{seconds:6.1f} s")
    return solutions, agree


def draw(rows: Mapping[float, Mapping[str, wflow.Solution]]) -> Figure:
    """For each sigma: particles over the density of the heads, the distribution of V by all methods, and the risk."""
    figure = Figure(figsize=(6.9, 2.3 * len(rows)), layout="constrained")
    for axes, (sigma, solutions) in zip(figure.subplots(len(rows), 3), rows.items()):
        ends = [solution.measure(-1) for solution in solutions.values()]
        grid = next(rho for rho in ends if isinstance(rho, wflow.Grid))
        cloud = next(rho for rho in ends if isinstance(rho, wflow.Particles))
        axes[0].pcolormesh(*grid.axes("theta"), grid.theta[0].T, cmap="Blues", rasterized=True)
        axes[0].plot(*cloud.theta[0, :400].T, ".", color=PALETTE[1], markersize=1.2)
        axes[0].set(xlabel="$V$", ylabel="$W$", xlim=(-2, 4), ylim=(-3, 3))
        axes[0].set_title(rf"heads of layer 1, $\sigma={sigma:g}$")
        for (name, solution), colour, dash in zip(solutions.items(), PALETTE, ("-", "--", ":")):
            rho = solution.measure(-1)
            if isinstance(rho, wflow.Grid):
                dx = rho.spacing("theta")[0]
                x, mass = rho.axes("theta")[0] + 0.5 * dx, np.cumsum(rho.marginal("theta", 0)[0]) * dx
            else:
                x, mass = np.sort(rho.theta[0, :, 0]), (np.arange(rho.theta.shape[1]) + 0.5) / rho.theta.shape[1]
            axes[1].plot(x, mass, dash, color=colour, label=name)
            axes[2].plot(solution.tau, solution.risk, dash, color=colour, label=name)
        axes[1].set(xlabel="$V$", ylabel="distribution function", xlim=(-2, 4))
        axes[2].set(xlabel=r"$\tau$", ylabel="risk $R$")
        axes[2].legend()
    return figure


def main() -> int:
    """Compare with noise and without."""
    options = arguments()
    rows, agree = {}, True
    for sigma in (0.05, 0.0):
        rows[sigma], within = compare(sigma, options)
        agree = agree and within
    with style():
        figures.save(draw(rows), options.output)
    print("\nAll methods agree within their error bars." if agree else "\nSome methods differ by more than their bars.")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
