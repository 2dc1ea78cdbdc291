"""The end of training: how far the risk has come down, and how it still falls."""

from __future__ import annotations

__all__ = ["by_name", "ends", "late_power", "percent"]

from collections.abc import Sequence

import numpy as np

from validation.statistics import geometric_mean
from validation.studies.homogeneity._encoders import Array
from validation.study import Answer, Runs


def by_name(runs: Runs) -> dict[str, list[Answer]]:
    """The answers of all seeds."""
    names = dict.fromkeys(case["name"] for case, _ in runs)
    return {name: [answer for _, answer in runs.of(name=name)] for name in names}


def ends(some: Sequence[Answer]) -> Array:
    """R/R(0) at the end, by seed."""
    return np.array([x["R"][-1] / x["R"][0] for x in some])


def percent(some: Sequence[Answer]) -> float:
    """R/R(0) at the end in percent, the geometric mean over seeds."""
    return 100 * geometric_mean(ends(some))


def late_power(some: Sequence[Answer]) -> float:
    """The power of tau with which the risk falls over the second half of the time."""
    halves = [np.interp(x["tau"][-1] / 2, x["tau"], x["R"]) for x in some]
    return float(np.log2(geometric_mean([x["R"][-1] for x in some]) / geometric_mean(halves)))
