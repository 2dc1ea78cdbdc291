"""Is the flow of neurons that of one prompt for each last token, with the mean label?

Neurons see the last token z alone, so that for prompts b with this token

    E (y_hat(z) - y_b)^2/2 = E (y_hat(z) - E[y | z])^2/2 + E Var(y | z)/2,

whose last term is a floor that no particle moves: the flow is that of the first term, which merged prompts have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.drawing import panels
from validation.studies.weight_decay._flow import cost, excess, to_rest
from validation.study import Claim, Runs, at_most
from wflow.figures.style import PALETTE

COST = cost
CAPTION = (
    "Neurons on 12 prompts with four last tokens and on the four merged ones. Left: the risk above its floor. Right: "
    "the relative difference of the second moments."
)
DECAY = 0.03


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"problem": problem, "weight_decay": DECAY} for problem in ("neurons alone", "neurons, merged")]


measure = to_rest


def claims(runs: Runs) -> list[Claim]:
    (_, alone), (_, merged) = runs
    moments = np.abs(merged["second_moment"] - alone["second_moment"]).max() / alone["second_moment"].max()
    gap = abs(merged["R"][-1] / excess(alone, "R") - 1)
    return [
        at_most("neurons alone: second moment along the flow with merged prompts, relative difference", moments, 1e-6),
        at_most("neurons alone: R_inf - floor against R_inf with merged prompts", gap, 1e-4),
    ]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2)
    (_, alone), (_, merged) = runs
    for k, (label, run) in enumerate((("all prompts", alone), ("merged prompts", merged))):
        time, R = DECAY * run["tau"][1:], run["R"][1:] - run["floor"]
        left.semilogx(time, R, color=PALETTE[k], lw=2.4 - 1.4 * k, ls=("-", "--")[k], label=label)
    difference = np.abs(merged["second_moment"] / alone["second_moment"] - 1)
    right.loglog(DECAY * alone["frame_tau"], difference, "o", color=PALETTE[0], ms=3)
    left.set(xlabel=r"$\lambda\tau$", ylabel="$R$ - floor")
    right.set(xlabel=r"$\lambda\tau$", ylabel="difference of second moments")
    left.legend()
    return drawing
