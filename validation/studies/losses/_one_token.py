"""Prompts of one token in one layer of softmax heads: the prediction u = V H/2 is linear in the mean value matrix V.

The last entry of a token is 1, and those before it, 0 at first, are the predictions: one, or one for each of three
classes. The mean value matrix moves by -l'(u)/2 and the prediction by half of that:

    u' = -l'(u)/4 - lambda u
"""

from __future__ import annotations

__all__ = ["CLASSES", "DELTA", "LABEL", "START", "TO_REST", "gap_of", "heads", "objective"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow
from wflow.controllers import Fixed

Array = NDArray[Any]

DELTA, CLASSES = 0.5, 3
#: Where predictions start, and the label: the class 0 of three.
START = {"squares": 2.0, "huber": 2.0, "logistic": -1.0, "cross-entropy": -1.0}
LABEL: dict[str, Any] = {"squares": -1.0, "huber": -1.0, "logistic": 1.0, "cross-entropy": 0}
#: Steps that end where the velocity vanishes: rates are at most 1/4 + lambda.
TO_REST: Any = {"scheme": "heun", "controller": Fixed(1.0, monotone=False), "tol": 0, "progress": False}


def objective(loss: str, labels: Any, weight_decay: float = 0.0) -> wflow.TransformerObjective:
    """Equal prompts of one token with these labels."""
    K = CLASSES if loss == "cross-entropy" else 1
    tokens = np.zeros((len(labels), K + 1, 1))
    tokens[:, -1] = 1
    data = wflow.Dataset(tokens, labels, [(k, 0) for k in range(K)])
    options: dict[str, Any] = {"huber_delta": DELTA} if loss == "huber" else {}
    attention = wflow.SoftmaxAttention()
    return wflow.TransformerObjective(data, attention, weight_decay=weight_decay, layers=1, loss=loss, **options)


def heads(Q: wflow.TransformerObjective, start: float, M: int = 3) -> wflow.Particles:
    """Different heads whose mean makes the first prediction start here, and others 0."""
    rng, D = np.random.default_rng(0), Q.dataset.tokens.shape[1]
    values = rng.standard_normal((Q.rule.n_slices, M, D, D))
    values -= values.mean(axis=(0, 1))
    values[..., 0, -1] += 2 * start
    return wflow.Particles(theta=np.concatenate([values, 0 * values], axis=2).reshape(*values.shape[:2], -1))


def gap_of(loss: str, u: Array) -> Array:
    """What the closed forms know of predictions (..., K): u, or how far u_0 is above the mean of the others."""
    return np.asarray(u[..., 0] - u[..., 1:].mean(axis=-1) if loss == "cross-entropy" else u[..., 0])
