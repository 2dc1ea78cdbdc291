"""How fast does a Transformer learn prompts that can be told apart, by every loss?

Twelve random prompts with labels in turn, softmax heads and tanh neurons in two layers, no weight decay. For one
prompt, whose prediction is linear in the weights,

    R ~ 1/tau  for logistic losses and cross-entropy,    R ~ e^(-tau/4)  for squares and Huber's loss

Predictions of a Transformer are not linear. Measured: the risk along training, and its late exponent in tau.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import line_of, log_log, panels
from validation.losses import LOSSES
from validation.studies.losses._one_token import CLASSES, DELTA
from validation.study import Answer, Claim, Runs, Table

CAPTION = (
    "Transformers on prompts of unlike labels, a line for every seed: the risk along training, and -d ln R/d ln tau, "
    "which tends to 1, dotted, for one prompt of logistic loss or cross-entropy."
)


def COST(tau: float, **case: Any) -> float:
    return tau / 20


def cases(full: bool) -> list[dict[str, Any]]:
    tau, seeds = (1000.0, 5) if full else (100.0, 1)
    return [{"loss": loss, "tau": tau, "seed": seed} for loss in LOSSES for seed in range(seeds)]


def measure(loss: str, tau: float, seed: int) -> Answer:
    """The risk along training at 60 times."""
    rng, B = np.random.default_rng(seed), 12
    labels: Any = np.arange(B) % CLASSES if loss == "cross-entropy" else np.where(np.arange(B) % 2, 1.0, -1.0)
    K = CLASSES if loss == "cross-entropy" else 1
    data = wflow.Dataset(rng.standard_normal((B, 4, 4)), labels, [(k, 3) for k in range(K)])
    options: dict[str, Any] = {"huber_delta": DELTA} if loss == "huber" else {}
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    Q = wflow.TransformerObjective(data, *encoders, layers=2, loss=loss, **options)
    rho = wflow.initial.gaussian(std=0.5).sample(Q, 16, rng=seed)
    answer = wflow.solve(Q, rho, (0, tau), rtol=1e-4, tol=0, progress=False)
    times = np.geomspace(tau / 1000, tau, 60)
    return {"tau": times, "R": np.exp(np.interp(times, answer.tau, np.log(answer.risk))), "start": answer.risk[0]}


def claims(runs: Runs) -> list[Claim]:
    return []


def findings(runs: Runs) -> list[str]:
    late = {}
    for loss in ("logistic", "cross-entropy"):
        late[loss] = np.median([_late_exponent(a) for _, a in runs.of(loss=loss)])
    words = " and ".join(f"{exponent:.2f} for {loss}" for loss, exponent in late.items())
    return [
        "One prompt is learned like 1/tau by logistic losses and cross-entropy, and like e^(-tau/4) by the others. For "
        f"Transformers, which are not linear in their weights, the late exponent of R in tau is {words}, in the median."
    ]


def table(runs: Runs) -> Table:
    rows = []
    for loss in LOSSES:
        numbers = [[a["start"], a["R"][-1]] for _, a in runs.of(loss=loss)]
        rows.append([loss, *np.median(numbers, axis=0)])
    return Table("Transformers on prompts of unlike labels: medians of R.", ["loss", "tau = 0", "at the end"], rows)


def figure(runs: Runs) -> Figure:
    drawing, (risk, exponent) = panels(2, 2.7)
    floor = 1e-6  # below, what is left of squares and Huber is the error of the steps
    for k, loss in enumerate(LOSSES):
        for seed, (_, a) in enumerate(runs.of(loss=loss)):
            line = line_of(k, linewidth=0.8, label=loss if seed == 0 else None)
            shown = a["R"] > floor
            risk.plot(a["tau"], a["R"], **line)
            exponent.plot(a["tau"][shown], -np.gradient(np.log(a["R"]), np.log(a["tau"]))[shown], **line)
    log_log(risk, a["tau"], np.concatenate([np.maximum(a["R"], floor) for _, a in runs]))
    risk.set_ylim(bottom=floor)
    exponent.axhline(1, color="black", linewidth=0.6, linestyle=":")
    exponent.set(xscale="log", ylim=(0, 4), ylabel=r"$-\mathrm{d}\ln R/\mathrm{d}\ln\tau$")
    risk.set_ylabel("risk $R$")
    for axes in (risk, exponent):
        axes.set_xlabel(r"$\tau$")
    risk.legend()
    return drawing


def _late_exponent(a: Mapping[str, Any]) -> float:
    """Of R in tau, over the last twenty times."""
    return float(np.log(a["R"][-1] / a["R"][-20]) / np.log(a["tau"][-1] / a["tau"][-20]))
