"""Do the encoders grow no faster than the theorem allows?

It asks for constants K with

    |g| <= K (1 + |T|)(1 + |beta|^2),
    |D_T g| <= K (1 + |beta|^2),  |grad_beta g| <= K (1 + |beta|)  at fixed T.

By hand, |g| is at most sqrt(n) |V| |T| for softmax attention and |c| (sqrt(n) |act(0)| + max |act'| |a| |T|) for
neurons. Linear attention is cubic in T.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.drawing import dots, panels
from validation.studies.homogeneity._encoders import encoders
from validation.studies.homogeneity._scaling import scaling
from validation.study import Claim, Runs, Table, at_most, within

COST = 1.0
CAPTION = "Powers of growth from size 100 to 1000 by encoder; thin lines: the powers that the theorem allows."
#: What grows in what, and the power that is allowed.
POWERS = {
    "growth in T": ("$|g|$ in $|T|$", 1),
    "growth in beta": (r"$|g|$ in $|\beta|$", 2),
    "D_T growth": (r"$|D_Tg|$ in $|\beta|$", 2),
    "grad growth": (r"$|\nabla_\beta g|$ in $|\beta|$", 1),
}


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"name": name} for name in encoders()]


measure = scaling


def claims(runs: Runs) -> list[Claim]:
    share = float(np.nanmax([answer["share of the bound"] for _, answer in runs]))
    in_T = {case["name"]: answer["growth in T"] for case, answer in runs}
    cubic = in_T.pop("linear attention")
    largest = {key: max(answer[key] for _, answer in runs) for key in POWERS}
    bound = "sqrt(n) |V| |T| or |c| (sqrt(n) |act(0)| + max |act'| |a| |T|)"
    return [
        at_most(f"|g| / ({bound}): the largest", share, 1),
        at_most("power of |T| with which |g| grows, all but linear attention", max(in_T.values()), 1.05),
        within("that of linear attention, which violates the assumption", cubic, 3, 0.05),
        at_most("power of |beta| with which |g| grows", largest["growth in beta"], 2.05),
        at_most("power of |beta| with which |D_T g| grows", largest["D_T growth"], 2.05),
        at_most("power of |beta| with which |grad g| grows", largest["grad growth"], 1.05),
    ]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> Table:
    rows = []
    for case, x in runs:
        K = float(x["K"]) if x["growth in T"] <= 1.05 else "none"
        powers = [x["growth in T"], x["growth in beta"], K]
        rows.append([case["name"], *powers, x["D_T growth"], x["D_T K"], x["grad growth"], x["grad K"]])
    head = ["encoder", "T^", "beta^", "K", "D_T g: beta^", "K", "grad g: beta^", "K"]
    title = (
        "Powers of growth from size 100 to 1000, and the least K that serves for sizes 0.1 to 1000, of |g|, |D_T g| at "
        "|T| = 2 and |grad_beta g| at |T| = 2."
    )
    return Table(title, head, rows)


def figure(runs: Runs) -> Figure:
    drawing, row = panels(4, 3.2, sharey=True)
    names = [case["name"] for case, _ in runs]
    for axes, (key, (label, allowed)) in zip(row, POWERS.items()):
        axes.axvline(allowed, color="0.4", lw=0.6)
        dots(axes, names, [answer[key] for _, answer in runs])
        axes.set(xlim=(-1.0, 3.3), xticks=range(-1, 4), xlabel=label)
    return drawing
