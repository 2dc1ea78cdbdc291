"""Do parameters that the data do not see decay like e^{-lambda tau}?

Where predictions do not depend on a combination u of parameters, nothing but weight decay moves it:

    u(tau) = e^{-lambda tau} u(0).

In the linear models these are the differences theta - mean. In the Transformer they are the rows of W_2 in the last
layer that are not read, and the row of W in the first layer that meets the ones of every token: it adds the same
number to all scores of a query.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import wflow
from validation.decays import decay_rate
from validation.drawing import common_legend, panels
from validation.studies.weight_decay._problems import training
from validation.studies.weight_decay.linear_models import MODELS
from validation.study import Answer, Claim, Runs, at_most, within
from wflow.figures.style import PALETTE
from wflow.measures import Measure

Array = NDArray[Any]

COST = 3.0
CAPTION = (
    "Left: rms size of what the data do not see, over that at the start; the line is e^{-lambda tau}. Right: the "
    "relative difference of both."
)


def cases(full: bool) -> list[dict[str, Any]]:
    linear = [{"problem": p, "weight_decay": x} for p in MODELS for x in (0.03, 0.1)]
    return [*linear, *({"problem": "Transformer", "weight_decay": x} for x in (0.1, 0.3))]


def measure(problem: str, weight_decay: float) -> Answer:
    """u over training time, shape (times, particles, entries)."""
    if problem == "Transformer":
        objective, rho0, *_ = training("regression", weight_decay)
        options: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-9, "save": wflow.SaveAt(every=1 / weight_decay)}
    else:
        exact = MODELS[problem](weight_decay=weight_decay)
        objective, rho0 = exact.energy, exact.rho0
        save = wflow.SaveAt(tau=np.linspace(0, 5 / weight_decay, 11)[1:-1].tolist())
        options = {"rtol": 1e-8, "atol": 1e-11, "save": save}
    answer = wflow.solve(objective, rho0, (0, 5 / weight_decay), **options)
    unseen = _unread if problem == "Transformer" else _differences
    return {"tau": answer.frame_tau, "u": np.array([unseen(answer.measure(i)) for i in range(answer.n_frames)])}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, answer in runs:
        if case["problem"] in MODELS:
            rate = decay_rate(answer["tau"], _size(answer["u"])) / case["weight_decay"]
            text = f"{case['problem']}, lambda = {case['weight_decay']:g}: decay of |theta - mean| over lambda"
            out.append(within(text, rate, 1, 1e-5))
    gap = max(_gap(answer, case["weight_decay"]) for case, answer in runs.of(problem="Transformer"))
    text = "Transformer: parameters that predictions do not depend on, relative difference to e^{-lambda tau} beta_0"
    return [*out, at_most(text, gap, 1e-4)]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2)
    for k, (case, answer) in enumerate(runs):
        time, size = case["weight_decay"] * answer["tau"], _size(answer["u"])
        label = f"{case['problem']}, $\\lambda={case['weight_decay']:g}$"
        style: dict[str, Any] = {"color": PALETTE[k], "marker": "os^vD*"[k], "ms": 4, "mfc": "none"}
        left.semilogy(time, size / size[0], **style, ls="none", label=label)
        right.semilogy(time[1:], np.abs(size / size[0] * np.exp(time) - 1)[1:], **style, lw=0.6)
    time = np.linspace(0, 5, 50)
    left.semilogy(time, np.exp(-time), color="0.4", lw=0.6)
    left.set(xlabel=r"$\lambda\tau$", ylabel="size over that at the start")
    right.set(xlabel=r"$\lambda\tau$", ylabel=r"relative difference to $e^{-\lambda\tau}$")
    common_legend(left, "outside upper center", ncols=3)
    return drawing


def _differences(rho: Measure) -> Array:
    """theta - mean, one row a particle."""
    x = rho.blocks["theta"]
    return np.asarray((x - x.mean(axis=(0, 1))).reshape(-1, x.shape[2]))


def _unread(rho: Measure) -> Array:
    """One row an entry, for prompts of four rows: x, y (which is read), ones, the query's mark."""
    W_2, W = rho.blocks["w"][-1, :, 4:], rho.blocks["theta"][0, :, 16:].reshape(-1, 4, 4)
    return np.concatenate([W_2[:, [0, 2, 3]].ravel(), W[:, 2].ravel()])[:, None]


def _size(u: Array) -> Array:
    """rms over particles."""
    return np.asarray(np.sqrt(np.mean(np.sum(u**2, axis=-1), axis=1)))


def _gap(answer: Answer, weight_decay: float) -> float:
    """The largest relative error of any entry at any time."""
    growth = np.exp(weight_decay * answer["tau"])[:, None, None]
    return float(np.abs(answer["u"] * growth / answer["u"][0] - 1).max())
