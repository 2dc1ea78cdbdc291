"""How do kernels compare on in-context regression by heads alone?

A prompt holds pairs (x_i, <a, x_i>) of its own random a, and a query x whose <a, x> is wanted. Factored heads in two
layers, lambda = 1e-3, are trained on 32 prompts with softmax, with the Gaussian kernel, and with the Gaussian kernel
divided by its sum. Measured: the risk along training on these prompts and on 32 others. Nothing is predicted.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import line_of, panels
from validation.studies.attention._heads import attention
from validation.study import Answer, Claim, Runs
from wflow.figures.style import log_axis

CAPTION = "In-context regression by heads alone, a line for every seed: training prompts and others."

KERNELS = ("softmax", "gaussian", "gaussian-normalised")


def COST(tau: float, **case: Any) -> float:
    return tau / 10


def cases(full: bool) -> list[dict[str, Any]]:
    seeds, tau = (5, 300.0) if full else (2, 20.0)
    return [{"kernel": kernel, "seed": seed, "tau": tau} for kernel, seed in itertools.product(KERNELS, range(seeds))]


def measure(kernel: str, seed: int, tau: float) -> Answer:
    """The risks of training prompts and of others along training."""
    train, other = (
        wflow.datasets.in_context_regression(32, 2, 8, rng=np.random.default_rng([seed, i]), positions=False)
        for i in (0, 1)
    )
    Q = wflow.TransformerObjective(train, attention(kernel, None, None, True), weight_decay=1e-3, layers=2)
    rho = wflow.initial.gaussian(std=0.5).sample(Q, 16, rng=seed)
    save = wflow.SaveAt(tau=np.geomspace(tau / 100, tau, 30)[:-1].tolist())
    answer = wflow.solve(Q, rho, (0, tau), rtol=1e-3, save=save, progress=False)
    frames = [answer.measure(i) for i in range(answer.n_frames)]
    return {
        "tau": answer.frame_tau,
        "R": np.array([Q.risk(rho) for rho in frames]),
        "other": np.array([Q.risk(rho, other) for rho in frames]),
    }


def claims(runs: Runs) -> list[Claim]:
    return []


def findings(runs: Runs) -> list[str]:
    ends = {}
    for kernel in KERNELS:
        rows = [a for _, a in runs.of(kernel=kernel)]
        ends[kernel] = tuple(np.median([a[name][-1] for a in rows]) for name in ("R", "other"))
    words = "; ".join(f"{kernel} {R:.2g} and {other:.2g}" for kernel, (R, other) in ends.items())
    start = "In-context regression, median risk at the end on training prompts and on others: "
    return [f"{start}{words}. No verdict follows: one task, one law of initial particles, one training time."]


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2, 2.6, sharey=True)
    for k, kernel in enumerate(KERNELS):
        for seed, (_, a) in enumerate(runs.of(kernel=kernel)):
            for axes, name in zip(row, ("R", "other")):
                label = kernel if seed == 0 else None
                axes.loglog(a["tau"][1:], a[name][1:], label=label, linewidth=0.8, **line_of(k))
    for axes, title in zip(row, ("training prompts", "other prompts")):
        axes.set(title=title, xlabel=r"$\tau$")
    log_axis(row[0], np.concatenate([a[x][1:] for _, a in runs for x in ("R", "other")]))
    row[0].set_ylabel("risk $R$")
    row[1].legend()
    return drawing
