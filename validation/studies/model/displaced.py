"""Is the distance of a measure from a shifted copy the length of the shift?

Clouds that are shifted by t^2 at depth t, heads by a vector of length 1 and neurons by one of length 2, and shuffled,
are at the distance

    d^2 = sum_l om_l (1^2 + 2^2) t_l^4

with the nodes t_l and the weights om_l that every depth rule is known to have. Measured: the relative error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.flows import random_data
from validation.studies.model._depths import ORDERS
from validation.study import Answer, Claim, Runs, at_most
from wflow.distances import conditional_w2

COST = 0.2
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"depth": depth} for depth in ORDERS]


def measure(depth: str) -> Answer:
    """How far the distance is from the sum over slices."""
    rng, L, encoders = np.random.default_rng(5), 3, (wflow.SoftmaxAttention(), wflow.FeedForward("tanh"))
    Q = wflow.TransformerObjective(random_data(rng, 2, 2, 3), *encoders, depth=depth, layers=L)
    nodes, weights = {
        "split-euler": (np.arange(L) / L, np.full(L, 1 / L)),
        "midpoint": ((np.arange(L) + 0.5) / L, np.full(L, 1 / L)),
        "rk4-nodes": (np.arange(2 * L + 1) / (2 * L), np.array([1, 4, 2, 4, 2, 4, 1]) / (6 * L)),
    }[depth]
    clouds = {b: rng.standard_normal((len(nodes), 6, p)) for b, p in Q.n_parameters.items()}
    start = Q.prepare(wflow.Particles(weights=None, **clouds))
    shift, expected, moved = nodes**2, 0.0, {}
    for size, (name, x) in enumerate(start.blocks.items(), start=1):
        direction = rng.standard_normal(x.shape[2:])
        direction *= size / np.linalg.norm(direction)
        moved[name] = x[:, rng.permutation(6)] + shift[:, None, None] * direction
        expected += float(weights @ (size * shift) ** 2)
    return {"difference": abs(conditional_w2(start, start.replace(**moved)) / np.sqrt(expected) - 1)}


def claims(runs: Runs) -> list[Claim]:
    words = "distance of shifted clouds, relative error"
    return [at_most(f"{case['depth']}: {words}", a["difference"], 1e-12) for case, a in runs]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
