"""Does the flow keep the bounds of its distances, of its second moment and of Q?

Between any times s1 < s2 of the gradient flow, and, with twice the first, of JKO:

    d^2(rho(s1), rho(s2)) <= (s2 - s1) (Q(s1) - Q(s2)),    int |beta|^2 d rho(s) dt <= 2 Q(0)/lambda

Measured at seven times of a run of the flow and of one of JKO in steps of 0.5: the largest shares of these bounds,
with Q by the numpy Transformer; the mass of slices; and that Q falls.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import wflow
from validation.agreement import by_numpy
from validation.flows import random_data
from validation.study import Answer, Claim, Runs, at_most
from wflow.distances import conditional_w2

COST = 0.4
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"scheme": scheme} for scheme in ("dopri5", "jko")]


def measure(scheme: str) -> Answer:
    """Shares of bounds, the change of mass, and the largest rise of Q."""
    rng, decay = np.random.default_rng(2), 0.3
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("gelu")
    Q = wflow.TransformerObjective(random_data(rng, 6, 3, 4), *encoders, weight_decay=decay, layers=3)
    blocks = {b: rng.standard_normal((3, 5, p)) for b, p in Q.n_parameters.items()}
    method: dict[str, Any] = {"dtau": 0.5} if scheme == "jko" else {"rtol": 1e-9, "atol": 1e-11}
    save = wflow.SaveAt(every=0.5)
    answer = wflow.solve(Q, wflow.Particles(weights=None, **blocks), (0, 3.0), scheme=scheme, save=save, **method)
    measures, tau = [answer.measure(i) for i in range(answer.n_frames)], answer.frame_tau
    energies, shares = [by_numpy(Q, rho)[0] for rho in measures], []
    for i, j in itertools.combinations(range(len(measures)), 2):
        bound = (tau[j] - tau[i]) * (energies[i] - energies[j])
        shares.append(conditional_w2(measures[i], measures[j]) ** 2 / bound)
    second = [sum(float(np.sum(rho.mass(b)[..., None] * x**2)) for b, x in rho.blocks.items()) for rho in measures]
    mass = max(float(np.abs(rho.weights(b).sum(axis=1) - 1).max()) for rho in measures for b in rho.blocks)
    rise = float(np.diff(energies).max())
    return {"distance": max(shares), "moment": max(second) * decay / (2 * energies[0]), "mass": mass, "rise": rise}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        scheme, factor = case["scheme"], 2.0 if case["scheme"] == "jko" else 1.0
        words = f"{scheme}: d^2/((s2 - s1)(Q(s1) - Q(s2))), largest over pairs of times"
        out.append(at_most(words, a["distance"], factor))
        out.append(at_most(f"{scheme}: second moment as a share of 2 Q(0)/lambda", a["moment"], 1.0))
        out.append(at_most(f"{scheme}: mass of a slice off one", a["mass"], 1e-13))
        out.append(at_most(f"{scheme}: largest change of Q between saved times, by numpy", a["rise"], 0.0))
    return out


def findings(runs: Runs) -> list[str]:
    flow, jko = (runs.one(scheme=scheme)["distance"] for scheme in ("dopri5", "jko"))
    needs = "needs" if jko > 1 else "does not need"
    return [
        f"The exact flow uses up to {flow:.2f} of the bound on its distances, JKO up to {jko:.2f}: at steps of 0.5 it "
        f"{needs} the factor 2 that theory allows it."
    ]


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
