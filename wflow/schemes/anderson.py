"""Anderson's acceleration of fixed-point iterations."""

from __future__ import annotations

__all__ = ["Anderson"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Anderson:
    """The next iterate of ``y = g(y)`` from the last ones and their residuals ``g(y) - y``.

    The combination of the last iterates whose residual would be the smallest, were g affine, moved by that residual
    (Anderson, J. ACM 12 (1965) 547; Walker, Ni, SIAM J. Numer. Anal. 49 (2011) 1715).

    Parameters
    ----------
    memory
        How many differences of iterates are combined.

    Examples
    --------
    >>> accelerate, y = Anderson(), np.array([0.0])
    >>> for _ in range(2):
    ...     y = accelerate(y, (1 - 3 * y) - y)
    >>> y
    array([0.25])
    """

    def __init__(self, memory: int = 5) -> None:
        self.memory = memory
        self.iterates: list[Array] = []
        self.residuals: list[Array] = []

    def __call__(self, y: Array, residual: Array, weights: Array | float = 1.0) -> Array:
        """The next iterate; ``weights`` are those of the entries in the size of a residual."""
        self.iterates = [*self.iterates[-self.memory :], y]
        self.residuals = [*self.residuals[-self.memory :], residual]
        if len(self.iterates) == 1:
            return np.asarray(y + residual)
        dy, dr = (np.diff(np.array(history, dtype=np.float64), axis=0).T for history in (self.iterates, self.residuals))
        root = np.broadcast_to(np.sqrt(weights), y.shape)
        share = np.linalg.lstsq(root[:, None] * dr, root * residual.astype(np.float64), rcond=1e-12)[0]
        return np.asarray(y + residual - (dy + dr) @ share, dtype=y.dtype)
