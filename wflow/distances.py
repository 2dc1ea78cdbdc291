"""Distances between measures: the metric in which the flow is a gradient flow."""

from __future__ import annotations

__all__ = ["conditional_w2", "gaussian_w2"]

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.checks import check_array, check_memory
from wflow.errors import InputError, SolveError
from wflow.measures import Grid, Measure
from wflow.measures.measure import check_measure

Array = NDArray[Any]
Pieces = tuple[Array, Array, Array]

EPS = float(np.finfo(float).eps)
#: How far ``W_2^2`` may be from the least cost, as a fraction of it.
GAP = 1e-10
#: Refinements of the network simplex, and sweeps over the prices of an assignment.
ROUNDS, SWEEPS = 12, 200


def conditional_w2(a: Measure, b: Measure) -> float:
    """The conditional Wasserstein distance ``d``, exact.

    ``d(a, b)^2 = sum over blocks of int_0^1 W_2^2(a_t, b_t) dt``: mass moves within its depth slice only. Widths and
    weights may differ. In one dimension ``W_2^2 = int_0^1 (F_a^{-1}(s) - F_b^{-1}(s))^2 ds`` is integrated exactly,
    the quantile functions being piecewise constant for particles and piecewise linear for grids, whose density is
    constant in every cell. Beyond, equal weights are an assignment problem, unequal ones a linear programme; the
    duality gap shows that ``W_2^2`` is right up to a fraction of 1e-10 of itself, whatever the size of the data.

    Parameters
    ----------
    a, b
        Measures with the same blocks, depth nodes and dimensions; in p = 1 any, beyond both :class:`wflow.Particles`.
        One that was not placed in depth sits where the other one was placed. What the masses of some particles exceed
        those of others by rounding stays where it is.

    Returns
    -------
    float
        The distance (not its square), in the units of the parameters.

    Raises
    ------
    InputError
        When blocks, depth nodes or dimensions differ; for grids with p > 1.
    SolveError
        When the linear programme is not solved to that accuracy.

    Examples
    --------
    >>> from wflow import Particles
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
    if a.n_slices == b.n_slices:  # whatever was placed on purpose says where the other one sits
        a, b = (a, b.at(a.t, a.depth_weights)) if a.is_placed and not b.is_placed else (a, b)
        a, b = (a.at(b.t, b.depth_weights), b) if b.is_placed and not a.is_placed else (a, b)
    if not a.sits_at(b.t, b.depth_weights):
        raise InputError("both measures must sit at the same depth nodes with the same depth weights")
    parts = []
    for block in a.blocks:
        p, q = (rho.points(block).shape[2] for rho in (a, b))
        if p != q:
            raise InputError(f"{block} must have the same number of parameters in both, got {p} and {q}")
        if p > 1 and (isinstance(a, Grid) or isinstance(b, Grid)):
            raise InputError(
                f"{block} has {p} parameters: exact distances from a grid are for one parameter. Compare densities on "
                "the grid (Grid.from_particles), or one-parameter grids of their marginals (Grid.marginal)"
            )
        distance = _w2_on_the_line if p == 1 else _w2
        parts += [np.sqrt(om) * distance(a, b, block, l) for l, om in enumerate(a.depth_weights)]
    return math.hypot(*parts)


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
        For other shapes, and matrices that are no covariances up to rounding in their precision.

    Examples
    --------
    >>> round(gaussian_w2([0.0], [[1.0]], [3.0], [[25.0]]), 12)
    5.0
    """
    means = [check_array("mean", m, 1, "(p,)").astype(np.float64) for m in (mean_a, mean_b)]
    p = means[0].size
    roots = []
    for name, m, cov in (("cov_a", means[0], cov_a), ("cov_b", means[1], cov_b)):
        matrix = check_array(name, cov, 2, "(p, p)")
        if m.shape != (p,) or matrix.shape != (p, p):
            raise InputError(f"means must have shape ({p},) and {name} ({p}, {p}), got {m.shape} and {matrix.shape}")
        rounding = 100 * p * np.finfo(matrix.dtype).eps * np.abs(matrix).max()
        values, axes = np.linalg.eigh(matrix.astype(np.float64))
        if np.abs(matrix - matrix.T).max() > rounding or values[0] < -rounding:
            raise InputError(f"{name} must be a covariance: symmetric, without negative eigenvalues")
        roots.append((axes * np.sqrt(np.maximum(values, 0))) @ axes.T)
    e = _exponent(*means, *roots)
    (m, n), (A, B) = (np.ldexp(pair, -e) for pair in (means, roots))
    u, _, vt = np.linalg.svd(A @ B)
    # The trace is the least |S_a^{1/2} - S_b^{1/2} R|^2 over rotations R (Procrustes): without its cancellation, which
    # costs half of the digits between close laws.
    return math.ldexp(float(np.hypot(np.linalg.norm(m - n), np.linalg.norm(A - B @ vt.T @ u.T))), e)


def _exponent(*points: Array) -> int:
    """The e for which all points, times ``2^-e``, are below one: their squares are then numbers, too."""
    return int(np.frexp(max(np.abs(x).max() for x in points))[1])


def _carried(rho: Measure, block: str, l: int) -> tuple[Array, Array]:
    """The points of a slice that carry mass, and their masses, one in sum."""
    mass = rho.weights(block)[l]
    some = mass > 0
    return rho.points(block)[l][some].astype(np.float64), mass[some] / mass[some].sum()


def _w2(a: Measure, b: Measure, block: str, l: int) -> float:
    """``W_2`` between the clouds of one slice."""
    from scipy.spatial.distance import cdist

    (x, mass_x), (y, mass_y) = _carried(a, block, l), _carried(b, block, l)
    e = _exponent(x, y)
    words, remedy, pairs = (
        f"the distances of {len(x)} particles to {len(y)}",
        "compare samples of them",
        len(x) * len(y),
    )
    is_paired = len(x) == len(y) and np.ptp(mass_x) == np.ptp(mass_y) == 0
    check_memory(words, (24 if is_paired else 56) * pairs, remedy)
    cost = cdist(np.ldexp(x, -e), np.ldexp(y, -e), "sqeuclidean")
    squared = _assigned(cost) if is_paired else None
    if squared is None:
        check_memory(words, 48 * pairs, remedy)  # beside the costs
        squared = _transported(cost, mass_x, mass_y)
    return math.ldexp(math.sqrt(squared), e)


def _assigned(cost: Array) -> float | None:
    """The least mean cost of a permutation; None where its optimality is not shown.

    A permutation s is optimal where there are prices u with ``u_i - u_k <= c_{i,s(k)} - c_{k,s(k)}``. Shortest paths
    from prices of zero, by Bellman and Ford, find prices that are no larger than they need to be: far particles do not
    spoil the digits of others.
    """
    from scipy.optimize import linear_sum_assignment

    _, partner = linear_sum_assignment(cost)
    cost = cost[:, partner]
    value = float(np.mean(matched := np.diagonal(cost).copy()))
    cost -= matched
    prices = np.zeros(len(matched))
    for _ in range(SWEEPS):
        lower = (cost + prices).min(axis=1)
        if (prices - lower).max() <= GAP * value:
            return value
        prices = lower
    return None


def _transported(cost: Array, a: Array, b: Array) -> float:
    """The least ``sum c_ij P_ij`` among plans P with marginals a and b, by a network simplex that refines itself.

    The simplex computes to a fraction of the largest cost. Its potentials therefore reduce the costs to
    ``r_ij = c_ij - u_i - v_j >= 0``, which has the same solutions, and small ones are solved again among themselves:
    those that are larger than any plan can use are cut off. ``sum r_ij P_ij`` is how far P is from the optimum.

    Source: iterative refinement of linear programmes (Gleixner, Steffy, Wolter, INFORMS J. Comput. 28 (2016) 449).
    """
    import ot

    counted, reduced, cap, least = (_counted(a), _counted(b)), cost.copy(), cost.max(), np.inf
    if cap == 0:
        return 0.0
    for _ in range(ROUNDS):
        flow, log = ot.emd(*counted, np.minimum(reduced, cap) / cap, numItermax=10_000_000, log=True)
        i, j, mass = _flow(np.nonzero(flow), a, b)
        if abs(mass.sum() - 1) > 1e-9:
            raise SolveError(f"the optimal transport of {cost.shape} points was not found: {log['warning']}")
        if (value := float(mass @ cost[i, j])) < least:
            least, plan = value, (i, j, mass)
        _reduce(reduced, cap * log["u"], cap * log["v"])
        i, j, mass = plan
        gap = float(mass @ reduced[i, j])
        if gap <= GAP * least or least == 0:
            return least
        cap = min(reduced.max(), 2.0**20 * reduced[i, j].max())
    raise SolveError(
        f"the optimal transport of {cost.shape} points was found up to {gap / least:.1g} of W_2^2 only: leave out far "
        "particles of hardly any mass"
    )


def _counted(mass: Array) -> Array:
    """Masses as whole multiples of 2^-52, none of them zero: the simplex then adds and subtracts without rounding."""
    whole = np.maximum(np.rint(mass * 2.0**52), 1)
    whole[whole.argmax()] += 2.0**52 - whole.sum()
    return np.asarray(whole * 2.0**-52)


def _reduce(cost: Array, u: Array, v: Array) -> None:
    """``c_ij <- c_ij - u_i - v_j`` as if computed exactly, then the same with the potentials that make all c >= 0."""
    rows = max(1, 2**18 // len(v))
    for start in range(0, len(cost), rows):
        part, here = cost[start : start + rows], u[start : start + rows, None]
        first = part - here
        second = first - v
        # What both subtractions lost to rounding (Knuth): potentials may be far larger than their difference.
        lost = _lost(part, here, first) + _lost(first, v, second)
        cost[start : start + rows] = second + lost
    for axis in (1, 0, 1):
        cost -= cost.min(axis=axis, keepdims=True)


def _lost(a: Array, b: Array, difference: Array) -> Array:
    """``(a - b) - difference`` exactly, where ``difference`` is a - b rounded."""
    back = difference - a
    return np.asarray((a - (difference - back)) - (b + back))


def _flow(used: tuple[Array, ...], a: Array, b: Array) -> tuple[Array, Array, Array]:
    """The plan on the used arcs, a forest, by the masses alone: its sources, targets and what goes from here to there.

    An arc carries what one side of it has too much. No more than the rounding of the masses of that side is nothing:
    else the last digit of a mass would travel to wherever the far particles are.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    (i, j), m, n = used, len(a), len(b)
    forest = coo_array((np.ones(len(i)), (i, m + j)), shape=(m + n, m + n)).tocsr()
    reached = np.zeros(m + n, bool)
    mass, surplus = np.concatenate([a, b]).tolist(), np.concatenate([a, -b]).tolist()
    size, arcs = [1] * (m + n), []
    for root in np.argsort(mass)[::-1]:
        if reached[root]:
            continue
        order, parents = breadth_first_order(forest, root, directed=False)
        reached[order] = True
        for k in order[:0:-1].tolist():
            parent = int(parents[k])
            along = surplus[k] if k < m else -surplus[k]
            if along > (8 + size[k]) * EPS * mass[k]:
                arcs.append((k, parent - m, along) if k < m else (parent, k - m, along))
                surplus[parent] += surplus[k]
            mass[parent] += mass[k]
            size[parent] += size[k]
    sources, targets, carried = zip(*arcs)
    return np.array(sources), np.array(targets), np.array(carried)


def _w2_on_the_line(a: Measure, b: Measure, block: str, l: int) -> float:
    """``W_2`` of one slice in one dimension, exactly; the upper half of the mass is counted from above."""
    pieces = [_quantile_pieces(rho, block, l) for rho in (a, b)]
    e = _exponent(*(x for _, *ends in pieces for x in ends))
    below = [(mass, np.ldexp(start, -e), np.ldexp(end, -e)) for mass, start, end in pieces]
    above = [(mass[::-1], -end[::-1], -start[::-1]) for mass, start, end in below]
    return math.ldexp(math.sqrt(_lower_half(*below) + _lower_half(*above)), e)


def _lower_half(a: Pieces, b: Pieces) -> float:
    """``int_0^{1/2} (F_a^{-1} - F_b^{-1})^2``: the difference is linear between merged levels."""
    levels = [np.concatenate([[0.0], np.cumsum(mass)]) for mass, _, _ in (a, b)]
    levels[1] = _merged(*levels)
    s = np.union1d(*levels)
    s = np.append(s[s < 0.5], 0.5)
    left: Any = 0.0
    right: Any = 0.0
    for sign, level, (_, start, end) in zip((1, -1), levels, (a, b)):
        k = np.searchsorted(level, 0.5 * (s[:-1] + s[1:])) - 1
        low, high = ((ends - level[k]) / (level[k + 1] - level[k]) for ends in (s[:-1], s[1:]))  # in [0, 1]
        left = left + sign * (start[k] + low * (end[k] - start[k]))
        right = right + sign * (start[k] + high * (end[k] - start[k]))
    return float(np.sum(np.diff(s) * (left**2 + left * right + right**2)) / 3)


def _merged(levels: Array, other: Array) -> Array:
    """The other levels, each in the place of the nearest level where they differ by the rounding of sums only."""
    k = np.clip(np.searchsorted(levels, other), 1, len(levels) - 1)
    nearest = np.where(other - levels[k - 1] < levels[k] - other, levels[k - 1], levels[k])
    rounding = 16 * EPS * np.sqrt(len(levels) + len(other)) * other
    return np.where(np.abs(other - nearest) <= rounding, nearest, other)


def _quantile_pieces(rho: Measure, block: str, l: int) -> Pieces:
    """The quantile function of a slice: linear from ``start[k]`` to ``end[k]`` while ``mass[k]`` is counted."""
    x, mass = _carried(rho, block, l)
    order = np.argsort(x[:, 0], kind="stable")
    half = 0.5 * rho.spacing(block)[0] if isinstance(rho, Grid) else 0.0
    return mass[order], x[order, 0] - half, x[order, 0] + half
