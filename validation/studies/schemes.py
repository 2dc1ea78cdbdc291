"""Schemes: the same Transformer by all of them, and whether they agree within their error bars.

Where no exact solution is known, schemes that share nothing but the equation check one another. Every one of them is
run at its resolution, refined and coarsened by two in each source of error (steps; cells or particles), and
wflow.check.error_bars turns the differences into a bar for every quantity: risk, predictions, second moments of all
parameters, particles or quantile functions. Two schemes must not differ by more than the sum of their bars.

First the ten schemes for particles without noise, on the same particles of a Transformer with tokens of dimension
three. Its particles solve an ordinary differential equation, so that an integration of order 5 with tolerances of
1e-12 tells the true errors: every bar must be at least that, and should not be much more. Particles that share their
labels bound the conditional Wasserstein distance of two schemes from above by their mass-weighted norm.

Then a Transformer of scalar tokens, where heads and neurons have two parameters each. With entropy sigma densities on
grids (kernel, finite volumes, regularised JKO steps), noise (Langevin) and smoothed densities of particles (blob) solve
it; without, characteristics (rk4), JKO steps, MUSCL and upwind finite volumes. Distributions are compared by the
quantile functions of the single parameters, whose L2 distance is the Wasserstein distance of the marginals.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import wflow
from validation.drawing import common_legend, panels
from validation.flows import random_data
from validation.statistics import rms
from validation.study import Answers, Claim, Job, Outcome, Table, at_most
from wflow import initial
from wflow.check import Report, Source, error_bars
from wflow.distances import conditional_w2
from wflow.figures.style import PALETTE
from wflow.schemes import Blob, EntropicJKO, FiniteVolume, Kernel, Muscl

Array = np.ndarray[Any, Any]
Solve = Callable[[Mapping[str, int]], dict[str, Any]]

#: Steps that make errors of about the same size, and orders.
STEPS = {"euler": (0.01, 1), "heun": (0.05, 2), "bs3": (0.1, 3), "rk4": (0.2, 4), "dopri5": (0.25, 5)}
STEPS |= {"jko": (0.02, 1), "bdf2": (0.05, 2), "midpoint": (0.1, 2), "discrete-gradient": (0.1, 2), "avf": (0.1, 2)}
TAU = 2.0
QUANTITIES = {"risk": "risk", "predictions": "predictions", "moments": "second moments"}
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


def _bars(solve: Solve, sources: list[Source]) -> tuple[Report, dict[str, Any]]:
    """The report, and an answer with values and bars of all quantities, and the observed orders in tau."""
    began = time.perf_counter()
    report = error_bars(solve, sources)
    out: dict[str, Any] = {"took": time.perf_counter() - began}
    for name, value in report.values.items():
        out |= {name: np.asarray(value), f"{name} bar": report.error(name)}
        out |= {f"{name} bar from {source}": bar.error for source, bar in report.bars[name].items()}
        order = report.bars[name]["tau"].order
        out[f"{name} order"] = np.nan if order is None else order
    return report, out


# One cloud, all schemes for particles


def _transformer() -> tuple[wflow.TransformerObjective, wflow.Particles]:
    rng = np.random.default_rng(11)
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh", 1, True)
    Q = wflow.TransformerObjective(random_data(rng, 8, 3, 4), *encoders, weight_decay=0.05, layers=3)
    return Q, initial.gaussian(std=0.7).sample(Q, 6, 3)


def _states(Q: wflow.TransformerObjective, answer: wflow.Solution) -> dict[str, Any]:
    """All that is compared, along the run: particles so that their root mean square is the mass-weighted norm."""
    frames = [answer.measure(i) for i in range(1, answer.n_frames)]
    width = np.sqrt(sum(Q.n_parameters.values()))
    return {
        "risk": np.array([Q.risk(rho) for rho in frames]),
        "predictions": np.array([Q.predict(rho) for rho in frames]),
        "moments": np.array([np.concatenate([m.mean(axis=0) for m in rho.moment(2).values()]) for rho in frames]),
        "particles": width * np.array([np.concatenate([x.ravel() for x in rho.blocks.values()]) for rho in frames]),
    }


def one_cloud(scheme: str, dtau: float, order: int) -> dict[str, Any]:
    """One scheme in fixed steps, with its bars."""
    Q, rho0 = _transformer()

    def solve(refined: Mapping[str, int]) -> dict[str, Any]:
        h, save = dtau * 2.0 ** -refined.get("tau", 0), wflow.SaveAt(every=TAU / 4)
        return _states(Q, wflow.solve(Q, rho0, (0, TAU), scheme=scheme, dtau=h, tol=0, save=save))

    return _bars(solve, [Source("tau", float(order))])[1]


def true_cloud() -> dict[str, Any]:
    """The same trajectory to twelve digits."""
    Q, rho0 = _transformer()
    return _states(Q, wflow.solve(Q, rho0, (0, TAU), rtol=1e-12, atol=1e-12, save=wflow.SaveAt(every=TAU / 4)))


# Scalar tokens, densities and clouds


def _scalar_transformer(sigma: float) -> wflow.TransformerObjective:
    """Eight prompts of three numbers, labelled by a Transformer with one head and one neuron."""
    tokens = np.random.default_rng(0).standard_normal((8, 1, 3))
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    teacher = wflow.TransformerObjective(wflow.Dataset(tokens, np.zeros(8)), *encoders, layers=1)
    data = wflow.Dataset(tokens, teacher.predict(wflow.Particles(theta=[[2.0, 1.0]], w=[[1.5, -2.0]])))
    return wflow.TransformerObjective(data, *encoders, weight_decay=0.2, entropy=sigma, layers=2)


def _quantile_functions(rho: Any) -> Array:
    """Of all parameters in all layers, at 40 levels: between cells, densities are linear in their masses."""
    levels, out = (np.arange(40) + 0.5) / 40, []
    for block in ("theta", "w"):
        for l, axis in itertools.product(range(rho.n_slices), range(2)):
            if isinstance(rho, wflow.Grid):
                (lo, hi), dx = rho.box[block][axis], rho.spacing(block)[axis]
                mass = np.append(0.0, np.cumsum(rho.marginal(block, axis)[l]) * dx)
                rising = np.append(True, np.diff(mass) > 1e-15)
                out.append(np.interp(levels, mass[rising], np.linspace(lo, hi, len(mass))[rising]))
            else:
                x = np.sort(rho.points(block)[l, :, axis])
                out.append(np.interp(levels, (np.arange(len(x)) + 0.5) / len(x), x))
    return np.array(out)


def densities(method: str, scale: int, tau: float) -> dict[str, Any]:
    """One method with its bars; scale multiplies the cells along an axis, and particles by its square."""
    settings = METHODS[method]
    Q, law = _scalar_transformer(settings["sigma"]), initial.gaussian(std=0.6)

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
        return states | {"quantiles": _quantile_functions(rho)}

    space = Source("space", settings.get("space", 0.5), random="cells" not in settings)
    # Of order 0: noise drawn again.
    return _bars(solve, [space, Source("tau", float(settings["order"]), random=method == "langevin")])[1]


# The study


def jobs(full: bool) -> list[Job]:
    """Every scheme with its bars, on both Transformers."""
    out = [Job(true_cloud)]
    for scheme, (dtau, order) in STEPS.items():
        out.append(Job(one_cloud, {"scheme": scheme, "dtau": dtau, "order": order}, 2.0))
    for method in METHODS:
        out.append(Job(densities, {"method": method, "scale": 2 if full else 1, "tau": 4.0 if full else 2.0}, 5.0))
    return out


def _pairs(rows: Mapping[str, Mapping[str, Any]], quantity: str) -> list[tuple[float, float, float, str]]:
    """(share of the allowed, distance, allowed, names) of all pairs of schemes."""
    out = []
    for (a, x), (b, y) in itertools.combinations(rows.items(), 2):
        apart, allowed = rms(x[quantity] - y[quantity]), x[f"{quantity} bar"] + y[f"{quantity} bar"]
        out.append((apart / allowed, apart, allowed, f"{a} and {b}"))
    return out


def report(answers: Answers, full: bool) -> Outcome:
    """Claims, tables and figures."""
    claims: list[Claim] = []
    clouds = {x["scheme"]: a for x, a in answers.of(one_cloud)}
    tables = [_cloud_claims(clouds, answers.one(true_cloud), claims)]
    findings = []
    for sigma in (SIGMA, 0.0):
        rows = {g["method"]: a for g, a in answers.of(densities) if METHODS[g["method"]]["sigma"] == sigma}
        words = f"sigma = {sigma:g}"
        for quantity, name in (QUANTITIES | {"quantiles": "quantile functions"}).items():
            share, apart, _, names = max(_pairs(rows, quantity))
            statement = f"{words}, {len(rows)} methods: {name} of {names}, {apart:.1e} apart, as a share of their bars"
            claims.append(at_most(statement, share, 1.0))
        tables.append(_density_table(words, rows))
        sharpest = min(rows, key=lambda name: rows[name]["predictions bar"])
        findings.append(
            f"{words}: {sharpest} has the smallest bar of the predictions, {rows[sharpest]['predictions bar']:.1e}."
        )
    of_clouds, of_densities = _cloud_figure(clouds, answers.one(true_cloud)), _density_figure(answers)
    figures = {
        "clouds": (of_clouds, "Bars and true errors of the schemes for particles."),
        "densities": (of_densities, "Distances from the first method, and the sum of both bars (grey)."),
    }
    return Outcome(claims, findings, tables, figures)


def _cloud_claims(rows: Mapping[str, Mapping[str, Any]], truth: Mapping[str, Any], claims: list[Claim]) -> Table:
    quantities = QUANTITIES | {"particles": "mass-weighted norm of the particles"}
    for quantity, name in quantities.items():
        share, apart, _, names = max(_pairs(rows, quantity))
        statement = f"one cloud, 10 schemes: {name} of {names}, {apart:.1e} apart, as a share of their bars"
        claims.append(at_most(statement, share, 1.0))
    for scheme, a in rows.items():
        shares = {q: rms(a[q] - truth[q]) / a[f"{q} bar"] for q in quantities}
        worst = max(shares, key=lambda q: shares[q])
        claims.append(at_most(f"{scheme}: true error as a share of its bar ({quantities[worst]})", shares[worst], 1.0))
        # The bar is 1.25 times the estimate: far more than that is a bar that says nothing.
        claims.append(at_most(f"{scheme}: bar of the particles over the true error", 1 / shares["particles"], 4.0))
    Q, rho0 = _transformer()
    ends = {scheme: _measure(Q, rho0, a["particles"][-1]) for scheme, a in rows.items()}
    exceed, furthest = 0.0, (0.0, "")
    for one, other in itertools.combinations(rows, 2):
        d = conditional_w2(ends[one], ends[other])
        bound = rms(rows[one]["particles"][-1] - rows[other]["particles"][-1])
        exceed, furthest = max(exceed, d / bound), max(furthest, (d, f"{one} and {other}"))
    words = f"{furthest[1]}: {furthest[0]:.1e}"
    statement = f"conditional W2 of the clouds at the end over their mass-weighted distance, all pairs ({words})"
    claims.append(at_most(statement, exceed, 1 + 1e-9))
    body = []
    for scheme, a in rows.items():
        errors = [rms(a["particles"] - truth["particles"]), float(a["particles bar"]), float(a["particles order"])]
        body.append([scheme, STEPS[scheme][0], *errors, float(a["risk bar"]), float(a["took"])])
    head = ["scheme", "step", "error of the particles", "bar", "observed order", "bar of the risk", "seconds"]
    return Table("One cloud: true errors and bars, along the run", head, body)


def _measure(Q: wflow.TransformerObjective, rho0: wflow.Particles, flat: Array) -> wflow.Particles:
    """Particles from the vector of a state."""
    x, blocks, start = flat / np.sqrt(sum(Q.n_parameters.values())), {}, 0
    for name, like in rho0.blocks.items():
        blocks[name] = x[start : start + like.size].reshape(like.shape)
        start += like.size
    return rho0.replace(**blocks)


def _density_table(words: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    body = []
    for name, a in rows.items():
        risk = f"{float(a['risk']):.6f} +- {a['risk bar']:.1e}"
        bars = [float(a[f"{q} bar"]) for q in ("predictions", "moments", "quantiles")]
        parts = [float(a[f"predictions bar from {source}"]) for source in ("space", "tau")]
        body.append([name, risk, *bars, *parts, float(a["took"])])
    head = ["method", "risk", "bar: predictions", "second moments", "quantiles", "from space", "from tau", "seconds"]
    return Table(f"Scalar tokens, {words}", head, body)


def _cloud_figure(rows: Mapping[str, Mapping[str, Any]], truth: Mapping[str, Any]) -> Figure:
    figure, row = panels(2)
    titles = {"particles": "particles (mass-weighted norm)", "predictions": "predictions"}
    for axes, (quantity, title) in zip(row, titles.items()):
        for k, (scheme, a) in enumerate(rows.items()):
            style = {"color": PALETTE[k % 5], "marker": "os"[k // 5], "linestyle": "none", "markersize": 4}
            axes.loglog(rms(a[quantity] - truth[quantity]), a[f"{quantity} bar"], label=scheme, **style)
        line = np.array(axes.get_xlim())
        axes.loglog(line, line, color="0.6", linewidth=0.8)
        axes.set(title=title, xlabel="true error")
    row[0].set_ylabel("claimed bar")
    common_legend(row[0], "outside right center")
    return figure


def _density_figure(answers: Answers) -> Figure:
    figure, row = panels(2)
    for axes, sigma in zip(row, (SIGMA, 0.0)):
        rows = {g["method"]: a for g, a in answers.of(densities) if METHODS[g["method"]]["sigma"] == sigma}
        (first, base), *rest = rows.items()
        for k, quantity in enumerate([*QUANTITIES, "quantiles"]):
            places = np.arange(len(rest)) + 0.18 * (k - 1.5)
            bars = [a[f"{quantity} bar"] + base[f"{quantity} bar"] for _, a in rest]
            axes.bar(places, bars, width=0.15, bottom=1e-12, color="0.85")
            apart = [rms(a[quantity] - base[quantity]) for _, a in rest]
            axes.plot(places, apart, "o", color=PALETTE[k], markersize=4, label=quantity)
        axes.set_yscale("log")
        axes.set_ylim(1e-6, 1)
        axes.set_xticks(range(len(rest)), [name.replace(", ", ",\n") for name, _ in rest])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(rf"$\sigma={sigma:g}$: distance from {first}")
    common_legend(row[1], "outside lower center", ncols=4)
    return figure
