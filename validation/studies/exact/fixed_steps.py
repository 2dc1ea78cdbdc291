"""Does every scheme have its order on every flow of particles that is known?

When steps are halved, the largest error of a particle at the end must fall by the order p of the scheme:

    log(e_1/e_2)/log(h_1/h_2) = p

with steps of one size, and for BDF2, whose coefficients depend on them, with steps of two sizes in turn. Q must not
rise in any step, and for discrete gradients Q(x+) - Q(x) = -|x+ - x|^2/h. Measured too: how many evaluations of the
velocity that takes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import common_legend, panels
from validation.flows import FLOWS
from validation.studies.exact._errors import ORDERS, applies, gaps, order, ticks
from validation.study import Answer, Claim, Runs, Table, at_least, at_most, within
from wflow.controllers import Replay
from wflow.figures.style import DASHES, PALETTE

COST = 0.2
CAPTION = "The largest error of a particle, for every scheme: against the step, and against evaluations; three flows."


def cases(full: bool) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for flow, (scheme, p) in itertools.product(FLOWS, ORDERS.items()):
        first = (12 if p > 1 else 24) * (2 if scheme == "bdf2" else 1)
        if applies(scheme, flow):
            out.append({"flow": flow, "scheme": scheme, "steps": [first * 2**k for k in range(5 if full else 3)]})
    for flow in ("single-token", "double well"):
        out.append({"flow": flow, "scheme": "bdf2", "steps": [24 * 2**k for k in range(4)], "ratio": 2.0})
    return out


def measure(flow: str, scheme: str, steps: Sequence[int], ratio: float = 1.0) -> Answer:
    """Errors for numbers of steps, every other one of which is ratio times as long; and what holds in every step."""
    case, errors, evaluations, seconds, rise, identity = FLOWS[flow](), [], [], [], 0.0, 0.0
    for n in steps:
        began = time.perf_counter()
        h = np.where(np.arange(n) % 2, ratio, 1.0) * 2 * case.tau / (n * (1 + ratio))
        method: Any = {"dtau": h[0]} if ratio == 1 else {"controller": Replay(tuple(h))}
        answer = wflow.solve(case.energy, case.rho0, (0, case.tau), scheme=scheme, tol=0, **method)
        seconds.append(time.perf_counter() - began)
        evaluations.append(answer.stats["evaluations"])
        errors.append(max(float(np.abs(gap).max()) for gap in gaps(answer.measure(-1), case.exact).values()))
        change, scale = np.diff(answer.energy), max(1.0, float(np.abs(answer.energy).max()))
        rise = max(rise, float(change.max()) / scale)
        residual = change + answer.series["step_length"][1:] ** 2 / answer.series["dtau"][1:]
        identity = max(identity, float(np.abs(residual).max()) / scale)
        if answer.stats["rejected"] or "fallbacks" in answer.stats:
            raise AssertionError(f"{answer.stats} with {n} steps")
    series = {"errors": errors, "evaluations": evaluations, "seconds_each": seconds}
    return {k: np.array(v) for k, v in series.items()} | {"rise": rise, "identity": identity}


def claims(runs: Runs) -> list[Claim]:
    out: list[Claim] = []
    orders: dict[str, list[tuple[float, str]]] = {scheme: [] for scheme in ORDERS}
    for case, a in runs:
        observed, scheme = order(a["errors"], case["steps"]), case["scheme"]
        if (case["flow"], scheme) == ("double well", "dopri5"):
            words = "order of dopri5 on double well, where its error of order 5 is small beside that of order 6"
            out.append(at_least(words, observed, ORDERS[scheme]))
        else:
            orders[scheme].append((observed, _name(case)))
    for scheme, pairs in orders.items():
        observed, flow = max(pairs, key=lambda pair: abs(pair[0] - ORDERS[scheme]))
        statement = f"order of {scheme}, in {len(pairs)} cases the one which is furthest from it ({flow})"
        out.append(within(statement, observed, ORDERS[scheme], 0.15))
    rise = max(a["rise"] for _, a in runs)
    out.append(at_most("largest rise of Q in a step, all schemes and flows", rise, 1e-13))
    identity = max(a["identity"] for _, a in runs.of(scheme="discrete-gradient"))
    out.append(at_most("discrete gradients: |Q(x+) - Q(x) + |x+ - x|^2/h| in any step", identity, 5e-14))
    return out


def findings(runs: Runs) -> list[str]:
    # error = C/evaluations^2: what an error of 1e-4 takes
    second = [(case, a) for case, a in runs.of(flow="single-token") if ORDERS[case["scheme"]] == 2]
    needs = {case["scheme"]: float(a["evaluations"][-1] * np.sqrt(a["errors"][-1] / 1e-4)) for case, a in second}
    words = ", ".join(f"{scheme} {n:.0f}" for scheme, n in sorted(needs.items(), key=lambda pair: pair[1]))
    return [f"Evaluations of the velocity for an error of 1e-4 on one token, by the schemes of order 2: {words}."]


def table(runs: Runs) -> Table:
    rows = []
    for case, a in runs:
        last = [case["steps"][-1], float(a["errors"][-1]), order(a["errors"], case["steps"])]
        rows.append([_name(case), case["scheme"], *last, int(a["evaluations"][-1]), float(a["seconds_each"][-1])])
    head = ["flow", "scheme", "steps", "error", "order", "evaluations", "seconds"]
    return Table("Particles: the largest error at the end for the smallest step", head, rows)


def figure(runs: Runs) -> Figure:
    drawing, (by_step, by_work) = panels(3, 5.0, nrows=2, sharey="row")
    for above, below, flow in zip(by_step, by_work, ("single-token", "sine-circle", "double well")):
        for case, a in runs.of(flow=flow):
            if "ratio" not in case:
                k = list(ORDERS).index(case["scheme"])
                line: dict[str, Any] = {"color": PALETTE[k % 5], "linestyle": DASHES[k // 5], "marker": "o^s"[k // 5]}
                above.loglog(FLOWS[flow]().tau / np.array(case["steps"]), a["errors"], label=case["scheme"], **line)
                below.loglog(a["evaluations"], a["errors"], **line)
        above.set(title=flow, xlabel=r"step $\Delta\tau$")
        below.set(xlabel="evaluations of the velocity")
        ticks(above, [0.01, 0.02, 0.05, 0.1])
        ticks(below, [30, 100, 300, 1000])
    for row in (by_step, by_work):
        row[0].set_ylabel("largest error of a particle")
    common_legend(by_step[2], "outside lower center", ncols=6)
    return drawing


def _name(case: Any) -> str:
    return str(case["flow"]) + (", uneven steps" if "ratio" in case else "")
