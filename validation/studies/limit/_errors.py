"""Trained Transformers, and how far they are from the limit."""

from __future__ import annotations

__all__ = ["Errors", "errors_of", "largest", "networks", "total_errors", "trained"]

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from validation.statistics import rms
from validation.study import Answer, Runs

Array = NDArray[np.float64]

#: By name Q, R and predictions, each (runs, STEPS + 1).
Errors = Mapping[str, Array]


def networks(full: bool) -> list[tuple[int, int]]:
    """M and L of the networks."""
    widths, depths = ((4, 16, 64), (4, 8, 16, 32)) if full else ((4, 16, 32), (4, 8, 16))
    return list(itertools.product(widths, depths))


def trained(full: bool) -> list[dict[str, Any]]:
    """The cases of all networks, each drawn so many times."""
    seeds = 24 if full else 10
    return [{"what": "trained", "M": M, "L": L, "seed": k} for M, L in networks(full) for k in range(seeds)]


def errors_of(answers: Sequence[Answer], other: Answer) -> Errors:
    """|Q^ - Q|, |R^ - R| and the rms error of the predictions of all answers."""
    out = {name: np.array([np.abs(answer[name] - other[name]) for answer in answers]) for name in ("Q", "R")}
    apart = np.array([answer["predictions"] - other["predictions"] for answer in answers])
    return out | {"predictions": np.sqrt(np.mean(apart**2, axis=2))}


def total_errors(runs: Runs) -> dict[tuple[int, int], Errors]:
    """The errors from the limit by M and L."""
    limit = runs.one(what="limit", layers=16)
    drawn = {(M, L): [x for _, x in runs.of(what="trained", M=M, L=L)] for M, L in networks(runs.full)}
    return {key: errors_of(answers, limit) for key, answers in drawn.items()}


def largest(errors: Errors, name: str) -> float:
    """The rms over runs of the largest error along training."""
    return rms(errors[name].max(axis=1))
