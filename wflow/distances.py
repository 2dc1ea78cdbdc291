"""Distances between measures: the metric in which the flow is a gradient flow."""

from __future__ import annotations

__all__ = ["conditional_w2", "gaussian_w2"]

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.checks import check_array
from wflow.errors import InputError, SolveError
from wflow.measures import Grid, Measure, Particles
from wflow.measures.measure import check_measure

Array = NDArray[Any]


def conditional_w2(a: Measure, b: Measure) -> float:
    """The conditional Wasserstein distance ``d``, exact.

    ``d(a, b)^2 = sum over blocks of int_0^1 W_2^2(a_t, b_t) dt``: mass moves within its depth slice only. Widths and
    weights may differ. In one dimension ``W_2^2 = int_0^1 (F_a^{-1}(s) - F_b^{-1}(s))^2 ds`` is integrated exactly,
    the quantile functions being piecewise constant for particles and piecewise linear for grids, whose density is
    constant in every cell. Beyond, equal weights are an assignment problem, unequal ones a linear programme.

    Parameters
    ----------
    a, b
        Measures with the same blocks, depth nodes and dimensions; in p = 1 any, beyond both :class:`wflow.Particles`.

    Returns
    -------
    float
        The distance (not its square), in the units of the parameters.

    Raises
    ------
    InputError
        When blocks, depth nodes or dimensions differ; for grids with p > 1.
    SolveError
        When the linear programme does not converge.

    Examples
    --------
    >>> a = Particles(x=[[[0.0], [1.0]]])
    >>> conditional_w2(a, Particles(x=[[[3.0], [2.0]]]))
    2.0
    >>> uniform = Grid(x=[1.0, 1.0, 1.0, 1.0], box={"x": ((0.0, 1.0),)})
    >>> round(conditional_w2(Particles(x=[[[0.0]]]), uniform) ** 2, 12)
    0.333333333333
    """
    for rho in (a, b):
        check_measure(rho)
    if set(a.blocks) != set(b.blocks):
        raise InputError(f"both measures must have the same blocks, got {sorted(a.blocks)} and {sorted(b.blocks)}")
    same_depth = a.n_slices == b.n_slices and np.allclose(a.t, b.t) and np.allclose(a.depth_weights, b.depth_weights)
    if not same_depth:
        raise InputError("both measures must sit at the same depth nodes with the same depth weights")
    total = 0.0
    for block in a.blocks:
        p, q = (rho.points(block).shape[2] for rho in (a, b))
        if p != q:
            raise InputError(f"{block} must have the same number of parameters in both, got {p} and {q}")
        if p > 1 and (isinstance(a, Grid) or isinstance(b, Grid)):
            raise InputError(
                f"{block} has {p} parameters: exact distances from a grid are for one parameter. Compare densities on "
                "the grid (Grid.from_particles), or one-parameter grids of their marginals (Grid.marginal)"
            )
        squared = _squared_w2_on_the_line if p == 1 else _squared_w2
        total += sum(om * squared(a, b, block, l) for l, om in enumerate(a.depth_weights))
    return float(np.sqrt(total))


def gaussian_w2(mean_a: ArrayLike, cov_a: ArrayLike, mean_b: ArrayLike, cov_b: ArrayLike) -> float:
    """The Wasserstein distance of two normal laws, the Bures metric on covariances.

    ``W_2^2 = |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^{1/2} S_b S_a^{1/2})^{1/2})`` (Dowson, Landau, J. Multivariate
    Anal. 12 (1982) 450).

    Parameters
    ----------
    mean_a, mean_b
        Shape (p,).
    cov_a, cov_b
        Symmetric, not negative, shape (p, p).

    Raises
    ------
    InputError
        For other shapes, and matrices that are no covariances.

    Examples
    --------
    >>> round(gaussian_w2([0.0], [[1.0]], [3.0], [[25.0]]), 12)
    5.0
    """
    means = [check_array("mean", m, 1, "(p,)").astype(np.float64) for m in (mean_a, mean_b)]
    p = means[0].size
    roots = []
    for name, m, cov in (("cov_a", means[0], cov_a), ("cov_b", means[1], cov_b)):
        matrix = check_array(name, cov, 2, "(p, p)").astype(np.float64)
        if m.shape != (p,) or matrix.shape != (p, p):
            raise InputError(f"means must have shape ({p},) and {name} ({p}, {p}), got {m.shape} and {matrix.shape}")
        values, axes = np.linalg.eigh(matrix)
        if not np.allclose(matrix, matrix.T) or values[0] < -1e-12 * max(values[-1], 1.0):
            raise InputError(f"{name} must be a covariance: symmetric, without negative eigenvalues")
        roots.append((axes * np.sqrt(np.maximum(values, 0))) @ axes.T)
    u, _, vt = np.linalg.svd(roots[0] @ roots[1])
    # The trace is the least |S_a^{1/2} - S_b^{1/2} R|^2 over rotations R (Procrustes): without its cancellation, which
    # costs half of the digits between close laws.
    return float(np.hypot(np.linalg.norm(means[0] - means[1]), np.linalg.norm(roots[0] - roots[1] @ vt.T @ u.T)))


def _squared_w2(a: Measure, b: Measure, block: str, l: int) -> float:
    """``W_2^2`` between the clouds of one slice."""
    from scipy.spatial.distance import cdist

    cost = cdist(a.points(block)[l], b.points(block)[l], "sqeuclidean")
    equal = all(isinstance(rho, Particles) and rho.has_equal_weights(block) for rho in (a, b))
    if equal and cost.shape[0] == cost.shape[1]:
        from scipy.optimize import linear_sum_assignment

        return float(cost[linear_sum_assignment(cost)].mean())
    import ot

    masses = (np.ascontiguousarray(rho.weights(block)[l]) for rho in (a, b))
    value, log = ot.emd2(*masses, cost, numItermax=10_000_000, log=True)
    if log["warning"]:
        raise SolveError(f"the optimal transport problem of {cost.shape} points did not converge: {log['warning']}")
    return float(value)


def _squared_w2_on_the_line(a: Measure, b: Measure, block: str, l: int) -> float:
    """``int_0^1 (F_a^{-1} - F_b^{-1})^2``, exactly: the difference is linear between merged breakpoints."""
    pieces = [_quantile_pieces(rho, block, l) for rho in (a, b)]
    s = np.union1d(*(levels for levels, _, _ in pieces))
    left: Any = 0.0
    right: Any = 0.0
    for sign, (levels, start, end) in zip((1, -1), pieces):
        k = np.searchsorted(levels, 0.5 * (s[:-1] + s[1:])) - 1
        low, high = ((ends - levels[k]) / (levels[k + 1] - levels[k]) for ends in (s[:-1], s[1:]))  # in [0, 1]
        left = left + sign * (start[k] + low * (end[k] - start[k]))
        right = right + sign * (start[k] + high * (end[k] - start[k]))
    return float(np.sum(np.diff(s) * (left**2 + left * right + right**2)) / 3)


def _quantile_pieces(rho: Measure, block: str, l: int) -> tuple[Array, Array, Array]:
    """The quantile function of a slice: linear from ``start[k]`` to ``end[k]`` between ``levels[k], levels[k + 1]``."""
    x, mass = rho.points(block)[l, :, 0].astype(np.float64), rho.weights(block)[l]
    order = np.argsort(x, kind="stable")
    order = order[mass[order] > 0]
    levels = np.concatenate([[0.0], np.cumsum(mass[order])])
    levels /= levels[-1]
    half = 0.5 * rho.spacing(block)[0] if isinstance(rho, Grid) else 0.0
    return levels, x[order] - half, x[order] + half
