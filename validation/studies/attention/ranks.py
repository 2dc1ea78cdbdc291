"""What is the rank of the tangent kernel of the values, and how small is its least eigenvalue?

For N prompts of n tokens that are all targets and M heads

    rank K_V = min(N n, M D)

so that K_V is positive as soon as M D >= N n, the condition H D >= N n of Song et al. Features of linear attention,
(Z Z^T) W z, are quadratic in Z and linear in z, which bounds its rank by D D (D + 1)/2. How small the least
eigenvalue is beside the largest is another matter. Measured by the singular values of the gradients of the numpy
Transformer.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.drawing import common_legend, line_of, panels
from validation.heads import KERNELS
from validation.kernel import prediction_gradients, state_of
from validation.studies.attention._heads import PROMPTS, TOKENS, D, values_alone
from validation.study import Answer, Claim, Runs, Table, at_most
from validation.trajectory import finite_transformer

COST = 1.0
CAPTION = "The least eigenvalue of K_V over the largest, medians over seeds."

SIZES = (0.3, 1.0)
WIDTHS = (2, 4, 6, 8, 10, 12, 16)
TARGETS = PROMPTS * TOKENS


def cases(full: bool) -> list[dict[str, Any]]:
    every = itertools.product(KERNELS, SIZES)
    return [{"kernel": kernel, "std": std, "seeds": 10 if full else 2} for kernel, std in every]


def measure(kernel: str, std: float, seeds: int) -> Answer:
    """The rank of K_V by width, and its least eigenvalue over the largest."""
    found, spread = [], []
    for seed, M in itertools.product(range(seeds), WIDTHS):
        Q, rho = values_alone(kernel, PROMPTS, 0.0, std, M, np.random.default_rng([7, seed]))
        J = prediction_gradients(finite_transformer(Q), state_of(rho.blocks), Q.dataset)
        sigma = np.linalg.svd(J, compute_uv=False)[:TARGETS]
        found.append(int(np.sum(sigma > 1e-12 * sigma[0])))
        spread.append((sigma[-1] / sigma[0]) ** 2)
    return {"rank": np.reshape(found, (seeds, -1)), "spread": np.reshape(spread, (seeds, -1))}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        gap = (a["rank"] - [_law(case["kernel"], M) for M in WIDTHS]).astype(float)
        words = f"{case['kernel']}, scores of size {case['std']}: rank of K_V, largest "
        if case["kernel"] == "sparsemax":
            out.append(at_most(words + "excess over its law", float(gap.max()), 0))
        else:
            out.append(at_most(words + "difference from its law", float(np.abs(gap).max()), 0))
    return out


def findings(runs: Runs) -> list[str]:
    generic = [kernel for kernel in KERNELS if kernel not in ("linear", "sparsemax")]
    wide = [a["spread"][:, WIDTHS.index(8) :] for kernel in generic for _, a in runs.of(kernel=kernel)]
    return [
        f"K_V has full rank from M D = N n on, but that says little: its least eigenvalue is {np.min(wide):.0e} to "
        f"{np.max(wide):.0e} of the largest one for M = 8 to 16. Linear attention never gets beyond rank "
        f"{_law('linear', 100)}: its features are products of one of {D * (D + 1) // 2} entries of Z Z^T with one of "
        f"{D} of a token."
    ]


def table(runs: Runs) -> Table:
    shown, rows = (8, 10, 12, 16), []
    for case, a in runs:
        wide = [np.median(a["spread"][:, WIDTHS.index(M)]) for M in shown]
        rows.append([case["kernel"], case["std"], int(a["rank"].max()), *wide])
    head = ["kernel", "size of scores", "largest rank", *(f"M = {M}" for M in shown)]
    title = (
        f"K_V of {TARGETS} targets, D = {D}: the largest rank, and by width the median of the least eigenvalue over "
        "the largest."
    )
    return Table(title, head, rows)


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2, 2.6, sharey=True)
    wide = [M for M in WIDTHS if M * D >= TARGETS]
    for axes, std in zip(row, SIZES):
        for k, (case, a) in enumerate(runs.of(std=std)):
            if case["kernel"] != "linear":
                spread = np.median(a["spread"], axis=0)[-len(wide) :]
                axes.semilogy(wide, spread, label=case["kernel"], **line_of(k, marker="o"))
        axes.set(title=f"scores of size {std:g}", xlabel="heads $M$")
    row[0].set_ylabel(r"$\lambda_{\min}/\lambda_{\max}$ of $K_V$")
    common_legend(row[1], "outside right center")
    return drawing


def _law(kernel: str, M: int) -> int:
    """The generic rank."""
    most = D * D * (D + 1) // 2 if kernel == "linear" else TARGETS
    return min(TARGETS, M * D, most)
