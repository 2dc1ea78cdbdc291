"""Ten schemes for particles without noise: do they agree, and are their bars as large as their errors?

All move the same particles of a Transformer with tokens of dimension three. These solve an ordinary differential
equation, so that an integration of order 5 with tolerances of 1e-12 tells the true errors: every bar must be at least
that, and should not be much more. Particles that share their labels bound the conditional Wasserstein distance of two
schemes from above by their mass-weighted norm.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import wflow
from validation.drawing import common_legend, panels
from validation.flows import random_data
from validation.kernel import flatten, state_of, unflatten
from validation.statistics import rms
from validation.studies.schemes._bars import QUANTITIES, bars, furthest
from validation.study import Answer, Claim, Runs, Table, at_most
from wflow import initial
from wflow.check import Source
from wflow.distances import conditional_w2
from wflow.figures.style import PALETTE

Array = NDArray[np.float64]

#: Steps that make errors of about the same size, and orders.
STEPS = {"euler": (0.01, 1), "heun": (0.05, 2), "bs3": (0.1, 3), "rk4": (0.2, 4), "dopri5": (0.25, 5)}
STEPS |= {"jko": (0.02, 1), "bdf2": (0.05, 2), "midpoint": (0.1, 2), "discrete-gradient": (0.1, 2), "avf": (0.1, 2)}
TAU = 2.0
COMPARED = QUANTITIES | {"particles": "mass-weighted norm of the particles"}

COST = 2.0
CAPTION = "Bars and true errors of the schemes for particles; on the line they are equal."


def cases(full: bool) -> list[dict[str, Any]]:
    return [
        {"scheme": None},
        *({"scheme": name, "dtau": dtau, "order": order} for name, (dtau, order) in STEPS.items()),
    ]


def measure(scheme: str | None, dtau: float = 0.0, order: int = 0) -> Answer:
    """One scheme in fixed steps, with its bars; or the trajectory to twelve digits (None)."""
    Q, rho0 = _transformer()
    save = wflow.SaveAt(every=TAU / 4)
    if scheme is None:
        return _states(Q, wflow.solve(Q, rho0, (0, TAU), rtol=1e-12, atol=1e-12, save=save))

    def solve(refined: Mapping[str, int]) -> dict[str, Any]:
        h = dtau * 2.0 ** -refined.get("tau", 0)
        return _states(Q, wflow.solve(Q, rho0, (0, TAU), scheme=scheme, dtau=h, tol=0, save=save))

    return bars(solve, [Source("tau", float(order))])


def claims(runs: Runs) -> list[Claim]:
    rows, truth, out = _by_scheme(runs), runs.one(scheme=None), []
    for quantity, name in COMPARED.items():
        share, apart, names = furthest(rows, quantity)
        statement = f"one cloud, 10 schemes: {name} of {names}, {apart:.1e} apart, as a share of their bars"
        out.append(at_most(statement, share, 1.0))
    for scheme, a in rows.items():
        shares = {q: rms(a[q] - truth[q]) / a[f"{q} bar"] for q in COMPARED}
        worst = max(shares, key=lambda q: shares[q])
        out.append(at_most(f"{scheme}: true error as a share of its bar ({COMPARED[worst]})", shares[worst], 1.0))
        # The bar is 1.25 times the estimate: far more than that is a bar that says nothing.
        out.append(at_most(f"{scheme}: bar of the particles over the true error", 1 / shares["particles"], 4.0))
    return [*out, _distances(rows)]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> Table:
    body, truth = [], runs.one(scheme=None)
    for scheme, a in _by_scheme(runs).items():
        errors = [rms(a["particles"] - truth["particles"]), float(a["particles bar"]), float(a["particles order"])]
        body.append([scheme, STEPS[scheme][0], *errors, float(a["risk bar"]), float(a["took"])])
    head = ["scheme", "step", "error of the particles", "bar", "observed order", "bar of the risk", "seconds"]
    return Table("One cloud: true errors and bars, along the run", head, body)


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2)
    titles = {"particles": "particles (mass-weighted norm)", "predictions": "predictions"}
    truth = runs.one(scheme=None)
    for axes, (quantity, title) in zip(row, titles.items()):
        for k, (scheme, a) in enumerate(_by_scheme(runs).items()):
            style = {"color": PALETTE[k % 5], "marker": "os"[k // 5], "linestyle": "none", "markersize": 4}
            axes.loglog(rms(a[quantity] - truth[quantity]), a[f"{quantity} bar"], label=scheme, **style)
        line = np.array(axes.get_xlim())
        axes.loglog(line, line, color="0.6", linewidth=0.8)
        axes.set(title=title, xlabel="true error")
    row[0].set_ylabel("claimed bar")
    common_legend(row[0], "outside right center")
    return drawing


def _transformer() -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """The objective, and where its particles start."""
    rng = np.random.default_rng(11)
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh", 1, True)
    Q = wflow.TransformerObjective(random_data(rng, 8, 3, 4), *encoders, weight_decay=0.05, layers=3)
    return Q, initial.gaussian(std=0.7).sample(Q, 6, 3)


def _states(Q: wflow.TransformerObjective, answer: wflow.Solution) -> dict[str, Any]:
    """All that is compared, along the run: particles so that their root mean square is the mass-weighted norm."""
    frames = [answer.measure(i) for i in range(1, answer.n_frames)]
    particles = np.array([flatten(state_of(rho.blocks)) for rho in frames])
    return {
        "risk": np.array([Q.risk(rho) for rho in frames]),
        "predictions": np.array([Q.predict(rho) for rho in frames]),
        "moments": np.array([np.concatenate([m.mean(axis=0) for m in rho.moment(2).values()]) for rho in frames]),
        "particles": np.sqrt(particles.shape[1]) * particles,
    }


def _by_scheme(runs: Runs) -> dict[str, Answer]:
    """The answers of the schemes."""
    return {case["scheme"]: answer for case, answer in runs if case["scheme"]}


def _distances(rows: Mapping[str, Answer]) -> Claim:
    """Wasserstein distances are at most those of the particles."""
    _, rho0 = _transformer()
    ends = {}
    for scheme, a in rows.items():
        state = unflatten(a["particles"][-1] / np.sqrt(a["particles"].shape[1]), state_of(rho0.blocks))
        ends[scheme] = rho0.replace(**{block: x for block, x in zip(rho0.blocks, state) if x is not None})
    exceed, most = 0.0, (0.0, "")
    for one, other in itertools.combinations(rows, 2):
        d = conditional_w2(ends[one], ends[other])
        bound = rms(rows[one]["particles"][-1] - rows[other]["particles"][-1])
        exceed, most = max(exceed, d / bound), max(most, (d, f"{one} and {other}"))
    words = f"{most[1]}: {most[0]:.1e}"
    statement = f"conditional W2 of the clouds at the end over their mass-weighted distance, all pairs ({words})"
    return at_most(statement, exceed, 1 + 1e-9)
