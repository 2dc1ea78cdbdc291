"""Beyond which weight decay do neurons die out?

Neurons that are nearly zero see a linear problem: with z the last token and tanh'(0) = 1 the fastest of their
directions grows like

    |w| ~ e^{(lambda* - lambda) tau},  lambda* = |E[y z]|/2,

and beyond the critical weight decay lambda* they die out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.decays import decay_rate
from validation.drawing import line_of, panels
from validation.studies.weight_decay._problems import grouped_prompts
from validation.study import Answer, Claim, Runs, within
from wflow import initial
from wflow.figures.style import PALETTE

COST = 2.0
CAPTION = (
    "Left: rms size of neurons that start near zero, for several lambda over the critical lambda*. Right: the rate of "
    "growth at the end (points) and 1 - lambda/lambda* (line)."
)


def cases(full: bool) -> list[dict[str, Any]]:
    """lambda as a share of the critical one."""
    return [{"share": x} for x in (0.5, 0.9, 1.1, 2.0)]


def measure(share: float) -> Answer:
    """The rms of neurons over training time in units of 1/lambda*."""
    data, _ = grouped_prompts()
    threshold = 0.5 * float(np.linalg.norm(data.labels @ data.tokens[:, :, -1] / data.n_prompts))
    objective = wflow.TransformerObjective(data, None, wflow.FeedForward("tanh"), share * threshold, layers=2)
    rho0 = initial.gaussian(std=1e-6).sample(objective, 16, rng=0)
    save = wflow.SaveAt(tau=[x / threshold for x in range(1, 10)])
    answer = wflow.solve(objective, rho0, (0, 10 / threshold), rtol=1e-8, atol=1e-14, tol=0, save=save)
    sizes = [np.sqrt(np.mean(np.sum(answer.measure(i).w ** 2, axis=-1))) for i in range(answer.n_frames)]
    return {"time": threshold * answer.frame_tau, "size": np.array(sizes)}


def claims(runs: Runs) -> list[Claim]:
    text = "neurons near zero, lambda = {:g} |E[y z]|/2: rate of growth over |E[y z]|/2"
    return [within(text.format(case["share"]), _growth(answer), 1 - case["share"], 1e-3) for case, answer in runs]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2)
    for k, (case, answer) in enumerate(runs):
        left.semilogy(answer["time"], answer["size"], **line_of(k, label=f"${case['share']:g}$"))
    shares = np.array([case["share"] for case, _ in runs])
    right.plot(shares, [_growth(answer) for _, answer in runs], "o", color=PALETTE[0], ms=4)
    right.plot([0, 2.2], [1, -1.2], color="0.4", lw=0.6)
    right.axhline(0, color="0.8", lw=0.6, zorder=0)
    left.set(xlabel=r"$\lambda^*\tau$", ylabel="rms of $w$")
    right.set(xlabel=r"$\lambda\,/\,\lambda^*$", ylabel=r"rate of growth over $\lambda^*$", xlim=(0, 2.2))
    left.legend(title=r"$\lambda\,/\,\lambda^*$")
    return drawing


def _growth(answer: Answer) -> float:
    """The rate over the last two units of time: before, other directions still fall behind, by e^{-time}."""
    return -decay_rate(answer["time"][[-3, -1]], answer["size"][[-3, -1]])
