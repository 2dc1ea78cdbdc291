"""MUSCL finite volumes with explicit steps: densities without entropy, and the porous medium equation."""

from __future__ import annotations

__all__ = ["Muscl"]

from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.energies import PorousMedium
from wflow.errors import SolveError
from wflow.schemes.base import Trial
from wflow.schemes.grid_flow import GridFlow, GridScheme

Array = NDArray[np.float64]

#: Beyond this share of a cell a step, the mass that leaves a cell may be more than it has.
POSITIVE = 0.5


@dataclass(frozen=True)
class Muscl(GridScheme):
    """Upwind fluxes of limited linear densities, by Heun's method; order 2 where the density is smooth.

    With ``psi = Phi_0 + U'(rho)``, mass moves through the face between two cells with the velocity
    ``u = -(psi_{j+1} - psi_j)/dx``. The flux ``u rho`` takes rho from the cell upwind, linear there with the slope of
    the monotonised central limiter,
    ``minmod(2 (rho_j - rho_{j-1}), (rho_{j+1} - rho_{j-1})/2, 2 (rho_{j+1} - rho_j))/dx``. The stages
    ``rho' = rho + h f(rho)`` and ``rho+ = (rho + rho' + h f(rho'))/2`` keep mass exactly and densities positive for
    ``h Lambda <= 0.4`` with ``Lambda = sum over axes of (max |u|/dx + max D/dx^2)``, where ``D = rho U''(rho)`` is the
    diffusivity of a porous medium. ``|rho+ - rho'|`` in L1 estimates the error.

    Fixed steps beyond that limit end the run, adaptive ones stay below. Where a density piles up in a cell, as all of
    them do at the minima of Phi_0 in the end, no grid resolves it.

    Parameters
    ----------
    outer_mass
        The mass that the outer cells may have.

    Raises
    ------
    SolveError
        For fixed steps with ``h Lambda > 0.4``; the message names the longest one.

    References
    ----------
    van Leer, J. Comput. Phys. 23 (1977) 276, for the limiter. Gottlieb, Shu, Tadmor, SIAM Rev. 43 (2001) 89, for
    Heun's method as the one that preserves stability. Carrillo, Chertock, Huang, Commun. Comput. Phys. 17 (2015) 233,
    for gradient flows.

    Examples
    --------
    >>> import wflow
    >>> x = np.linspace(-3.975, 3.975, 160)
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    >>> rho0 = wflow.Grid(x=np.exp(-4 * (x - 1) ** 2), box={"x": ((-4, 4),)})
    >>> answer = wflow.solve(Q, rho0, (0, 1), scheme="muscl", dtau=0.004)
    >>> mean = answer.measure(-1).moment(1).x[0, 0]
    >>> bool(abs(mean - np.exp(-1)) < 1e-3)
    True
    """

    outer_mass: float = 1e-10

    name = "muscl"
    order = 2
    error_order = 2
    stability = 0.4
    internals = (NoneType, PorousMedium)

    def step(self, flow: GridFlow, point: Any, h: float) -> Trial:
        """One step of size h; see the class."""
        first, lost, largest = _change(flow, point.x, point.potential)
        if h * largest > self.stability * (1 + 1e-9):
            return self._too_long(flow, point, h, largest)
        euler = flow.evaluate(point.x + h * first)
        second, lost_later, largest_later = _change(flow, euler.x, euler.potential)
        if h * largest_later > POSITIVE:
            return self._too_long(flow, point, h, largest_later)
        new = flow.evaluate(0.5 * (point.x + (euler.x + h * second)))
        error = 0.5 * h * flow.norm(second - first)
        return Trial(h, new, error, 0.5 * h * (lost + lost_later), max(largest, largest_later))

    def _too_long(self, flow: GridFlow, point: Any, h: float, largest: float) -> Trial:
        """Adaptive steps shrink as for an error that is too large, however far they are off."""
        if flow.need_error:
            return Trial(h, point, error=np.inf)
        raise SolveError(
            f"mass crosses {h * largest:.3g} cells a step, more than {self.stability}: pass dtau of at most "
            f"{self.stability / largest:.3g}, fewer cells, or no dtau for adaptive steps"
        )


def _change(flow: GridFlow, x: Array, potential: Array) -> tuple[Array, float, float]:
    """``d rho/d tau``, ``-dQ/d tau``, and Lambda."""
    internal: Any = flow.energy.internal
    changes, lost, largest = [], 0.0, 0.0
    for widths, volume, om, (r, phi) in flow.blocks(x, potential):
        psi = phi if internal is None else phi + internal.slope(r)
        diffusivity = 0.0 if internal is None else (internal.m - 1) * float(internal.slope(r).max())
        change, rate = np.zeros_like(r), 0.0
        for axis, dx in enumerate(widths, start=1):
            rho, out = np.moveaxis(r, axis, -1), np.moveaxis(change, axis, -1)
            u = -np.diff(np.moveaxis(psi, axis, -1)) / dx
            rise = _half_rises(rho)
            flux = u * np.where(u > 0, (rho + rise)[..., :-1], (rho - rise)[..., 1:])
            out[..., :-1] -= flux / dx
            out[..., 1:] += flux / dx
            lost += float(om @ (flux * u).reshape(len(om), -1).sum(axis=1)) * volume
            rate += float(np.abs(u).max()) / dx + diffusivity / dx**2
        changes.append(change.ravel())
        largest = max(largest, rate)
    return np.concatenate(changes), lost, largest


def _half_rises(rho: Array) -> Array:
    """From the centre of a cell to its face, along the last axis: half the limited difference; 0 in the outer cells."""
    left, right = np.diff(rho)[..., :-1], np.diff(rho)[..., 1:]
    size = np.minimum(np.minimum(np.abs(left), np.abs(right)), 0.25 * np.abs(left + right))
    out = np.zeros_like(rho)
    out[..., 1:-1] = np.where(left * right > 0, np.sign(left) * size, 0.0)
    return out
