"""What several test files share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import wflow
from validation.flows import random_data

__all__ = ["random_data", "random_measure", "slope", "small"]


def slope(f: Callable[[float], Any], h: float) -> Any:
    """``f'(0)`` by central differences of step h, h/2 and h/4, extrapolated twice: error O(h^6)."""
    first = [(f(h / k) - f(-h / k)) / (2 * h / k) for k in (1, 2, 4)]
    second = [(4 * fine - coarse) / 3 for coarse, fine in itertools.pairwise(first)]
    return (16 * second[1] - second[0]) / 15


def random_measure(
    objective: wflow.TransformerObjective,
    widths: dict[str, int],
    rng: np.random.Generator,
    dtype: type = np.float64,
    weighted: bool = False,
) -> wflow.Particles:
    """Gaussian particles of every block, with random weights on demand."""
    blocks, weights = {}, {}
    slices = objective.rule.n_slices
    for block, p in objective.n_parameters.items():
        blocks[block] = rng.standard_normal((slices, widths[block], p)).astype(dtype)
        mass = rng.random((slices, widths[block])) + 0.1
        weights[block] = mass / mass.sum(axis=1, keepdims=True)
    return wflow.Particles(**blocks, weights=weights if weighted else None)


@pytest.fixture
def small() -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """A small Transformer with both encoders and a measure for it."""
    rng = np.random.default_rng(5)
    objective = wflow.TransformerObjective(
        random_data(rng, 6, 3, 4), wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=0.01, layers=3
    )
    return objective, random_measure(objective, {"theta": 5, "w": 7}, rng)
