"""Losses by hand: of predictions u and labels y the mean over prompts, and the slope in the predictions.

    squares         1/2 (u - y)^2
    logistic        log(1 + e^{-y u}),  y = 1 or -1
    huber           1/2 r^2 for |r| <= delta, delta |r| - delta^2/2 beyond,  r = u - y
    cross-entropy   log sum_k e^{u_k} - u_y,  y a class, or a row of zeros with a one

All but the last are summed over labels.

>>> loss_and_slope("huber", [[3.0], [0.5]], [1.0, 1.0], delta=1.0)
(0.8125, array([[ 1. ],
       [-0.5]]))
"""

from __future__ import annotations

__all__ = ["LOSSES", "loss_and_slope"]

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp

Array = NDArray[np.floating[Any]]

LOSSES: Final = ("squares", "logistic", "cross-entropy", "huber")


def loss_and_slope(loss: str, predictions: ArrayLike, labels: ArrayLike, delta: float) -> tuple[float, Array]:
    """The risk, and by prompt the derivative of its own loss, without 1/B, in its predictions: shape (B, K)."""
    u, y = np.asarray(predictions), np.asarray(labels)
    if loss == "cross-entropy":
        classes = np.eye(u.shape[1], dtype=u.dtype)[y.astype(int).ravel()] if y.size == len(u) else y.reshape(u.shape)
        log_sum = np.asarray(logsumexp(u, axis=1, keepdims=True))
        return float((log_sum[:, 0] - (classes * u).sum(axis=1)).mean()), np.exp(u - log_sum) - classes
    y = y.astype(u.dtype).reshape(u.shape)
    if loss == "logistic":
        values, slope = np.logaddexp(0, -y * u), -y * expit(-y * u)
    else:
        r = u - y
        slope = np.clip(r, -delta, delta) if loss == "huber" else r
        values = slope * (r - 0.5 * slope)  # r^2/2 where slope = r, and delta |r| - delta^2/2 where it is +-delta
    return float(values.sum()) / len(u), np.asarray(slope)
