"""What does the smallest eigenvalue of the first kernel depend on?

The rates of all modes are k_i/B with the eigenvalues k_i of K. Their mean is the mean of |J_b|^2 over the prompts b,
which does not depend on B; the smallest falls where prompts become alike. Theory does not say how.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import log_log, panels
from validation.statistics import bootstrap, geometric_mean, power_law
from validation.studies.rates._model import TASKS, problem
from validation.study import Answer, Claim, Runs, Table
from wflow.figures.style import PALETTE

COST = 2.0
CAPTION = (
    "Eigenvalues of the first kernel for fresh data and particles. Left: the smallest over the number of prompts "
    "(points: draws, line: geometric mean), and the mean of all (dashed). Right: the smallest by task, for 8 prompts."
)


def cases(full: bool) -> list[dict[str, Any]]:
    base = {"task": "linear", "B": 8, "width": 8, "draws": 24 if full else 12}
    out = [{**base, "B": b} for b in [2, 4, 8, 16, *([32] if full else [])]]
    return out + [{**base, "task": t} for t in TASKS if t != "linear"]


def measure(task: str, B: int, width: int, draws: int) -> Answer:
    """The smallest and the mean eigenvalue of K for fresh data and particles, by draw."""
    some = [problem(task, B, width, 100 + seed) for seed in range(draws)]
    values = np.array([np.linalg.eigvalsh(wflow.tangent_kernel(*x)) for x in some])
    return {"smallest": values[:, 0], "mean": np.mean(values, axis=1)}


def claims(runs: Runs) -> list[Claim]:
    return []


def findings(runs: Runs) -> list[str]:
    found = list(runs.of(task="linear"))
    numbers, smallest = [case["B"] for case, _ in found], [geometric_mean(a["smallest"]) for _, a in found]
    mean, fit = [float(np.mean(a["mean"])) for _, a in found], power_law(numbers, smallest)
    tasks = {case["task"]: geometric_mean(a["smallest"]) for case, a in runs.of(B=8)}
    return [
        f"Between B = {numbers[0]} and {numbers[-1]} the smallest eigenvalue of the first kernel (geometric mean of "
        f"draws) falls from {smallest[0]:.2g} to {smallest[-1]:.2g}, like a power {fit.exponent:.2f} (95 %: "
        f"{fit.interval[0]:.2f} to {fit.interval[1]:.2f}) of B, while the mean eigenvalue stays between "
        f"{min(mean):.2g} and {max(mean):.2g}: with more prompts the slowest mode, of rate 2 k/B, falls far behind the "
        "others.",
        "Task: the smallest eigenvalue of the first kernel at B = 8 is "
        f"{', '.join(f'{x:.2g} ({task})' for task, x in tasks.items())}.",
    ]


def table(runs: Runs) -> Table:
    rows = []
    for case, r in runs:
        low, high = np.exp(bootstrap(np.mean, np.log(r["smallest"]), seed=0))
        row = [case["task"], case["B"], geometric_mean(r["smallest"]), f"{low:.2g} to {high:.2g}"]
        rows.append([*row, float(np.mean(r["mean"]))])
    head = ["task", "B", "k, geometric mean of draws", "95 %", "mean eigenvalue"]
    return Table("The first kernel of fresh data and particles.", head, rows)


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2, width_ratios=[1.5, 1])
    found = list(runs.of(task="linear"))
    numbers = [case["B"] for case, _ in found]
    log_log(left, numbers, [x for _, a in found for x in (*a["smallest"], *a["mean"])])
    for case, a in found:
        left.plot(np.full(len(a["smallest"]), case["B"]), a["smallest"], ".", ms=3, color=PALETTE[5])
    left.plot(numbers, [geometric_mean(a["smallest"]) for _, a in found], "o-", color=PALETTE[0], ms=4)
    left.plot(numbers, [np.mean(a["mean"]) for _, a in found], "s--", color=PALETTE[1], ms=3.5)
    for k, (_, a) in enumerate(runs.of(B=8)):
        right.semilogy(np.full(len(a["smallest"]), k), a["smallest"], ".", ms=3, color=PALETTE[5])
        right.semilogy(k, geometric_mean(a["smallest"]), "o", ms=4, color=PALETTE[0])
    right.set_xticks(range(len(TASKS)), [case["task"] for case, _ in runs.of(B=8)])
    left.set(xlabel="prompts $B$", ylabel="eigenvalues")
    right.set(xlabel="task", ylabel="smallest eigenvalue", xlim=(-0.5, len(TASKS) - 0.5))
    return drawing
