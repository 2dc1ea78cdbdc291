"""The extrapolated kernel step: densities with entropy, by convolutions."""

from __future__ import annotations

__all__ = ["Kernel"]

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_fields, check_integer
from wflow.energies import Energy, Entropy
from wflow.errors import InputError
from wflow.measures import Grid
from wflow.schemes.base import Trial
from wflow.schemes.grid_flow import GridFlow, GridScheme, along, is_negative, unless_negative

Array = NDArray[np.float64]

#: Substeps of the levels.
SUBSTEPS = (1, 2, 4, 8)
#: Smaller entries of a Gaussian are left out: processors are slow with products that underflow.
NO_WEIGHT = 1e-150
#: The stencil that replaces a narrow Gaussian reaches so many cells to either side: fewer in steps in which it would
#: make a density negative. Normal laws stay positive whose deviations are 2, 1.5 and 1 cells; with the last, every law.
HALF_STENCILS = (7, 5, 3, 1)
#: The largest cell Peclet number ``|Phi_{j+1} - Phi_j|/(2 sigma)``: the stencil has the drift to 1e-3 there, and the
#: diffusion to 2 %. From 2 arsinh(1) = 1.76 on, no stencil does, however wide.
PECLET = 1.25
#: The largest exponents of a, around their mean over the mass, so that no cell divides zero by zero.
EXPONENT = 600.0
#: The largest share of the drift that may be missed, on average over the mass: variances are off by 1 % then, or less.
MISSED = 0.01


class KernelFlow(GridFlow):
    """The flow that convolutions by stencils discretise: ``rho' = sigma (a D(rho/a) - rho D(a)/a)``.

    D is the second difference quotient over so many cells, along every axis, and ``a = exp(-e)`` with the exponents
    ``e = Phi_0/(2 sigma)`` as :func:`resolved` leaves them.

    Raises
    ------
    InputError
        When the grid does not resolve the drift where the initial density is (see :meth:`coarseness`).
    """

    def __init__(self, energy: Energy, rho0: Grid, noise: int | None = None, outer_mass: float = 1e-10) -> None:
        super().__init__(energy, rho0, noise, outer_mass)
        self._factors: WeakKeyDictionary[Any, list[Array]] = WeakKeyDictionary()
        self._rates: WeakKeyDictionary[Any, dict[int, float]] = WeakKeyDictionary()
        start = self.evaluate(self.flat(self.template.blocks))
        if start.is_finite and (reason := self.coarseness(start)):
            raise InputError(reason)

    def factors(self, point: Any) -> list[Array]:
        """The factors a of every block (S, n_1, ..., n_p)."""
        if point not in self._factors:  # the substeps of all levels begin at the same point
            self._factors[point] = [np.exp(-resolved(e, r)) for _, r, e in self._steep(point)]
        return self._factors[point]

    def _steep(self, point: Any) -> Iterator[tuple[str, Array, Array]]:
        """Block by block: the name, the density and ``Phi_0/(2 sigma)``."""
        sigma: float = self.energy.internal.sigma  # type: ignore[union-attr]
        for name, (_, _, _, (r, phi)) in zip(self.template.blocks, self.blocks(point.x, point.potential)):
            yield name, r, phi / (2 * sigma)

    def dissipation(self, point: Any, half: int = HALF_STENCILS[0]) -> float:
        """``-dQ/d tau`` of the flow above, for D over ``half`` cells to either side."""
        rates = self._rates.setdefault(point, {})
        if half not in rates:
            rates[half] = self._square_speed(point, half=half)
        return rates[half]

    def _square_speed(self, point: Any, power: float = 0.5, half: int = HALF_STENCILS[0]) -> float:
        from wflow.kernels.jumps import stencil_dissipation

        internal, total = self.energy.internal, 0.0
        assert isinstance(internal, Entropy)
        for (widths, volume, om, (r, phi)), a in zip(
            self.blocks(point.x, point.potential, power=power), self.factors(point)
        ):
            psi = phi + internal.slope(np.maximum(r, 0))
            for axis, dx in enumerate(widths, start=1):
                weights = second_difference(min(half, r.shape[axis] - 1))
                rate = stencil_dissipation(*along(axis, r, a, psi), weights).reshape(len(om), -1).sum(axis=1)
                total += float(om @ rate) * internal.sigma * volume / dx**2
        return max(total, 0.0)

    def coarseness(self, point: Any) -> str:
        """That more than :data:`MISSED` of the drift is missed, and what to do; else empty."""
        for name, r, steep in self._steep(point):
            missed = missed_drift(steep, resolved(steep, r))
            if (share := worst_mean(missed, r)) <= MISSED:
                continue
            jumps = largest_jumps(steep)
            at = np.unravel_index(int(np.argmax(r * jumps * missed)), r.shape)
            place = ", ".join(f"{axis[i]:.3g}" for axis, i in zip(self.template.axes(name), at[1:]))
            remedy = "scheme='finite-volume', which is of first order on such a grid"
            for finer in np.geomspace(PECLET, max(jumps.max(), PECLET), 32):
                if worst_mean(missed_drift(steep, resolved(steep, r, finer)), r) <= MISSED:
                    cells = ", ".join(str(math.ceil(finer / PECLET * n)) for n in r.shape[1:])
                    remedy = f"at least ({cells}) cells in this box, or {remedy}"
                    break
            return (
                f"the grid is too coarse for the drift of {name}: at ({place}) dQ/drho changes by {jumps[at]:.3g} "
                f"times 2 sigma from cell to cell, more than {PECLET:g}, and {100 * share:.3g} % of the drift would be "
                f"missed; take {remedy}"
            )
        return ""


@dataclass(frozen=True)
class Kernel(GridScheme):
    """One convolution a step, extrapolated to order 1 to 4.

    With ``a = exp(-Phi_0/(2 sigma))`` and G the convolution with the Gaussian of variance ``2 sigma h``
    along every axis, ``rho+ = a G(rho/G(a))``: positive, mass exact, reversible. The first variation Phi_0 of the
    smooth energy is that of the beginning of the (sub)step. The expansion of the error in h is clean: 1, 2, 4, 8
    substeps are extrapolated by Aitken and Neville, ``T[j,i+1] = T[j,i] + (T[j,i] - T[j-1,i])/(2^i - 1)``, and
    ``|T[k,k] - T[k,k-1]|`` in L1 estimates the error. A density that extrapolation makes negative is replaced by that
    of the finest substeps.

    A Gaussian narrower than a cell is replaced by a stencil with its moments up to the fourteenth; up to the tenth, the
    sixth or the second in steps from densities that are about as narrow as a cell, which it would make negative. Cells
    resolve the drift up to the cell Peclet number ``|Phi_{j+1} - Phi_j|/(2 sigma) = 1.25``. Where Phi_0 is steeper, the
    steps flatten it; the run is refused, or ends, when more than 1 % of the drift would be missed on average over the
    mass, which puts variances off by about 1 %.

    Parameters
    ----------
    levels
        k, from 1 to 4: the order.
    outer_mass
        The mass that the outer cells may have.

    Raises
    ------
    InputError
        When the grid is too coarse for the drift where the initial density is, with the number of cells it takes.
    SolveError
        When the density gets where the grid is too coarse.

    References
    ----------
    Peyré, SIAM J. Imaging Sci. 8 (2015) 2323, for Gaussian kernels in the JKO step, of which this is the one with
    regularisation 2 sigma. Hairer, Nørsett, Wanner, Solving ODEs I, section II.9, for the extrapolation.

    Examples
    --------
    >>> import wflow
    >>> x = np.linspace(-5.9, 5.9, 60)
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + wflow.Entropy(0.5)
    >>> rho0 = wflow.Grid(x=np.exp(-2 * (x - 1) ** 2), box={"x": ((-6, 6),)})
    >>> answer = wflow.solve(Q, rho0, (0, 1), scheme="kernel", rtol=1e-4)
    >>> mean = answer.measure(-1).moment(1).x[0, 0]
    >>> bool(abs(mean - np.exp(-1)) < 1e-4)
    True
    """

    levels: int = 4
    outer_mass: float = 1e-10

    name = "kernel"
    flow_type = KernelFlow
    monotone = False  # the steady state of a step of size h is off Gibbs' by O(h)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, check_integer, "levels", most=4)
        self._set_orders(self.levels, self.levels if self.levels > 1 else None)

    def step(self, flow: KernelFlow, point: Any, h: float) -> Trial:
        """One step of size h; see the class."""
        for half in HALF_STENCILS:
            ends, inner = zip(*(self._substeps(flow, point, h, n, half) for n in SUBSTEPS[: self.levels]))
            if not is_negative(ends[-1]):
                break
        table = extrapolated(ends)
        error = flow.norm(table[-1] - table[-2]) if self.levels > 1 else None
        x, notes = unless_negative(table[-1], table[0])
        new = flow.evaluate(x)
        if new.is_finite and (reason := flow.coarseness(new)):
            return Trial(h, point, failure=f"leads where {reason}")
        outer = 0.5 * (flow.dissipation(point, half) + flow.dissipation(new, half))
        dissipated = extrapolated([h / n * (outer + sum_) for n, sum_ in zip(SUBSTEPS, inner)])[-1]
        return Trial(h, new, error, dissipated, notes=notes)

    def _substeps(self, flow: KernelFlow, point: Any, h: float, n: int, half: int) -> tuple[Array, float]:
        """The density after n steps of size h/n, and the sum of the dissipations in between."""
        x, dissipated = kernel_step(flow, point.x, point, h / n, half), 0.0
        for _ in range(n - 1):
            point = flow.evaluate(x)
            dissipated += flow.dissipation(point, half)
            x = kernel_step(flow, x, point, h / n, half)
        return x, dissipated


def extrapolated(values: Sequence[Any], base: int = 2) -> list[Any]:
    """The last row ``T[k, 1], ..., T[k, k]`` of the scheme of Aitken and Neville.

    From one value to the next, the leading terms of the error shrink by base, base^2, ...
    """
    table: list[Any] = []
    for value in values:
        row = [value]
        for i, coarser in enumerate(table, start=1):
            row.append(row[-1] + (row[-1] - coarser) / (base**i - 1))
        table = row
    return table


def kernel_step(flow: KernelFlow, x: Array, point: Any, h: float, half: int) -> Array:
    """``a G(rho/G(a))`` in every slice of every block, with Phi_0 of a point."""
    sigma: float = flow.energy.internal.sigma  # type: ignore[union-attr]
    out = []
    for (widths, _, _, (r,)), a in zip(flow.blocks(x), flow.factors(point)):
        rows = [gaussian_row(n, dx, 2 * sigma * h, half) for n, dx in zip(r.shape[1:], widths)]
        out.append((a * convolve(r / convolve(a, rows), rows)).ravel())
    return np.concatenate(out)


def resolved(e: Array, r: Array, steepest: float = PECLET) -> Array:
    """The largest exponents below e that change by at most ``steepest`` from cell to cell, less their mean over r."""
    for axis in range(1, e.ndim):
        if np.abs(np.diff(e, axis=axis)).max() > steepest:
            ramp = steepest * np.arange(e.shape[axis]).reshape(-1, *[1] * (e.ndim - 1 - axis))
            for _ in range(2):  # from the left, from the right
                e = np.flip(np.minimum.accumulate(e - ramp, axis=axis) + ramp, axis=axis)
    axes = tuple(range(1, e.ndim))
    mean = (r * e).sum(axis=axes, keepdims=True) / r.sum(axis=axes, keepdims=True)
    return np.asarray(np.clip(e - mean, -EXPONENT, EXPONENT))


def missed_drift(steep: Array, e: Array) -> Array:
    """For every cell, the share of the changes to its neighbours that resolved exponents e leave out."""
    return np.minimum(largest_jumps(steep - e) / np.maximum(largest_jumps(steep), PECLET), 1.0)


def largest_jumps(e: Array) -> Array:
    """For every cell, the largest change to a neighbour."""
    out = np.zeros_like(e)
    for axis in range(1, e.ndim):
        jumps, cells = np.moveaxis(np.abs(np.diff(e, axis=axis)), axis, -1), np.moveaxis(out, axis, -1)
        cells[..., :-1] = np.maximum(cells[..., :-1], jumps)
        cells[..., 1:] = np.maximum(cells[..., 1:], jumps)
    return out


def worst_mean(values: Array, r: Array) -> float:
    """The largest of the means over the slices of a density r."""
    axes = tuple(range(1, r.ndim))
    return float(((values * r).sum(axis=axes) / r.sum(axis=axes)).max())


def even_moments(half: int, moments: Array) -> Array:
    """The weights ``w_0, ..., w_half`` of the stencil with ``w_0 + 2 (w_1 k^m + ...)`` for even m as given."""
    row = np.linalg.solve(np.arange(half + 1.0) ** (2 * np.arange(half + 1)[:, None]), moments) / 2
    row[0] *= 2
    return row


@lru_cache(maxsize=16)
def second_difference(half: int) -> Array:
    """The weights ``w_1, ..., w_half`` of the second difference, exact for polynomials of degree ``2 half + 1``."""
    weights: Array = even_moments(half, 2.0 * (np.arange(half + 1) == 1))[1:]
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=64)
def gaussian_row(n: int, dx: float, variance: float, half: int = HALF_STENCILS[0]) -> Array:
    """``dx N(j dx; variance)`` for the cells j = 0, ..., n - 1 of width dx, or a stencil with its moments."""
    v = variance / dx**2
    if v > 1 - 1e-6:  # rounding of the step must not change the method
        row: Array = np.exp(-(np.arange(n) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
        row[row < NO_WEIGHT] = 0.0
    else:
        half = min(half, n - 1)
        row = np.zeros(n)
        row[: half + 1] = even_moments(half, np.cumprod([1.0, *(v * np.arange(1, 2 * half, 2))]))  # 1, v, 3 v^2, ...
    row.setflags(write=False)
    return row


def convolve(u: Array, rows: Sequence[Array]) -> Array:
    """The convolution with ``rows[k][|j|]`` along every axis but the first."""
    from wflow.kernels.convolution import convolve_along

    for axis, row in enumerate(rows, start=1):
        u = convolve_along(*along(axis, u), row).reshape(u.shape)
    return u
