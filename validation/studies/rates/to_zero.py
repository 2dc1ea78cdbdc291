"""Without weight decay, does the smallest eigenvalue of the last kernel decide how fast the risk falls?

Near the end the kernel K stands still, so that in its slowest mode u, of eigenvalue k,

    <u, r> ~ e^{-k tau/B},  R = |r|^2/(2 B) ~ e^{-2 k tau/B}.

Before, K moves: R is compared with that of the frozen first kernel, dr/dtau = -K(0) r/B.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import wflow
from validation.drawing import common_legend, line_of, panels
from validation.studies.rates._model import (
    BASE,
    SCHEME,
    flow_to_the_end,
    frozen_risk,
    late_rate,
    problem,
    residual,
    words,
)
from validation.study import Answer, Case, Claim, Runs, Table, within

COST = 6.0
CAPTION = (
    "Risk without weight decay. Left: thin black lines have slope -2 k/B with the smallest eigenvalue k of the last "
    "kernel. Right: the same flows, and in grey those of the frozen first kernel."
)


def cases(full: bool) -> list[dict[str, Any]]:
    some: list[dict[str, Any]] = [{}, *({"B": b} for b in (2, 8)), *({"width": m} for m in (4, 16))]
    some += [{"task": "noisy"}, {"task": "tanh"}]
    if full:
        some += [{"B": 16}, {"width": 32}, *({"seed": s} for s in (1, 2)), *({"seed": s, "B": 8} for s in (1, 2))]
    return [{**BASE, **x} for x in some]


def measure(task: str, B: int, width: int, seed: int) -> Answer:
    """R over tau, the kernel at the ends, and the last decay of R and of r in the slowest mode."""
    objective, rho0 = problem(task, B, width, seed)
    save = wflow.SaveAt(tau=np.geomspace(1, 1e5, 101).tolist())
    answer = wflow.solve(objective, rho0, (0, 1e5), scheme=SCHEME, rtol=1e-4, tol=1e-9, save=save)
    first, last = (wflow.tangent_kernel(objective, answer.measure(i)) for i in (0, -1))
    values, vectors = np.linalg.eigh(last)
    start = int(np.flatnonzero(answer.frame_tau < answer.tau[answer.risk > 1e-10 * answer.risk[0]][-1])[-1])
    end = flow_to_the_end(objective, answer.measure(start), values[0] / B, values[-1] / B)
    first_residual = residual(objective, answer.measure(0))
    residuals = np.array([residual(objective, end.measure(i)) for i in range(end.n_frames)])
    return {
        "tau": answer.tau,
        "R": answer.risk,
        "end_tau": answer.frame_tau[start] + end.frame_tau,
        "end_R": np.mean(residuals**2, axis=1) / 2,
        "first": np.linalg.eigvalsh(first),
        "last": values,
        "share": (vectors[:, 0] @ first_residual) ** 2 / np.sum(first_residual**2),
        "frozen": frozen_risk(first, first_residual, answer.tau),
        "rate": 2 * late_rate(end, np.linalg.norm(residuals, axis=1)),
        "rate_slowest": late_rate(end, np.abs(residuals @ vectors[:, 0])),
    }


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, answer in runs:
        rate, text = answer["last"][0] / case["B"], f"lambda = 0, {words(case)}"
        out.append(within(f"{text}: last rate of R against 2 k/B", answer["rate"], 2 * rate, 0.01, relative=True))
        text += ": rate of r in the slowest mode against k/B"
        out.append(within(text, answer["rate_slowest"], rate, 1e-3, relative=True))
    return out


def findings(runs: Runs) -> list[str]:
    ratios = [float(answer["last"][0] / answer["first"][0]) for _, answer in runs]
    later = [_reached(a["tau"], a["frozen"]) / _reached(a["tau"], a["R"]) for _, a in runs]
    finite = [x for x in later if np.isfinite(x)]
    missing = len(later) - len(finite)
    frozen = (
        f"The kernel is not frozen: along the {len(runs)} flows to zero risk its smallest eigenvalue changes by "
        f"factors of {min(ratios):.2g} to {max(ratios):.2g}. With the frozen first kernel R reaches 1 % of R(0) "
        f"{min(finite):.2g} to {max(finite):.2g} times as late"
        + (f", and in {missing} of the flows not before their end." if missing else ".")
    )
    tasks = {case["task"]: _last_rate(case, answer) for case, answer in runs.of(B=4, width=8, seed=0)}
    task = f"Task: the last rate 2 k/B at B = 4 is {', '.join(f'{rate:.3g} ({name})' for name, rate in tasks.items())}."
    rates = {case["width"]: _last_rate(case, answer) for case, answer in runs.of(task="linear", B=4, seed=0)}
    low, high = min(rates.values()), max(rates.values())
    width = (
        f"Width: from M = {min(rates)} to {max(rates)} the last rate 2 k/B on the same data stays between {low:.4f} "
        f"and {high:.4f}: in the time of the flow, width {'hardly matters' if high < 1.1 * low else 'matters'} for the "
        "rate."
    )
    return [frozen, task, width]


def table(runs: Runs) -> Table:
    head = ["task", "B", "M", "seed", "k first", "k last", "2 k/B", "last rate of R", "tau to 1 % of R(0)"]
    head += ["the same, frozen kernel", "share of r(0) in the slowest mode"]
    rows = []
    for case, r in runs:
        times = [_reached(r["tau"], r["R"]), _reached(r["tau"], r["frozen"])]
        smallest = [float(r["first"][0]), float(r["last"][0]), _last_rate(case, r)]
        row = [case["task"], case["B"], case["width"], case["seed"], *smallest, float(r["rate"]), *times]
        rows.append([*row, float(r["share"])])
    return Table("No weight decay: k is the smallest eigenvalue of the kernel.", head, rows)


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2)
    some = sorted(runs.of(task="linear", width=8, seed=0), key=lambda pair: pair[0]["B"])
    for k, (case, r) in enumerate(some):
        on, end = r["tau"] <= r["end_tau"][0], r["end_tau"]
        tau, R = np.append(r["tau"][on], end), np.append(r["R"][on], r["end_R"]) / r["R"][0]
        left.semilogy(tau, R, **line_of(k, label=f"$B={case['B']}$"))
        left.semilogy(end, R[-1] * np.exp(-_last_rate(case, r) * (end - end[-1])), color="k", lw=0.6)
        right.loglog(tau[1:], R[1:], **line_of(k))
        right.loglog(r["tau"][1:], r["frozen"][1:] / r["R"][0], **line_of(k) | {"color": "0.6"})
    for axes in (left, right):
        axes.set(xlabel="$\\tau$", ylabel="$R\\,/\\,R(0)$")
    right.set(ylim=(1e-4, 2))
    common_legend(left, "outside upper center", ncols=4)
    return drawing


def _last_rate(case: Case, answer: Answer) -> float:
    """2 k/B of the last kernel."""
    return float(2 * answer["last"][0] / case["B"])


def _reached(tau: NDArray[Any], R: NDArray[Any], share: float = 0.01) -> float:
    """When R has come down to a share of R(0); infinity if it has not."""
    below = np.flatnonzero(share * R[0] >= R)
    return float(tau[below[0]]) if len(below) else np.inf
