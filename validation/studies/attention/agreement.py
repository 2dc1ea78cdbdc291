"""Do wflow and the numpy Transformer move a Transformer alike, for every kernel, mask and loss?

Random Transformers of two layers with tanh neurons; heads are factored and mobilities uneven for odd seeds. Measured,
relative: Q, R and the velocity; and Q, R, |v|^2 and the particles of runs to tau = 5, in 50 Euler steps of 0.1 and in
the adaptive steps that wflow chose; at the quick size one run for every mask. They are equal up to round-off of
float64 and of float32.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from validation.agreement import MASKS, TOLERANCE, differences
from validation.heads import KERNELS
from validation.losses import LOSSES
from validation.study import Answer, Claim, Runs, Table, at_most

CAPTION = ""

SHOWN = ("velocity", "50 steps", "adaptive")


def COST(full: bool, **case: Any) -> float:
    return 4.0 if full else 1.0


def cases(full: bool) -> list[dict[str, Any]]:
    every = itertools.product(KERNELS, TOLERANCE, range(5 if full else 2))
    return [{"kernel": kernel, "dtype": dtype, "seed": seed, "full": full} for kernel, dtype, seed in every]


def measure(kernel: str, dtype: str, seed: int, full: bool) -> Answer:
    """The relative differences by mask (rows) and loss (columns)."""
    out: dict[str, Any] = {}
    for (i, mask), (j, loss) in itertools.product(enumerate(MASKS), enumerate(LOSSES)):
        for name, gap in differences(kernel, mask, loss, seed, dtype, runs=full or i == j).items():
            out.setdefault(name, np.zeros((len(MASKS), len(LOSSES))))[i, j] = gap
    return out


def claims(runs: Runs) -> list[Claim]:
    out = []
    for (dtype, limit), kernel in itertools.product(TOLERANCE.items(), KERNELS):
        found = [a for _, a in runs.of(kernel=kernel, dtype=dtype)]
        worst = max(float(np.max(a[name])) for a in found for name in ("value", *SHOWN))
        out.append(at_most(f"{kernel}, {dtype}: numpy Transformer, every mask and loss, relative", worst, limit))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> Table:
    rows = []
    for kernel, (i, mask) in itertools.product(KERNELS, enumerate(MASKS)):
        row: list[Any] = [kernel, mask]
        for dtype in TOLERANCE:
            found = [a for _, a in runs.of(kernel=kernel, dtype=dtype)]
            row += [max(float(a[name][i].max()) for a in found) for name in SHOWN]
        rows.append(row)
    head = ["kernel", "mask", *(f"{name}, {dtype[5:]} bits" for dtype in TOLERANCE for name in SHOWN)]
    title = (
        "Largest relative differences from the numpy Transformer over losses and seeds: velocity, 50 Euler steps of "
        "0.1, adaptive steps to tau = 5."
    )
    return Table(title, head, rows)


def figure(runs: Runs) -> None:
    return None
