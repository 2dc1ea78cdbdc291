"""The extrapolated kernel step: densities with entropy, by convolutions."""

from __future__ import annotations

__all__ = ["Kernel"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_fields, check_integer
from wflow.schemes.base import Trial
from wflow.schemes.grid_flow import GridFlow, GridScheme, along, unless_negative

Array = NDArray[np.float64]

#: Substeps of the levels.
SUBSTEPS = (1, 2, 4, 8)
#: exp of less is counted as this, so that no cell divides zero by zero.
LEAST_EXPONENT = -600.0
#: Smaller entries of a Gaussian are left out: processors are slow with products that underflow.
NO_WEIGHT = 1e-150
#: The stencil that replaces a narrow Gaussian reaches so many cells to either side: fewer where a varies too much from
#: cell to cell; the last is positive whatever a.
HALF_STENCILS = (4, 2, 1)


@dataclass(frozen=True)
class Kernel(GridScheme):
    """One convolution a step, extrapolated to order 1 to 4.

    With ``a = exp(-(Phi_0 - min Phi_0)/(2 sigma))`` and G the convolution with the Gaussian of variance ``2 sigma h``
    along every axis, ``rho+ = a G(rho/G(a))``: positive, mass exact, reversible. The first variation Phi_0 of the
    smooth energy is that of the beginning of the (sub)step. The expansion of the error in h is clean: 1, 2, 4, 8
    substeps are extrapolated by Aitken and Neville, ``T[j,i+1] = T[j,i] + (T[j,i] - T[j-1,i])/(2^i - 1)``, and
    ``|T[k,k] - T[k,k-1]|`` in L1 estimates the error. A density that extrapolation makes negative is replaced by that
    of the finest substeps.

    A Gaussian narrower than a cell is replaced by a stencil with its moments: up to the eighth on a grid that is fine
    enough for the potential, fewer on others. So any step suits any grid; the error in space is O(dx^2) at worst.

    Parameters
    ----------
    levels
        k, from 1 to 4: the order.
    outer_mass
        The mass that the outer cells may have.

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
    monotone = False  # the steady state of a step of size h is off Gibbs' by O(h)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, check_integer, "levels", most=4)
        self._set_orders(self.levels, self.levels if self.levels > 1 else None)

    def step(self, flow: GridFlow, point: Any, h: float) -> Trial:
        """One step of size h; see the class."""
        ends, inner = zip(*(self._substeps(flow, point, h, n) for n in SUBSTEPS[: self.levels]))
        table = extrapolated(ends)
        error = flow.norm(table[-1] - table[-2]) if self.levels > 1 else None
        x, notes = unless_negative(table[-1], table[0])
        new = flow.evaluate(x)
        outer = 0.5 * (flow.dissipation(point) + flow.dissipation(new))
        dissipated = extrapolated([h / n * (outer + sum_) for n, sum_ in zip(SUBSTEPS, inner)])[-1]
        return Trial(h, new, error, dissipated, notes=notes)

    def _substeps(self, flow: GridFlow, point: Any, h: float, n: int) -> tuple[Array, float]:
        """The density after n steps of size h/n, and the sum of the dissipations in between."""
        x, dissipated = kernel_step(flow, point.x, point.potential, h / n), 0.0
        for _ in range(n - 1):
            point = flow.evaluate(x)
            dissipated += flow.dissipation(point)
            x = kernel_step(flow, x, point.potential, h / n)
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


def kernel_step(flow: GridFlow, x: Array, potential: Array, h: float) -> Array:
    """``a G(rho/G(a))`` in every slice of every block."""
    sigma: float = flow.energy.internal.sigma  # type: ignore[union-attr]
    out = []
    for widths, _, (r, phi) in flow.blocks(x, potential):
        axes = tuple(range(1, r.ndim))
        a = np.exp(np.maximum(-(phi - phi.min(axis=axes, keepdims=True)) / (2 * sigma), LEAST_EXPONENT))
        for half in HALF_STENCILS:
            matrices = [gaussian_matrix(n, dx, 2 * sigma * h, half) for n, dx in zip(r.shape[1:], widths)]
            smooth = convolve(a, matrices)
            if smooth.min() > 0:
                break
        out.append((a * convolve(r / smooth, matrices)).ravel())
    return np.concatenate(out)


@lru_cache(maxsize=64)
def gaussian_matrix(n: int, dx: float, variance: float, half: int = HALF_STENCILS[0]) -> Array:
    """``dx N(x_i - x_j; variance)`` between the centres of n cells of width dx, or a stencil with its moments."""
    v = variance / dx**2
    distance = np.arange(n)
    if v > 1 - 1e-6:  # rounding of the step must not change the method
        row = np.exp(-(distance**2) / (2 * v)) / np.sqrt(2 * np.pi * v)
        row[row < NO_WEIGHT] = 0.0
    else:
        half = min(half, n - 1)
        squares = np.arange(half + 1.0) ** 2
        moments = np.cumprod([1.0, *(v * np.arange(1, 2 * half, 2))])  # 1, v, 3 v^2, 15 v^3, ...
        row = np.zeros(n)
        row[: half + 1] = np.linalg.solve(squares ** np.arange(half + 1)[:, None], moments) / 2
        row[0] *= 2
    matrix: Array = row[np.abs(distance[:, None] - distance)]
    matrix.setflags(write=False)
    return matrix


def convolve(u: Array, matrices: list[Array]) -> Array:
    """A symmetric matrix along every axis but the first."""
    for axis, matrix in enumerate(matrices, start=1):
        last = axis == len(matrices)
        product = u.reshape(-1, len(matrix)) @ matrix if last else matrix @ along(axis, u)[0]
        u = product.reshape(u.shape)
    return u
