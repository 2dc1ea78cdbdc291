"""Do the constants of depth and width predict the error from the limit, without any fit?

For independent layers the constants of the study "limit" give

    rms^2 = depth^2/L^2 + width/(M L)

from L = 8 on, since they are those of the first order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation import atoms
from validation.atoms import DTAU, first_order
from validation.drawing import log_log, panels
from validation.statistics import rms
from validation.studies.width_depth._noise import drawn, frames
from validation.study import Claim, Runs, at_most
from wflow.figures.style import PALETTE

COST = atoms.cost
CAPTION = "The error from the limit for independent layers at tau = 0, and its predicted law."


def cases(full: bool) -> list[dict[str, Any]]:
    return [*({"what": "constants", "frame": frame} for frame in frames(full)), *drawn(full, ["iid"])]


measure = atoms.measure


def claims(runs: Runs) -> list[Claim]:
    out = []
    for frame in frames(runs.full):
        constants = runs.one(what="constants", frame=frame)
        ratios = []
        for x, answer in runs.of(what="redrawn", frame=frame):
            if x["L"] >= 8:
                error = rms(answer["predictions"] - constants["prediction"])
                ratios.append(np.log(error / first_order(constants, x["M"], x["L"])))
        text = f"independent layers, tau = {DTAU * frame:g}, L >= 8: rms of ln(error from the limit / predicted law)"
        out.append(at_most(text, rms(np.array(ratios)), 0.1))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, axes = panels(1)
    constants = runs.one(what="constants", frame=0)
    some = {(x["M"], x["L"]): answer for x, answer in runs.of(what="redrawn", frame=0)}
    errors = {key: rms(answer["predictions"] - constants["prediction"]) for key, answer in some.items()}
    widths, depths = (sorted(set(x)) for x in zip(*errors))
    L = np.geomspace(depths[0], depths[-1])
    for M, colour in zip(widths[:: max(1, len(widths) // 4)], PALETTE):
        axes.plot(depths, [errors[M, depth] for depth in depths], "o", color=colour, label=f"$M={M}$")
        axes.plot(L, first_order(constants, M, L), color=colour, linewidth=0.8)
    log_log(axes, depths, list(errors.values()))
    axes.set(xlabel="layers $L$", ylabel="error from the limit")
    axes.legend()
    return drawing
