"""Does the risk stay between its bounds by the eigenvalues of the tangent kernel?

Without weight decay du/dtau = -K (u - y)/B, whatever is trained, so that

    R(0) e^(-2 int lambda_max/B) <= R(tau) <= R(0) e^(-2 int lambda_min/B)

Measured for heads and tanh neurons in two layers: ln R beside integrals over the eigenvalues of K at 101 times; and
how far K is from J J^T with gradients of the numpy Transformer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.integrate import cumulative_simpson

import wflow
from validation.drawing import line_of, panels
from validation.flows import random_data, random_measure
from validation.heads import KERNELS
from validation.kernel import prediction_gradients, state_of
from validation.statistics import relative_gap
from validation.studies.attention._heads import TOKENS, D, attention
from validation.study import Answer, Claim, Runs, at_least, at_most
from validation.trajectory import finite_transformer
from wflow.controllers import Fixed

COST = 1.0
CAPTION = "The risk along training between its bounds by the eigenvalues of K."


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"kernel": kernel, "seed": seed} for kernel in KERNELS for seed in range(5 if full else 1)]


def measure(kernel: str, seed: int) -> Answer:
    """ln R along training and its bounds."""
    rng = np.random.default_rng([8, seed])
    encoders = attention(kernel, 2), wflow.FeedForward("tanh")
    Q = wflow.TransformerObjective(random_data(rng, 5, D, TOKENS), *encoders, layers=2)
    blocks = random_measure(Q, {"theta": 4, "w": 4}, rng).blocks
    rho = wflow.Particles(weights=None, **{block: 0.5 * x for block, x in blocks.items()})
    run: dict[str, Any] = {"scheme": "rk4", "controller": Fixed(0.01, monotone=False), "tol": 0, "progress": False}
    answer = wflow.solve(Q, rho, (0, 5.0), save=wflow.SaveAt(every=0.05), **run)
    model, eigenvalues, risks, gaps = finite_transformer(Q), [], [], []
    for i in range(answer.n_frames):
        frame = answer.measure(i)
        K = wflow.tangent_kernel(Q, frame)
        eigenvalues.append(np.linalg.eigvalsh(K)[[0, -1]])
        risks.append(Q.risk(frame))
        if i % 25 == 0:
            J = prediction_gradients(model, state_of(frame.blocks), Q.dataset)
            gaps.append(relative_gap(J @ J.T, K))
    integrals = cumulative_simpson(np.array(eigenvalues), x=answer.frame_tau, axis=0, initial=0)
    bounds = -2 / Q.dataset.n_prompts * integrals
    fall = np.log(risks) - np.log(risks[0])
    return {"tau": answer.frame_tau, "fall": fall, "upper": bounds[:, 0], "lower": bounds[:, 1], "kernel": max(gaps)}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for kernel in KERNELS:
        rows = [a for _, a in runs.of(kernel=kernel)]
        slack = min(float(np.min([a["upper"] - a["fall"], a["fall"] - a["lower"]], axis=0)[1:].min()) for a in rows)
        words = f"{kernel}: ln R inside its bracket at every saved time, the least distance"
        out.append(at_least(words, slack, 0.0))
        words = f"{kernel}: tangent kernel against gradients of the numpy Transformer, relative"
        out.append(at_most(words, max(a["kernel"] for a in rows), 1e-12))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, row = panels(3, 2.4)
    for axes, kernel in zip(row, ("softmax", "gaussian", "linear")):
        a = runs.one(kernel=kernel, seed=0)
        axes.fill_between(a["tau"], np.exp(a["lower"]), np.exp(a["upper"]), alpha=0.2, linewidth=0, color="gray")
        axes.plot(a["tau"], np.exp(a["fall"]), **line_of(0))
        axes.set(title=kernel, xlabel=r"$\tau$", yscale="log", ylim=(np.exp(a["fall"].min()) / 30, 1.5))
    row[0].set_ylabel("$R/R(0)$")
    return drawing
