"""Does training damp the errors that it starts with?

The error of the predictions of drawn Transformers from the limit along training, beside what the constants predict for
Transformers that are drawn from the law at that time. If training only moved the law, the two would be the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation import atoms
from validation.atoms import DTAU, FRAMES, STEPS, TAU
from validation.drawing import panels
from validation.statistics import rms
from validation.studies.limit._errors import networks, total_errors, trained
from validation.study import Claim, Runs
from wflow.figures.style import PALETTE

COST = atoms.cost
CAPTION = (
    "The rms error of the predictions along training (lines), and what the constants predict for Transformers drawn "
    "from the law at that time (circles), for the smallest, a middle and the largest network."
)


def cases(full: bool) -> list[dict[str, Any]]:
    constants = [{"what": "constants", "frame": frame} for frame in FRAMES]
    return [{"what": "limit", "layers": 16, "refinement": 1}, *constants, *trained(full)]


measure = atoms.measure


def claims(runs: Runs) -> list[Claim]:
    return []


def findings(runs: Runs) -> list[str]:
    total = total_errors(runs)
    start, end = (np.mean([rms(x["predictions"][:, i]) for x in total.values()]) for i in (0, STEPS))
    first, last = (np.sqrt(np.mean(runs.one(what="constants", frame=i)["width"])) for i in (0, STEPS))
    change, factor = last / first, end / start
    word = "damps" if factor < change else "feeds"
    return [
        f"Along training to tau = {TAU[-1]:g} the rms error of the predictions changes from {start:.3g} to {end:.3g} "
        f"(mean over all sizes), a factor of {end / start:.2f}.",
        f"The noise of Transformers that are drawn from the law at that time would change by a factor of {change:.2f}: "
        f"training {word} the errors that it starts with.",
    ]


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, axes = panels(1, 2.5)
    total, sizes = total_errors(runs), networks(runs.full)
    for (M, L), colour in zip((sizes[0], sizes[len(sizes) // 2], sizes[-1]), PALETTE):
        along = np.sqrt(np.mean(total[M, L]["predictions"] ** 2, axis=0))
        axes.plot(TAU, along, color=colour, label=f"$M={M}$, $L={L}$")
        for frame in FRAMES:
            predicted = atoms.first_order(runs.one(what="constants", frame=frame), M, L)
            axes.plot(DTAU * frame, predicted, "o", color=colour, markersize=4, fillstyle="none")
    axes.set(xlabel=r"training time $\tau$", ylabel="error of the predictions", ylim=(0, None))
    axes.legend()
    return drawing
