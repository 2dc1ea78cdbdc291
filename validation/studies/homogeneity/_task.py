"""In-context regression with queries at -1 and 1, and the floors of its risk."""

from __future__ import annotations

__all__ = ["LAYERS", "PROMPTS", "TOKENS", "floor", "prompts", "reach"]

import numpy as np

import wflow

LAYERS, PROMPTS, TOKENS = 4, 16, 5


def prompts(B: int, seed: int, everywhere: bool = False) -> wflow.Dataset:
    """Columns ``(x_i, y_i, 1, query?)`` with ``y = slope x``; the query is at -1 or 1, or ``everywhere`` in between."""
    rng = np.random.default_rng([seed, B])
    x, slope = rng.uniform(-1, 1, (B, TOKENS)), rng.uniform(-1.5, 1.5, (B, 1))
    if not everywhere:
        x[:, -1] = np.where(np.arange(B) % 2, 1.0, -1.0)
    y = slope * x
    tokens = np.stack([x, y, np.ones_like(x), np.zeros_like(x)], axis=1)
    tokens[:, 1, -1], tokens[:, 3, -1] = 0, 1
    return wflow.Dataset(tokens, y[:, -1], (1, TOKENS - 1))


def floor(data: wflow.Dataset) -> float:
    """``1/2 E Var(y | x)``: the least risk of a function of the last token."""
    x = data.tokens[:, 0, -1]
    return sum(float(np.var(data.labels[x == value]) * np.mean(x == value)) / 2 for value in np.unique(x))


def reach(data: wflow.Dataset, b: float) -> float:
    """A bound of the risk from below for outer weights of size b and tanh neurons: rows grow no faster than that."""
    rows, read = np.abs(data.tokens).max(axis=2), np.abs(data.read(data.tokens)).ravel()
    for _ in range(LAYERS):
        step = b / (2 * LAYERS) * (rows.sum(axis=1) + 1)  # attention and neurons see rows of half a step each
        after = rows + b / (2 * LAYERS) * rows.sum(axis=1, keepdims=True)
        rows, read = after + b / (2 * LAYERS), read + step
    return float(np.mean(np.maximum(np.abs(data.labels) - read, 0) ** 2) / 2)
