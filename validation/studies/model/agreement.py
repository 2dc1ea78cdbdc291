"""Are Q, R, the velocity and the dissipation those of the numpy Transformer?

Random Transformers: up to 12 prompts of 9 tokens in 7 dimensions, up to 4 layers of 19 heads, full or factored, and
19 neurons with five activations, of unequal weights, with one label or two; and one with so much work that prompts
are shared among groups. Measured, relative: the largest differences from

    Q = R + (lambda/2) int |beta|^2 d rho dt,    v = -grad dQ/drho,    |v|^2 = int |v|^2 d rho dt

by hand-written backpropagation in float64. They are equal up to round-off of float64 and of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.agreement import TOLERANCE, by_numpy
from validation.flows import random_data, random_measure
from validation.statistics import relative_gap
from validation.study import Answer, Claim, Runs, at_most

COST = 0.8
CAPTION = ""

NAMES = ("Q", "R", "velocity", "dissipation")


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"number": 20, "dtype": dtype, "seed": seed} for dtype in TOLERANCE for seed in range(10 if full else 2)]


def measure(number: int, dtype: str, seed: int) -> Answer:
    """The largest relative differences over so many random Transformers."""
    rng, worst = np.random.default_rng(seed), dict.fromkeys(NAMES, 0.0)
    for k in range(number):
        B, D, n, L = (int(rng.integers(1, most + 1)) for most in (12, 7, 9, 4))
        widths = {"theta": int(rng.integers(1, 20)), "w": int(rng.integers(1, 20))}
        if k == 0:  # so much work that prompts are shared among groups
            B, D, n, L, widths = 70, 4, 6, 2, {"theta": 80, "w": 90}
        data = random_data(rng, B, D, n, int(rng.integers(3)))
        objective = wflow.TransformerObjective(data, **_architecture(rng), weight_decay=0.1, layers=L)
        rho = random_measure(objective, widths, rng, np.dtype(dtype))
        (Q, R, v), ours = by_numpy(objective, rho), objective.evaluate(rho)
        squares = sum(float(np.sum(rho.mass(b)[..., None] * v[b] ** 2)) for b in v)
        velocity = max(relative_gap(ours.velocity[b], v[b]) for b in v)
        gaps = {"Q": max(abs(ours.value - Q), abs(objective.value(rho) - Q)) / Q, "R": abs(ours.parts["risk"] - R) / R}
        gaps |= {"velocity": velocity, "dissipation": abs(objective.dissipation(rho) - squares) / squares}
        worst = {name: max(worst[name], gaps[name]) for name in NAMES}
    return worst


def claims(runs: Runs) -> list[Claim]:
    out = []
    for dtype, limit in TOLERANCE.items():
        rows = list(runs.of(dtype=dtype))
        number = sum(case["number"] for case, _ in rows)
        words = f"of the numpy Transformer, largest relative difference in {number} random cases, {dtype}"
        out += [at_most(f"{name} {words}", max(a[name] for _, a in rows), limit) for name in NAMES]
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _architecture(rng: np.random.Generator) -> dict[str, Any]:
    """Encoders at random; not both absent."""
    full, factored = wflow.SoftmaxAttention(), wflow.SoftmaxAttention(True, int(rng.integers(1, 4)))
    heads = [None, full, full, factored]
    names = ("relu", "huberized-relu", "tanh", "gelu", "identity")
    attention = heads[rng.integers(4)]
    feedforward = wflow.FeedForward(names[rng.integers(5)], int(rng.integers(1, 4)), bool(rng.integers(2)))
    return {"attention": attention, "feedforward": feedforward if attention is None or rng.integers(5) else None}
