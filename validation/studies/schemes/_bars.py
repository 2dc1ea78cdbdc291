"""Bars of all quantities, and pairs of schemes."""

from __future__ import annotations

__all__ = ["QUANTITIES", "bars", "furthest"]

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from validation.statistics import rms
from validation.study import Answer
from wflow.check import Source, error_bars

QUANTITIES = {"risk": "risk", "predictions": "predictions", "moments": "second moments"}


def bars(solve: Callable[[Mapping[str, int]], dict[str, Any]], sources: list[Source]) -> dict[str, Any]:
    """Values and bars of all quantities, the parts of the bars, and the observed orders in tau."""
    began = time.perf_counter()
    report = error_bars(solve, sources)
    out: dict[str, Any] = {"took": time.perf_counter() - began}
    for name, value in report.values.items():
        out |= {name: np.asarray(value), f"{name} bar": report.error(name)}
        out |= {f"{name} bar from {source}": bar.error for source, bar in report.bars[name].items()}
        order = report.bars[name]["tau"].order
        out[f"{name} order"] = np.nan if order is None else order
    return out


def furthest(rows: Mapping[str, Answer], quantity: str) -> tuple[float, float, str]:
    """(share of the allowed, distance, names) of the pair of schemes that uses most of the sum of its bars."""
    out = []
    for (a, x), (b, y) in itertools.combinations(rows.items(), 2):
        apart, allowed = rms(x[quantity] - y[quantity]), x[f"{quantity} bar"] + y[f"{quantity} bar"]
        out.append((apart / allowed, apart, f"{a} and {b}"))
    return max(out)
