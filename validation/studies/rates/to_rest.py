"""With weight decay, does the smallest eigenvalue of the Hessian decide how fast the flow comes to rest?

Near rest the velocity v obeys the linear equation of the Hessian H of Q in the metric of the flow, so that with its
smallest eigenvalue mu

    dv/dtau = -H v,  |v| ~ e^{-mu tau}.

Parameters that the data do not see have the rate lambda. H comes from differences of the numpy Transformer's gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import line_of, log_log, panels
from validation.kernel import flatten, hessian, state_of
from validation.studies.rates._model import BASE, SCHEME, flow_to_the_end, late_rate, problem, words
from validation.study import Answer, Claim, Runs, Table, within
from validation.trajectory import finite_transformer
from wflow.figures.style import PALETTE

COST = 8.0
CAPTION = (
    "Left: |v| with weight decay; thin black lines have slope -mu with the smallest eigenvalue mu of the Hessian at "
    "rest. Right: mu by lambda; grey: the rate lambda of parameters that the data do not see."
)


def cases(full: bool) -> list[dict[str, Any]]:
    """Prompts, seeds and weight decays."""
    some = [(4, 1, 0.1), (4, 1, 0.3), (8, 0, 0.1)]
    if full:
        some += [(4, 0, 0.03), (4, 0, 0.1), (4, 0, 0.3), (4, 1, 0.03), (8, 0, 0.03), (8, 0, 0.3)]
    return [{**BASE, "B": B, "seed": seed, "weight_decay": x} for B, seed, x in some]


def measure(task: str, B: int, width: int, seed: int, weight_decay: float) -> Answer:
    """The last decay of |v|, and of v in the slowest eigenspace of the Hessian."""
    objective, rho0 = problem(task, B, width, seed, weight_decay)
    span, save = 1000 / weight_decay, wflow.SaveAt(every=1 / weight_decay)
    answer = wflow.solve(objective, rho0, (0, span), scheme=SCHEME, rtol=1e-3, tol=1e-10, save=save)
    rest = state_of(answer.measure(-1).blocks)
    values, vectors = np.linalg.eigh(hessian(finite_transformer(objective), rest, objective.dataset))
    slow = vectors[:, values <= values[0] + 1e-3 * weight_decay]
    speeds = np.array([objective.dissipation(answer.measure(i)) ** 0.5 for i in range(answer.n_frames)])
    start = int(np.flatnonzero(speeds > 1e-6)[-1])
    end = flow_to_the_end(objective, answer.measure(start), values[0], values[-1])
    velocities = np.array([flatten(state_of(objective.velocity(end.measure(i)))) for i in range(end.n_frames)])
    return {
        "tau": answer.frame_tau[: start + 1],
        "speed": speeds[: start + 1],
        "end_tau": answer.frame_tau[start] + end.frame_tau,
        "end_speed": np.linalg.norm(velocities, axis=1),
        "smallest": values[0],
        "largest": values[-1],
        "dimension": slow.shape[1],
        "rate": late_rate(end, np.linalg.norm(velocities, axis=1)),
        "rate_slowest": late_rate(end, np.linalg.norm(velocities @ slow, axis=1)),
    }


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, answer in runs:
        mu, text = answer["smallest"], f"lambda = {case['weight_decay']:g}, {words(case)}"
        out.append(within(f"{text}: last rate of |v| against mu", answer["rate"], mu, 0.02, relative=True))
        text += ": rate of v in the slowest modes against mu"
        out.append(within(text, answer["rate_slowest"], mu, 1e-3, relative=True))
    return out


def findings(runs: Runs) -> list[str]:
    ratios = [answer["smallest"] / case["weight_decay"] for case, answer in runs]
    text = f"With weight decay the slowest rate mu is {min(ratios):.2g} to {max(ratios):.2g} lambda"
    if max(ratios) < 1:
        text += ": below the rate lambda of parameters that the data do not see, by a factor that depends on the data"
    return [f"{text}."]


def table(runs: Runs) -> Table:
    head = ["lambda", "B", "seed", "mu", "mu/lambda", "its multiplicity", "largest eigenvalue", "last rate of |v|"]
    rows = []
    for case, r in sorted(runs, key=lambda x: (x[0]["B"], x[0]["seed"], x[0]["weight_decay"])):
        decay, mu = case["weight_decay"], float(r["smallest"])
        row = [decay, case["B"], case["seed"], mu, mu / decay, r["dimension"], float(r["largest"]), float(r["rate"])]
        rows.append(row)
    return Table("Weight decay: mu is the smallest eigenvalue of the Hessian at rest.", head, rows)


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2)
    for k, (case, r) in enumerate(list(runs)[:3]):
        decay, end = case["weight_decay"], r["end_tau"]
        tau, speed = np.append(r["tau"], end), np.append(r["speed"], r["end_speed"])
        left.semilogy(decay * tau, speed, **line_of(k, label=f"$\\lambda={decay:g}$, $B={case['B']}$"))
        left.semilogy(decay * end, speed[-1] * np.exp(-r["smallest"] * (end - end[-1])), color="k", lw=0.6)
    decays = sorted({case["weight_decay"] for case, _ in runs})
    log_log(right, decays, [*decays, *(answer["smallest"] for _, answer in runs)])
    for k, (B, seed) in enumerate(dict.fromkeys((case["B"], case["seed"]) for case, _ in runs)):
        some = sorted((case["weight_decay"], answer["smallest"]) for case, answer in runs.of(B=B, seed=seed))
        right.plot(*zip(*some), marker="osD"[k], ms=4, lw=0.6, color=PALETTE[k], label=f"$B={B}$, seed {seed}")
    right.plot(decays, decays, color="0.6", lw=0.6)
    left.set(xlabel="$\\lambda\\tau$", ylabel="$|v|$")
    right.set(xlabel="weight decay $\\lambda$", ylabel="$\\mu$")
    for axes in (left, right):
        axes.legend()
    return drawing
