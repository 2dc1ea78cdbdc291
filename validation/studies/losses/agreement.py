"""Do wflow and the numpy Transformer move a Transformer alike, for every loss?

Softmax heads and tanh neurons in two layers, five prompts, two labels; heads are factored and mobilities uneven for
odd seeds. Measured, relative: Q, R and the velocity; and Q, R, |v|^2 and the particles of runs to tau = 5, in 50
Euler steps of 0.1 and in the adaptive steps that wflow chose. They are equal up to round-off of float64 and of
float32.
"""

from __future__ import annotations

import itertools
from typing import Any

from validation.agreement import TOLERANCE, differences
from validation.losses import LOSSES
from validation.study import Answer, Claim, Runs, at_most

COST = 0.5
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    every = itertools.product(LOSSES, TOLERANCE, range(10 if full else 2))
    return [{"loss": loss, "dtype": dtype, "seed": seed} for loss, dtype, seed in every]


def measure(loss: str, dtype: str, seed: int) -> Answer:
    """The largest relative differences."""
    return differences("softmax", "none", loss, seed, dtype)


def claims(runs: Runs) -> list[Claim]:
    out = []
    for (dtype, limit), loss in itertools.product(TOLERANCE.items(), LOSSES):
        found = [a for _, a in runs.of(loss=loss, dtype=dtype)]
        worst = max(a[k] for a in found for k in ("velocity", "value", "50 steps", "adaptive"))
        out.append(at_most(f"{loss}, {dtype}: numpy Transformer, velocity and runs, relative", worst, limit))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
