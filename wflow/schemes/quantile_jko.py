"""The JKO scheme in one dimension, exact in the metric: quantile functions make Wasserstein space flat."""

from __future__ import annotations

__all__ = ["QuantileFlow", "QuantileJKO"]

from dataclasses import dataclass, replace
from functools import cached_property
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_fields, check_integer
from wflow.energies import Entropy, PorousMedium
from wflow.energies.energy import Energy
from wflow.errors import InputError
from wflow.measures import Particles
from wflow.schemes.base import Scheme, Trial
from wflow.schemes.bundle import KINK, bundle
from wflow.schemes.particle_flow import Flow, Point

Array = NDArray[Any]

EPS = float(np.finfo(float).eps)
#: The inner iteration ends where Newton's step is this small beside the step of the scheme.
TOLERANCE = 1e-10
#: How many secant pairs model the Hessian of the smooth part.
MEMORY = 8
#: A step of the inner iteration leaves at least this share of every gap.
SHARE = 0.1


class QuantileFlow(Flow):
    """N sorted values in every slice, with the internal energy of the density whose quantiles they are.

    Between neighbours lies the mass 1/N, with density ``r_i = 1/(N (X_{i+1} - X_i))``; the masses 1/(2N) beyond the
    first and the last value have the density of the gap beside them. With ``F(r) = U(r)/r`` and ``k_i`` = 1, plus 1/2
    for every end that a gap is beside, the internal energy of a slice and its gradient are::

        I = sum_i k_i/N F(r_i),  grad_i I = N (k_i P(r_i) - k_{i-1} P(r_{i-1})),  P(r) = r^2 F'(r).

    For entropy ``I = -sigma mean log(N gap)`` and ``P = sigma r``. Value and velocity of a point contain them. In the
    metric of a mobility M, the gradient and the Hessian are M times these. The gaps of many values need float64, which
    other measures are converted to.
    """

    def __init__(self, energy: Energy, rho0: Particles, noise: int | None = None) -> None:
        quantiles = {name: np.sort(x.astype(np.float64), axis=1) for name, x in rho0.blocks.items()}
        super().__init__(energy, rho0.replace(**quantiles), noise)
        widths = np.array([x.shape[1] for x in self.template.blocks.values() for _ in x])
        ends = np.cumsum(widths)
        #: N of every value, and k of every difference of neighbours in the vector: 0 between slices.
        self.n, self.k = np.repeat(widths, widths), np.ones(ends[-1] - 1)
        if energy.internal is None:
            return
        self.k[ends[:-1] - 1] = 0
        if widths.min() < 2 or self.gaps(self.flat(self.template.blocks)).min() <= 0:
            raise InputError("a density needs at least two values in every slice, all different: particles coincide")
        np.add.at(self.k, ends - 2, 0.5)
        np.add.at(self.k, ends - widths, 0.5)

    @cached_property
    def linked(self) -> Array:
        """Which neighbours push each other: those of a slice that moves."""
        return np.asarray((self.k > 0) & (self.mobility[:-1] > 0))

    def gaps(self, x: Array) -> Array:
        """The differences of neighbours; between slices, where nothing depends on it, 1."""
        return np.where(self.k > 0, np.diff(x), 1.0)

    def evaluate(self, x: Array) -> Point:
        """Q with its internal part, and the velocity of both."""
        point = super().evaluate(x)
        value, gradient, _ = self.internal(x)
        parts = {**point.parts, "internal": value}
        terms = max(abs(point.value), point.terms) + abs(value)
        return Point(x, point.value + value, point.velocity - gradient, parts, terms=terms)

    def internal(self, x: Array) -> tuple[float, Array, Array]:
        """The internal energy, its gradient, and the Hessian ``sum_i H_i (e_{i+1} - e_i)^2`` as H."""
        U = self.energy.internal
        if U is None:
            return 0.0, np.zeros(x.size), np.zeros(x.size - 1)
        n = self.n[:-1]
        r = 1 / (n * self.gaps(x))
        pressure = self.k * U.pressure(r)
        power = U.m if isinstance(U, PorousMedium) else 1.0
        value = float(np.sum(self.plain_mass[:-1] * self.k * U.density(r) / r))
        gradient, H = self.n * np.diff(pressure, prepend=0.0, append=0.0), power * n**2 * r * pressure
        if self.energy.mobilities:
            gradient, H = self.mobility * gradient, self.mobility[:-1] * H
        return value, gradient, H

    def sort(self, x: Array) -> Array:
        """Every slice sorted."""
        return self.flat({name: np.sort(values, axis=1) for name, values in self.unflat(x).items()})


@dataclass(frozen=True)
class QuantileJKO(Scheme):
    """``rho+ = argmin Q(rho) + W_2^2(rho, rho_n)/(2h)``, order 1, over N equal masses in one dimension.

    Sorted values X are quantiles, and the distance of two measures is that of their vectors: the step is
    ``min Q(X) + I(X) + |X - B|^2/(2h)`` over sorted X, with Q of the new measure, not frozen, and I as in
    :class:`QuantileFlow` (Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29 (1998) 1; Blanchet, Calvez, Carrillo,
    SIAM J. Numer. Anal. 46 (2008) 691). Newton's method with a model of the smooth part's Hessian solves it, with
    backtracking that keeps X sorted and the objective falling, so that Q falls for every h.

    Parameters
    ----------
    max_inner
        A step that takes more inner iterations is tried with half the h. Without an internal energy, in which values
        may rest at kinks of Q, the bundle method (:func:`wflow.schemes.bundle.bundle`) has twice as many before.

    Raises
    ------
    InputError
        Before any work, for p > 1, unequal weights, or coinciding particles with an internal energy.

    Examples
    --------
    One step of size 1 for ``Q = 1/2 int x^2`` halves all values:

    >>> import wflow
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    >>> rho = wflow.Particles(x=[[[2.0], [-1.0]]])
    >>> wflow.solve(Q, rho, (0, 1), scheme="quantile-jko", dtau=1.0).measure(-1).x.ravel()
    array([-0.5,  1. ])
    """

    max_inner: int = 50

    name = "quantile-jko"
    order = 1
    error_order = 2
    internals = (NoneType, Entropy, PorousMedium)

    def __post_init__(self) -> None:
        check_fields(self, check_integer, "max_inner")

    def flow(self, energy: Energy, rho0: Any, noise: int | None = None) -> Flow:
        """The flow of sorted values, after the checks."""
        self.check_problem(energy, rho0)
        for name, x in rho0.blocks.items():
            if x.shape[2] > 1:
                raise InputError(f"scheme {self.name!r} treats one parameter a block, but {name} has p = {x.shape[2]}")
            if np.ptp(a := rho0.weights(name)) > 1e-12 * a.max():
                raise InputError(f"scheme {self.name!r} needs particles of equal weights, but those of {name} differ")
        return QuantileFlow(energy, rho0, noise)

    def step(self, flow: QuantileFlow, point: Point, h: float) -> Trial:
        """One step of size h: the proximal point, or a failure."""
        new, newton = point, _Secants(flow, h)
        free, solved, inner = flow.energy.internal is None, False, 0
        for inner in range(self.max_inner):  # noqa: B007
            moved = new.x - point.x
            gradient = moved / h - new.velocity
            first, d = newton.solve(new.x, gradient)
            length, rounding = flow.norm(moved), 4 * EPS * flow.norm(new.x)
            if flow.norm(first) <= TOLERANCE * length + rounding:
                # At a kink the model is so stiff that every step is short.
                solved = not free or h * flow.norm(gradient) <= KINK * length + rounding
                break
            further = self._descend(flow, point, new, -d, -flow.inner(gradient, d), h)
            if further is None:
                break
            newton.add(new, further)
            new = further
        if free and not solved:
            new, missing = bundle(flow, [point, new], point.x, h, KINK, 2 * self.max_inner)
            new, solved = flow.evaluate(flow.sort(new.x)), missing == 0
        if not solved:
            return Trial(h, point, failure=f"did not converge in {inner + 1} inner iterations")
        # The velocity v(x+), but at a kink, where any of those around might be found.
        mean = (new.x - point.x) / h
        change = mean - point.carry.get("mean_velocity", point.velocity)
        error = 0.5 * flow.norm(newton.tridiagonal(new.x, change))
        new = new if new.value <= point.value else point  # a rise is rounding
        new = replace(new, carry={"mean_velocity": mean})
        return Trial(h, new, error, h * flow.norm2(mean), notes={"inner_iterations": inner})

    def _descend(self, flow: QuantileFlow, point: Point, here: Point, d: Array, slope: float, h: float) -> Point | None:
        """The first point along d, from the longest step that keeps order, where the objective has fallen enough."""
        free = flow.energy.internal is None

        def objective(at: Point) -> float:
            return at.value + flow.norm2(at.x - point.x) / (2 * h)

        now, t = objective(here), 1.0
        rounding = flow.rounding(here)
        if not free:
            closing = -np.where(flow.k > 0, np.diff(d), 0.0) / flow.gaps(here.x)
            t = min(1.0, (1 - SHARE) / max(float(closing.max(initial=0.0)), 1e-300))
        for _ in range(10 if free else 40):
            x = here.x + t * d
            # Sorting lowers the distance from sorted values and leaves Q as it is.
            new = flow.evaluate(flow.sort(x) if free else x)
            if objective(new) <= now + 1e-4 * t * slope + rounding:
                return new
            flat = flow.inner((new.x - point.x) / h - new.velocity, d) <= -0.8 * slope
            if free and flat and objective(new) <= now + flow.hidden_rounding(here, new):
                return new
            t *= 0.5
        return None


class _Secants:
    """Newton's matrix: of distance and internal energy, which is tridiagonal, plus a secant model of the smooth part.

    The model is ``C + U M^{-1} U^T`` with ``U = Y - C S`` and ``M = S^T U`` for the last steps S and changes Y of the
    smooth gradient, in the inner product of the flow (symmetric rank one in compact form: Byrd, Nocedal, Schnabel,
    Math. Program. 63 (1994) 129), and C the diagonal that the last step suggests; Woodbury's formula inverts the sum.
    """

    def __init__(self, flow: QuantileFlow, h: float) -> None:
        self.flow, self.h = flow, h
        self.steps: list[Array] = []
        self.changes: list[Array] = []

    def add(self, a: Point, b: Point) -> None:
        """Remember the way from a to b, scaled to length one."""
        if (length := self.flow.norm(b.x - a.x)) == 0:
            return
        before, after = (-point.velocity - self.flow.internal(point.x)[1] for point in (a, b))
        self.steps = [*self.steps[1 - MEMORY :], (b.x - a.x) / length]
        self.changes = [*self.changes[1 - MEMORY :], (after - before) / length]

    def solve(self, x: Array, g: Array) -> tuple[Array, Array]:
        """The inverse of the tridiagonal part at x, and of the whole matrix if that points downhill, times g."""
        flow, S, C = self.flow, np.array(self.steps), self._diagonal()
        z = self.tridiagonal(x, g, C)
        U = np.array(self.changes) - C * S if self.steps else S
        news = [j for j, u in enumerate(U) if flow.norm(u) > 1e-8 / self.h]
        if not news:
            return z, z
        S, U = S[news], U[news]
        Z = self.tridiagonal(x, U, C)
        small = (U * flow.mass) @ (S + Z).T
        newton = z - np.linalg.lstsq(0.5 * (small + small.T), (U * flow.mass) @ z)[0] @ Z
        return z, newton if flow.inner(g, newton) > 0 else z

    def _diagonal(self) -> Array | float:
        """The second derivatives along the last step, entry by entry where it moved enough; never negative."""
        if not self.steps:
            return 0.0
        s, y = self.steps[-1], self.changes[-1]
        mean = max(0.0, self.flow.inner(s, y))
        far = np.abs(s) > 1e-3 * np.abs(s).max()
        return np.clip(np.divide(y, s, out=np.full_like(s, mean), where=far), 0.0, 10 * mean)

    def tridiagonal(self, x: Array, g: Array, C: Array | float = 0.0) -> Array:
        """``(C + 1/h + D^T H D)^{-1} g`` along the last axis, D the differences within slices.

        By ``c^{-1} - c^{-1} D^T (H^{-1} + D c^{-1} D^T)^{-1} D c^{-1}``: the sum loses c beside the large H of gaps
        that are nearly closed, the inner matrix does not.
        """
        c = np.broadcast_to(C + 1 / self.h, x.shape)
        z = g / c
        if self.flow.energy.internal is None:
            return np.asarray(z)
        from scipy.linalg import solveh_banded

        gap = self.flow.linked
        bands = np.zeros((2, gap.size))
        bands[0] = 1 / np.where(gap, self.flow.internal(x)[2], 1.0) + 1 / c[1:] + 1 / c[:-1]
        bands[1, :-1] = np.where(gap[1:] & gap[:-1], -1 / c[1:-1], 0.0)
        w = solveh_banded(bands, (gap * np.diff(z)).T, lower=True).T
        return np.asarray(z + np.diff(w, prepend=0.0, append=0.0) / c)
