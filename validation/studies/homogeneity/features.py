"""How many dimensions do the features of one layer span?

Universality asks that Read g(T, beta), as functions of the prompt, span a dense set. Of the matrix

    A_{jb} = Read g(T_b, beta_j),  beta_j normal, j = 1, ..., 400,

the rank on finitely many prompts can show that the span is not dense, but no computation can show that it is. The task
has two last tokens, all that neurons see. The features of linear attention are combinations of {1, x_q} times 7
moments, less x_q, which is there twice; on the task x_q^2 = 1, which leaves 12 of these 13.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.drawing import common_legend, panels
from validation.studies.homogeneity._encoders import D, encoders
from validation.studies.homogeneity._task import PROMPTS, prompts
from validation.study import Answer, Claim, Runs, Table, within
from wflow.figures.style import PALETTE

COST = 1.0
CAPTION = (
    "Singular values of the features, over the largest, on the 16 prompts of the task (left) and on 96 prompts with "
    "queries everywhere (right); thin line: what counts as zero."
)
ZERO = 1e-9


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"name": name} for name in encoders()]


def measure(name: str) -> Answer:
    """The singular values over the largest, on the prompts of the task and on 96 with queries everywhere."""
    encoder = encoders()[name]
    beta = np.random.default_rng(2).standard_normal((400, encoder.n_parameters(D)))
    out = {}
    for key, data in (("16", prompts(PROMPTS, 0)), ("96", prompts(96, 0, everywhere=True))):
        read = np.array([data.read(encoder.mean(data.tokens, x[None], np.ones(1))) for x in beta]).reshape(400, -1)
        out[key] = np.linalg.svd(read, compute_uv=False)
    return out


def claims(runs: Runs) -> list[Claim]:
    seen = max(_rank(answer["16"]) for case, answer in runs if "neurons" in case["name"])
    softmax, linear = (runs.one(name=f"{kernel} attention") for kernel in ("softmax", "linear"))
    moments = "{1, x_q} times 7 moments, less x_q, which is there twice"
    return [
        within("rank of neurons' features on the task, with two last tokens: the largest", seen, 2, 0),
        within("rank of linear attention on the task", _rank(linear["16"]), 12, 0),
        within(f"rank of linear attention on 96 prompts: {moments}", _rank(linear["96"]), 13, 0),
        within("rank of softmax attention on the task", _rank(softmax["16"]), 16, 0),
        within("rank of softmax attention on 96 prompts", _rank(softmax["96"]), 96, 0),
    ]


def findings(runs: Runs) -> list[str]:
    return [
        f"The features of linear attention span {_rank(runs.one(name='linear attention')['96'])} dimensions on 96 "
        "prompts, so that one layer of it is not universal; neither are neurons, which see one token, for any "
        "activation as soon as there is context (N >= 1). That the features of softmax attention are independent on "
        "these prompts does not prove that they are dense."
    ]


def table(runs: Runs) -> Table:
    rows = []
    for case, x in runs:
        condition = float(x["96"][0] / max(x["96"][-1], 1e-300))
        rows.append([case["name"], _rank(x["16"]), _rank(x["96"]), condition])
    title = "Ranks of features with singular values above 1e-9 of the largest."
    return Table(title, ["encoder", "rank of 16", "of 96", "condition of 96"], rows)


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2, sharey=True)
    for k, name in enumerate(("softmax attention", "linear attention", "tanh neurons", "relu neurons")):
        for axes, key in zip(row, ("16", "96")):
            values = runs.one(name=name)[key]
            line: dict[str, Any] = {"color": PALETTE[k], "marker": "os^v"[k], "ms": 3, "mfc": "none", "ls": "none"}
            axes.semilogy(np.arange(1, len(values) + 1), np.maximum(values / values[0], 1e-18), **line, label=name)
    for axes in row:
        axes.axhline(ZERO, color="0.6", lw=0.6)
        axes.set(xlabel="number", ylim=(1e-19, 5))
    row[0].set(ylabel="singular values over the largest")
    common_legend(row[0], "outside upper center", ncols=4)
    return drawing


def _rank(singular: Any) -> int:
    return int(np.sum(singular > ZERO * singular[0]))
