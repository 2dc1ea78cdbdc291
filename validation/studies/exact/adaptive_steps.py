"""Do adaptive steps keep the error below what is tolerated?

Every step may add rtol (1 + |x|) to the error, in the norm of the flow, and where the flow expands at the rate Lambda
errors grow on the way:

    |x - x(tau)| <= e^(Lambda tau) n rtol (1 + |x|)    after n steps

Measured: the mass-weighted error of all particles at the end as a share of that, for every scheme.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import wflow
from validation.flows import FLOWS
from validation.studies.exact._errors import ORDERS, applies, gaps
from validation.study import Answer, Claim, Runs, at_most

COST = 0.3
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    out = []
    for flow, scheme in itertools.product(FLOWS if full else ("single-token", "double well"), ORDERS):
        if applies(scheme, flow):
            rtol = 1e-6 if scheme in ("bs3", "rk4", "dopri5") else 1e-4
            out.append({"flow": flow, "scheme": scheme, "rtol": rtol})
    return out


def measure(flow: str, scheme: str, rtol: float) -> Answer:
    """The error, what is allowed, and the number of steps."""
    case = FLOWS[flow]()
    answer = wflow.solve(case.energy, case.rho0, (0, case.tau), scheme=scheme, rtol=rtol, atol=rtol)
    rho, squares, size = answer.measure(-1), 0.0, 0.0
    for name, gap in gaps(rho, case.exact).items():
        mass = case.rho0.mass(name)[..., None]
        squares += float(np.sum(mass * gap**2))
        size += float(np.sum(mass * np.maximum(case.rho0.blocks[name] ** 2, rho.blocks[name] ** 2)))
    allowed = answer.stats["steps"] * rtol * (1 + np.sqrt(size)) * np.exp(case.expansion * case.tau)
    return {"error": np.sqrt(squares), "allowed": allowed, "steps": answer.stats["steps"]}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for scheme in ORDERS:
        share, flow = max((a["error"] / a["allowed"], case["flow"]) for case, a in runs.of(scheme=scheme))
        statement = f"adaptive {scheme}: error as a share of the sum of tolerated errors, at worst ({flow})"
        out.append(at_most(statement, share, 1.0))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
