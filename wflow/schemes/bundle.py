"""Minimisation at kinks: bundles of gradients, where no single gradient tells how to go on."""

from __future__ import annotations

__all__ = ["KINK", "bundle", "cheapest_mixture"]

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.schemes.particle_flow import Flow, Point

Array = NDArray[Any]

#: The accuracy of minimisers at kinks, relative to the step.
KINK = 1e-6
#: A step counts when F falls by this share of what the model promises.
SHARE = 0.1
#: How many of the newest points stay in the bundle although the model does not use them.
NEWEST = 10
#: Relative accuracy of what a model promises.
ACCURACY = 1e-6
EPS = float(np.finfo(np.float64).eps)


def bundle(
    flow: Flow, points: Sequence[Point], base: Array, h: float, accuracy: float, max_iter: int = 200
) -> tuple[Point, float]:
    """Lower ``F(x) = Q(x) + |x - base|^2/(2h)`` from the last of some points, whether Q has kinks or not.

    The proximal bundle method (Bonnans, Gilbert, Lemarechal, Sagastizabal, Numerical Optimization, chapter 10). Every
    point x_i is a plane below a convex Q, by its linearisation error e_i at the best point c so far, and the quadratic
    term of F is known. The minimiser of the model ``max_i (Q(c) - e_i - <v_i, x - c>) + |x - base|^2/(2h)`` is
    ``base + h sum_i lambda_i v_i`` with ``lambda`` from :func:`cheapest_mixture`, and F is nowhere lower than that of
    the model: what is promised tells how far c is from the minimum.

    The smallest curvature ``2 e_i/|x_i - c|^2`` is added to that of the quadratic term, for shorter steps. Where it is
    negative, Q is not convex: twice its size is then added to the planes too, whose errors are positive afterwards
    (Hare, Sagastizabal, SIAM J. Optim. 20 (2010) 2442).

    Parameters
    ----------
    points
        Known points, such as those that another method met; the last is the start.
    accuracy
        The distance to the minimiser to reach, relative to ``|x - base|``.
    max_iter
        Evaluations at most.

    Returns
    -------
    best : Point
        Where F is the lowest, and not above that of the start.
    promised : float
        How much lower the minimum may be: 0 where the point is accurate.

    Examples
    --------
    One step of size 1 for ``Q = mean |x|`` moves particles by 1 at most, and not beyond 0:

    >>> from wflow import Particles, PotentialEnergy
    >>> flow = Flow(PotentialEnergy(lambda x: abs(x[:, 0]), np.sign), Particles(x=[[-0.6], [0.2], [1.5]]))
    >>> start = flow.evaluate(np.array([-0.6, 0.2, 1.5]))
    >>> point, promised = bundle(flow, [start], start.x, 1.0, 1e-9, 20)
    >>> promised, bool(abs(point.x - [0, 0, 0.5]).max() < 1e-9)
    (0.0, True)
    """
    kept, best, promised = list(points), points[-1], float("inf")
    shares = np.append(np.zeros(len(kept) - 1), 1.0)
    mass, eps = flow.mass, float(np.finfo(best.x.dtype).eps)
    for _ in range(max_iter):
        moved = np.array([point.x for point in kept], dtype=np.float64) - best.x
        slopes = -np.array([point.velocity for point in kept], dtype=np.float64)
        values = np.array([point.value for point in kept])
        done = flow.norm2(best.x - base) / (2 * h)
        rounding = flow.rounding(best) + 4 * eps * h * float((slopes**2 @ mass).max())
        errors, far = best.value - values + (slopes * moved) @ mass, moved**2 @ mass
        errors[abs(errors) <= rounding] = 0.0
        away = far > 2 * h * rounding
        bend = float(np.min(2 * errors[away] / far[away])) if away.any() else 0.0
        lift, curvature = max(0.0, -2 * bend), 1 / h + max(bend, -2 * bend)
        errors = np.maximum(errors + lift / 2 * far, 0.0)
        slopes = np.where(mass > 0, slopes + lift * moved + (best.x - base) / h, 0.0)
        shares = cheapest_mixture((slopes * mass) @ slopes.T / curvature, errors, shares)
        gradient, error = shares @ slopes, float(shares @ errors)
        promised = flow.norm2(gradient) * h / 2 + error
        if promised <= max(accuracy**2 * done, rounding):
            return best, 0.0
        new = flow.evaluate((best.x - gradient / curvature).astype(best.x.dtype, copy=False))
        if not new.is_finite:
            break
        stay = [i for i, p in enumerate(kept) if shares[i] > 0 or i >= len(kept) - NEWEST or p is best]
        kept, shares = [kept[i] for i in stay] + [new], np.append(shares[stay], 0.0)
        fall = best.value - new.value + done - flow.norm2(new.x - base) / (2 * h)
        if fall >= SHARE * (flow.norm2(gradient) / (2 * curvature) + error):
            best = new
    return best, promised


def cheapest_mixture(K: Array, cost: Array, start: Array) -> Array:
    """The shares that minimise ``lambda^T K lambda/2 + cost^T lambda`` among those that are >= 0 with the sum 1.

    By the active-set method of Wolfe (Math. Program. 11 (1976) 128): the optimum over the shares in use is solved for,
    those that it would make negative leave, and the one that would pay most joins.

    Examples
    --------
    The point (0, 1) of a segment is the nearest to the origin:

    >>> ends = np.array([[3.0, 1.0], [-1.0, 1.0]])
    >>> cheapest_mixture(ends @ ends.T, np.zeros(2), np.array([1.0, 0.0])).round(9)
    array([0.25, 0.75])
    """
    shares, used = start.copy(), np.flatnonzero(start).tolist()
    K = K + 4 * EPS * K.diagonal().max() * np.eye(len(cost))
    for _ in range(5 * len(cost)):
        while (optimum := _balance(K[np.ix_(used, used)], cost[used])).min() < 0:
            now, falling = shares[used], optimum < 0
            t = now[falling] / (now[falling] - optimum[falling])
            now = np.maximum(now + t.min() * (optimum - now), 0.0)
            now[np.flatnonzero(falling)[np.argmin(t)]] = 0.0
            shares[used] = now
            used = [i for i in used if shares[i] > 0]
        shares[used] = optimum
        prices = K @ shares + cost
        level, cheap = prices @ shares, int(np.argmin(prices))
        if cheap in used or level - prices[cheap] <= ACCURACY * (level + cost @ shares):
            break
        used.append(cheap)
    return np.asarray(shares / shares.sum())


def _balance(K: Array, cost: Array) -> Array:
    """The same without a sign."""
    m = len(cost)
    matrix, right = np.ones((m + 1, m + 1)), np.append(-cost, 1.0)
    matrix[:m, :m], matrix[m, m] = K, 0.0
    return np.asarray(np.linalg.solve(matrix, right)[:m])
