"""Distances between measures: the metric in which the flow is a gradient flow."""

from __future__ import annotations

__all__ = ["conditional_w2"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.errors import InputError, SolveError
from wflow.measures import Particles

Array = NDArray[Any]


def conditional_w2(a: Particles, b: Particles) -> float:
    """The conditional Wasserstein distance ``d``, exact.

    ``d(a, b)^2 = sum over blocks of int_0^1 W_2^2(a_t, b_t) dt``: mass moves within its depth slice only. Widths and
    weights may differ. Equal weights are an assignment problem (sorting in one dimension), others a linear programme.

    Parameters
    ----------
    a, b
        Measures with the same blocks, depth nodes and dimensions.

    Returns
    -------
    float
        The distance (not its square), in the units of the parameters.

    Raises
    ------
    InputError
        When blocks, depth nodes or dimensions differ.
    SolveError
        When the linear programme does not converge.

    Examples
    --------
    >>> a = Particles(x=[[[0.0], [1.0]]])
    >>> conditional_w2(a, Particles(x=[[[3.0], [2.0]]]))
    2.0
    >>> conditional_w2(a, Particles(x=[[[0.0]]])) ** 2
    0.5000000000000001
    """
    if set(a.blocks) != set(b.blocks):
        raise InputError(f"both measures must have the same blocks, got {sorted(a.blocks)} and {sorted(b.blocks)}")
    same_depth = a.n_slices == b.n_slices and np.allclose(a.t, b.t) and np.allclose(a.depth_weights, b.depth_weights)
    if not same_depth:
        raise InputError("both measures must sit at the same depth nodes with the same depth weights")
    total = 0.0
    for block in a.blocks:
        x, y = (rho.points(block).astype(np.float64) for rho in (a, b))
        if x.shape[2] != y.shape[2]:
            raise InputError(f"{block} must have the same number of parameters in both, got {x.shape} and {y.shape}")
        equal = x.shape == y.shape and a.has_equal_weights(block) and b.has_equal_weights(block)
        for l, om in enumerate(a.depth_weights):
            masses = None if equal else (a.weights(block)[l], b.weights(block)[l])
            total += om * _squared_w2(x[l], y[l], masses)
    return float(np.sqrt(total))


def _squared_w2(x: Array, y: Array, masses: tuple[Array, Array] | None) -> float:
    """``W_2^2`` between two clouds (M, p) and (M', p); ``masses`` None for equal weights and M = M'."""
    if masses is None and x.shape[1] == 1:
        return float(np.mean((np.sort(x[:, 0]) - np.sort(y[:, 0])) ** 2))
    from scipy.spatial.distance import cdist

    cost = cdist(x, y, "sqeuclidean")
    if masses is None:
        from scipy.optimize import linear_sum_assignment

        return float(cost[linear_sum_assignment(cost)].mean())
    import ot

    value, log = ot.emd2(*(np.ascontiguousarray(m) for m in masses), cost, numItermax=10_000_000, log=True)
    if log["warning"]:
        raise SolveError(f"the optimal transport problem of {cost.shape} points did not converge: {log['warning']}")
    return float(value)
