"""Does the risk of Transformers without homogeneous encoders fall as far as that of others?

All are trained for the same time from the same law of particles, on two or three sets of prompts. The risk at the end
is told as a share of that at the start, and as the power with which it still falls,

    R ~ tau^p  over the second half of the time.

The theorem says of homogeneous encoders that a flow that converges ends at the least risk; of others it says nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import dots, panels
from validation.statistics import geometric_mean
from validation.studies.homogeneity._encoders import ALONE, HOMOGENEOUS, SIZES, transformer
from validation.studies.homogeneity._ends import by_name, ends, late_power, percent
from validation.studies.homogeneity._task import LAYERS, PROMPTS, floor, prompts, reach
from validation.study import Answer, Claim, Runs, Table, at_most
from wflow.controllers import Fixed
from wflow.figures.style import DASHES, PALETTE

CAPTION = (
    "Left: the risk along training, geometric means over seeds; thin grey lines are the other activations. Right: at "
    "the end, by seed; ticks are the known bounds from below."
)
#: Steps where kinks of relu would hold up adaptive ones: below the limit of stability.
STEPS = {"relu": 0.25, "linear attention": 0.25}
#: Who has a line of its own.
NAMED = ("tanh", "relu", "linear attention", *SIZES, ALONE)


def COST(name: str, tau: float, **case: Any) -> float:
    """Fixed steps take longer."""
    return tau / (20 if name in STEPS else 60)


def cases(full: bool) -> list[dict[str, Any]]:
    tau, seeds = (400.0, 3) if full else (200.0, 2)
    names = (*HOMOGENEOUS, *SIZES, ALONE)
    return [{"name": name, "tau": tau, "M": 16, "seed": seed} for name, seed in itertools.product(names, range(seeds))]


def measure(name: str, tau: float, M: int, seed: int) -> Answer:
    """The risk along training, and the known bounds from below."""
    data = prompts(PROMPTS, seed)
    Q = wflow.TransformerObjective(data, *transformer(name), weight_decay=1e-3, layers=LAYERS)
    rho0 = wflow.initial.gaussian(std=0.5).sample(Q, M, rng=seed)
    method: dict[str, Any] = {"scheme": "bs3", "rtol": 1e-3}
    if name in STEPS:
        method |= {"scheme": "heun", "controller": Fixed(STEPS[name], monotone=False)}
    answer = wflow.solve(Q, rho0, (0, tau), **method, progress=False)
    times = np.concatenate([[0], np.geomspace(tau / 1000, tau, 120)])
    out = {"tau": times, "R": np.interp(times, answer.tau, answer.risk), "floor": floor(data)}
    return out | {"reach": reach(data, SIZES[name]) if name in SIZES else 0.0}


def claims(runs: Runs) -> list[Claim]:
    some = by_name(runs)
    end = max(float(ends(some[name]).max()) for name in HOMOGENEOUS)
    return [at_most("R/R(0) at the end, homogeneous encoders of all kinds: the largest", end, 0.02)]


def findings(runs: Runs) -> list[str]:
    some = by_name(runs)
    best = {name: percent(some[name]) for name in (*HOMOGENEOUS, *SIZES)}
    first, *_, last = sorted(HOMOGENEOUS, key=lambda name: best[name])
    out = [
        f"After tau = {some[ALONE][0]['tau'][-1]:g} the homogeneous encoders have brought the risk to between "
        f"{best[first]:.2g} % ({first}) and {best[last]:.2g} % ({last}) of its start."
    ]
    for name in SIZES:
        power = late_power(some[name])
        way = "falls on" if power < -0.2 else "hardly falls any more"
        out.append(f"Outer weights {name}: to {best[name]:.2g} %, where it {way}, like tau^{power:.2f}.")
    if best["linear attention"] <= 2:
        out.append(
            "Linear attention violates the assumption on growth, since it is cubic in T, and goes down all the same "
            "on these bounded prompts."
        )
    return out


def table(runs: Runs) -> Table:
    rows = []
    for name, some in by_name(runs).items():
        end = ends(some)
        rows.append(
            [name, geometric_mean(end), float(end.min()), float(end.max()), late_power(some), _bound(name, some)]
        )
    head = ["Transformer", "R/R(0)", "least", "largest", "falls like tau^", "known bound from below"]
    return Table("The risk at the end of training: geometric mean and range over seeds.", head, rows)


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2, 3.2, width_ratios=[1.35, 1])
    some = by_name(runs)
    for name, answers in some.items():
        tau, R = answers[0]["tau"][1:], np.exp(np.mean([np.log(x["R"][1:] / x["R"][0]) for x in answers], axis=0))
        if name in NAMED:
            i = NAMED.index(name)
            label = f"softmax, {name}" if name in ("tanh", "relu") else name
            left.loglog(tau, R, color=(*PALETTE, "0.5")[i], ls=(*DASHES, "--")[i], label=label)
        else:
            left.loglog(tau, R, color="0.75", lw=0.7, zorder=0)
    for values in zip(*(ends(answers) for answers in some.values())):
        dots(right, list(some), values)
    bounds = [_bound(name, answers) or np.nan for name, answers in some.items()]
    right.plot(bounds, range(len(some)), "|", ms=9, color="k")
    right.set(xscale="log", xlabel="$R\\,/\\,R(0)$ at the end")
    left.set(xlabel=r"training time $\tau$", ylabel=r"$R(\tau)\,/\,R(0)$")
    left.legend(fontsize=6.5, loc="lower left")
    return drawing


def _bound(name: str, some: Sequence[Answer]) -> float:
    """The known bound of R/R(0) from below."""
    return float(np.mean([max(x["reach"], x["floor"] if name == ALONE else 0) / x["R"][0] for x in some]))
