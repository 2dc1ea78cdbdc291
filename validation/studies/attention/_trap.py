"""One head on one prompt, with a trap: scores w k_j of the keys -1, 0, 1, values 1, -1/2, 1/5 and the label 9/10.

    softmax    F(w) = (e^-w - 1/2 + e^w/5)/(e^-w + 1 + e^w)
    Gaussian   F(w) = e^(-(w + 1)^2/2) - e^(-w^2/2)/2 + e^(-(w - 1)^2/2)/5,  with scores -(k_j - w)^2/2

Softmax fits at one w, has its least prediction at e^w = 3 and tends to 1/5 beyond. The Gaussian kernel never fits.
"""

from __future__ import annotations

__all__ = ["FIT", "LABEL", "LOST", "PEAK", "trap", "trap_heads"]

import numpy as np
from numpy.typing import NDArray

import wflow

LABEL = 0.9
#: A fit, the maximum of the risk that parts the basins, and the risk in the end beyond it.
FIT, PEAK, LOST = -float(np.log(7 + np.sqrt(56))), float(np.log(3)), 0.5 * (LABEL - 0.2) ** 2


def trap(kernel: str, trained: tuple[str, ...] = ("W_Q",)) -> wflow.TransformerObjective:
    """Rows: key, value, query, prediction. The fourth token asks, and no query sees it."""
    tokens = np.zeros((1, 4, 4))
    tokens[0, 0, :3], tokens[0, 1, :3], tokens[0, 2, 3] = (-1, 0, 1), (1, -0.5, 0.2), 1
    mask = np.ones((4, 4))
    mask[3] = 0
    frozen = {name: 0.0 for name in ("W_V", "W_O", "W_K", "W_Q") if name not in trained}
    attention = wflow.Attention(kernel, mask, True, 1)
    return wflow.TransformerObjective(wflow.Dataset(tokens, [LABEL], (3, 3)), attention, layers=1, mobility=frozen)


def trap_heads(w: NDArray[np.float64]) -> wflow.Particles:
    """Heads whose scores are w times the key, or -|key - w|^2/2; values are read as they are."""
    theta = np.zeros((1, len(w), 16))
    theta[..., 1], theta[..., 4 + 3], theta[..., 8] = 1, 2, 1  # W_O undoes the half step
    theta[..., 12 + 2] = w
    return wflow.Particles(theta=theta)
