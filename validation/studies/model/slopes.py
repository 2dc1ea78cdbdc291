"""Is the velocity of every depth rule minus the gradient of its Q?

In a random direction e of the particles of one block

    d/ds Q(rho + s e) = -<v, e>    at s = 0, with the inner product of the masses of particles

Measured for full and factored heads, smooth activations, two layers: differences of Q of order 6, relative to the sum
of the sizes of all terms.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import wflow
from validation.derivatives import along
from validation.flows import random_data, random_measure
from validation.studies.model._depths import ORDERS
from validation.study import Answer, Claim, Runs, at_most

COST = 0.5
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"depth": depth, "seed": seed} for depth in ORDERS for seed in range(4 if full else 1)]


def measure(depth: str, seed: int) -> Answer:
    """The largest difference over architectures and blocks."""
    rng, worst = np.random.default_rng(seed), 0.0
    heads = (wflow.SoftmaxAttention(), wflow.SoftmaxAttention(factored=True, rank=2))
    for attention, activation in itertools.product(heads, ("tanh", "gelu")):
        neurons = wflow.FeedForward(activation, 2, True)
        Q = wflow.TransformerObjective(random_data(rng, 4, 3, 3, 2), attention, neurons, 0.3, depth=depth, layers=2)
        rho = random_measure(Q, {"theta": 3, "w": 4}, rng)
        v = Q.velocity(rho)
        for block in v:
            e = rng.standard_normal(v[block].shape)
            expected = -float(np.sum(rho.mass(block)[..., None] * v[block] * e))
            scale = float(np.sum(rho.mass(block)[..., None] * np.abs(v[block] * e)))
            worst = max(worst, abs(float(along(Q.value, rho, {block: e})) - expected) / scale)
    return {"difference": worst}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for depth in ORDERS:
        worst = max(a["difference"] for _, a in runs.of(depth=depth))
        out.append(at_most(f"{depth}: velocity and differences of Q, relative", worst, 1e-9))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
