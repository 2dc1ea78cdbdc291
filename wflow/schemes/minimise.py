"""Minimisation in the metric of the flow: the core of a proximal step."""

from __future__ import annotations

__all__ = ["NoMinimum", "prox"]

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.schemes.anderson import Anderson
from wflow.schemes.bundle import KINK, bundle
from wflow.schemes.particle_flow import Flow, Point

Array = NDArray[Any]
Accuracy = Callable[[Point], float]
Look = Callable[[Point], tuple[float, Array]]

#: Trial points of one line search; shorter and shorter ones among them at which F rises as steeply, for it is at a kink
#: then; and iterations for particles without mass.
LINE_SEARCH, JUMPS, MASSLESS = 30, 6, 25
#: Kinks are near when F falls by less than this share of its whole descent in so many iterations.
FLAT, PATIENCE = 1e-3, 10
#: This share of the descent may be missing where the minimiser at kinks is not as accurate as wanted.
MISSING = 1e-5


class NoMinimum(ArithmeticError):
    """A minimisation failed; the message says how."""


def prox(
    flow: Flow, start: Point, base: Array, h: float, accuracy: Accuracy, *, max_iter: int = 200, memory: int = 10
) -> Point:
    """A minimiser of ``F(x) = Q(x) + |x - base|^2/(2h)``, from a start with known velocity, where F is not less.

    L-BFGS in the mass-weighted inner product (Nocedal, Math. Comp. 35 (1980) 773), in which the gradient of F is
    ``(x - base)/h - v(x)``: one evaluation of the flow a trial point. The inverse Hessian starts as that of the
    quadratic term, h. It stops where ``|grad F| <= accuracy(x) |x - base|/h``, or at round-off. At a kink of Q, as
    those of relu or ``|x|``, no gradient vanishes: when neither F nor its gradient get smaller any more, the bundle
    method goes on (:func:`wflow.schemes.bundle.bundle`).

    Particles without mass do not enter F. They solve ``x = base + h v(x)`` afterwards, as particles with mass do.

    Parameters
    ----------
    accuracy
        The relative accuracy of the minimiser, as a function of the point.
    max_iter, memory
        Iterations at most, of either method, and how many of them make the approximation of the Hessian.

    Raises
    ------
    NoMinimum
        When it does not converge, or does not lower F.

    Examples
    --------
    >>> from wflow import Particles, PotentialEnergy
    >>> flow = Flow(PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x), Particles(x=[[3.0], [6.0]]))
    >>> start = flow.evaluate(np.array([3.0, 6.0]))
    >>> prox(flow, start, start.x, 0.5, lambda point: 1e-9).x
    array([2., 4.])
    """
    eps = float(np.finfo(start.x.dtype).eps)
    massless = flow.mass == 0

    def look(point: Point) -> tuple[float, Array]:
        """F and its gradient."""
        gradient = (point.x - base) / h - point.velocity
        gradient[massless] = 0
        value = point.value + flow.norm2(point.x - base) / (2 * h)
        return (value if point.is_finite and np.isfinite(value) else np.inf), gradient

    first = look(start)[0]
    met, solved = _descend(flow, look, start, h, lambda p: accuracy(p) * flow.norm(p.x - base) / h, max_iter, memory)
    point = met[-1]
    if not solved:
        point, missing = bundle(flow, met, base, h, KINK, max_iter)
        if missing > MISSING * (first - look(point)[0]):
            raise NoMinimum(f"did not converge in {max_iter} iterations")
    if look(point)[0] > first + flow.hidden_rounding(start, point):
        raise NoMinimum("did not lower its objective")
    return _move_massless(flow, point, base, h, massless, eps) if massless.any() else point


def _descend(
    flow: Flow, look: Look, point: Point, h: float, goal: Accuracy, max_iter: int, memory: int
) -> tuple[list[Point], bool]:
    """The points that L-BFGS met at last, its best the last of them; and whether the gradient there is small."""
    eps = float(np.finfo(point.x.dtype).eps)
    value, gradient = look(point)
    pairs: deque[tuple[Array, Array, float]] = deque(maxlen=min(memory, max_iter))
    history: list[tuple[float, float]] = []
    met: deque[Point] = deque(maxlen=min(memory, max_iter))
    for _ in range(max_iter):
        size, noise = flow.norm(gradient), 2 * eps * (flow.norm(point.x) / h + flow.norm(point.velocity))
        history.append((value, size))
        if size <= max(goal(point), noise):
            return [point], True
        if _is_flat(history):
            break
        direction = -_inverse_hessian(flow, gradient, pairs, h)
        found = _line_search(flow, look, point, value, gradient, direction, met)
        if found:
            new, value, new_gradient = found
            s, y = new.x - point.x, new_gradient - gradient
            if (curvature := flow.inner(s, y)) > eps * flow.norm(s) * flow.norm(y):
                pairs.append((s, y, curvature))
            point, gradient = new, new_gradient
        elif pairs:
            pairs.clear()
        else:
            break
    return [*(other for other in met if other is not point), point], False


def _is_flat(history: list[tuple[float, float]]) -> bool:
    """Whether values hardly fall any more, while gradients do not vanish."""
    if len(history) <= PATIENCE:
        return False
    (first, _), (before, size_before), (now, size) = history[0], history[-1 - PATIENCE], history[-1]
    return now < first and before - now <= FLAT * (first - now) and size >= 0.5 * size_before


def _inverse_hessian(flow: Flow, gradient: Array, pairs: deque[tuple[Array, Array, float]], h: float) -> Array:
    """The two-loop recursion: the approximate inverse Hessian times the gradient."""
    out, weights = gradient.copy(), []
    for s, y, curvature in reversed(pairs):
        weights.append(flow.inner(s, out) / curvature)
        out -= weights[-1] * y
    out *= pairs[-1][2] / flow.norm2(pairs[-1][1]) if pairs else h
    for s, y, curvature in pairs:
        out += (weights.pop() - flow.inner(y, out) / curvature) * s
    return out


def _line_search(
    flow: Flow, look: Look, point: Point, value: float, gradient: Array, direction: Array, met: deque[Point]
) -> tuple[Point, float, Array] | None:
    """A point, its value and gradient, that meets the weak Wolfe conditions; None without one.

    Bracketing as by Lewis and Overton (Math. Program. 141 (2013) 135), which also works across kinks. Where the
    decrease drowns in the rounding of Q, the slope decides (Hager, Zhang, SIAM J. Optim. 16 (2005) 170).
    """
    slope = flow.inner(gradient, direction)
    low, high, t, jumps = (0.0, slope), (np.inf, np.nan), 1.0, 0
    for _ in range(LINE_SEARCH if slope < 0 else 0):
        new = flow.evaluate(point.x + t * direction)
        new_value, new_gradient = look(new)
        if new_value < np.inf:
            met.append(new)
        new_slope = flow.inner(new_gradient, direction) if new_value < np.inf else np.nan
        falls = new_value <= value + 1e-4 * t * slope
        level = new_slope <= -0.8 * slope and new_value <= value + flow.hidden_rounding(point, new)
        if not (falls or level):
            jumps = jumps + 1 if new_slope >= 0.5 * high[1] else 0
            if jumps == JUMPS:
                break
            high = (t, new_slope)
        elif new_slope < 0.9 * slope:
            low = (t, new_slope)
        else:
            return new, new_value, new_gradient
        t = _between(low, high)
    return None


def _between(low: tuple[float, float], high: tuple[float, float]) -> float:
    """The next trial step: where the slope would vanish, were it linear, but well inside the bracket."""
    (a, slope_a), (b, slope_b) = low, high
    if b == np.inf:
        return 4 * a
    share = slope_a / (slope_a - slope_b) if slope_b > 0 else 0.5
    return a + float(np.clip(share, 0.1, 0.9)) * (b - a) if np.isfinite(slope_b) else a + 0.1 * (b - a)


def _move_massless(flow: Flow, point: Point, base: Array, h: float, massless: Array, eps: float) -> Point:
    """``x = base + h v(x)`` for the entries without mass; entries with mass stay."""
    accelerate = Anderson()
    for _ in range(MASSLESS):
        residual = np.where(massless, base + h * point.velocity - point.x, 0)
        if np.abs(residual).max() <= 1e-9 * np.abs(h * point.velocity).max() + 4 * eps * np.abs(point.x).max():
            return point
        point = flow.evaluate(accelerate(point.x, residual))
    raise NoMinimum(f"did not converge in {MASSLESS} iterations for particles without mass")
