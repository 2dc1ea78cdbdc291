"""Finite volumes with implicit steps: densities with entropy or without, robust at any step."""

from __future__ import annotations

__all__ = ["FiniteVolume"]

from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_boolean, check_fields
from wflow.energies import Entropy
from wflow.schemes.base import Trial
from wflow.schemes.grid_flow import GridFlow, GridScheme, along, unless_negative

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FiniteVolume(GridScheme):
    """Implicit Euler steps with the fluxes of Scharfetter and Gummel, extrapolated to order 2.

    Between neighbouring cells flows ``F = (sigma/dx) (B(z) rho_j - B(-z) rho_{j+1})`` with
    ``z = (Phi_{j+1} - Phi_j)/sigma`` and ``B(z) = z/(e^z - 1)``: it vanishes where rho is proportional to
    ``exp(-Phi/sigma)``, so that this density stays as it is, and it is the upwind flux of sigma = 0 in the limit
    (errors O(dx^2) with entropy, O(dx) without: it diffuses as ``P coth(P)`` times sigma does, with the cell Peclet
    number ``P = |z|/2``). One step solves ``rho+ + h div F(rho+) = rho``, axis after axis, with
    Phi_0 of its beginning: positive, mass exact, and for a fixed Phi_0 of decreasing Q for every h.

    Two half steps T_2, the second with Phi_0 at half time, and the whole step T_1 give ``2 T_2 - T_1`` of order 2, and
    ``|T_2 - T_1|`` in L1 bounds its error. A density that extrapolation makes negative is replaced by T_2.

    Parameters
    ----------
    extrapolate
        False for the whole step T_1 alone: order 1, always positive, no estimate of the error.
    outer_mass
        The mass that the outer cells may have.

    References
    ----------
    Scharfetter, Gummel, IEEE Trans. Electron Devices 16 (1969) 64.

    Examples
    --------
    >>> import wflow
    >>> x = np.linspace(-5.9, 5.9, 60)
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + wflow.Entropy(0.5)
    >>> rho0 = wflow.Grid(x=np.exp(-2 * (x - 1) ** 2), box={"x": ((-6, 6),)})
    >>> answer = wflow.solve(Q, rho0, (0, 1), scheme="finite-volume", dtau=0.02)
    >>> mean = answer.measure(-1).moment(1).x[0, 0]
    >>> bool(abs(mean - np.exp(-1)) < 5e-3)
    True
    """

    extrapolate: bool = True
    outer_mass: float = 1e-10

    name = "finite-volume"
    internals = (NoneType, Entropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, check_boolean, "extrapolate")
        self._set_orders(*((2, 2) if self.extrapolate else (1, None)))

    def step(self, flow: GridFlow, point: Any, h: float) -> Trial:
        """One step of size h; see the class."""
        rates = _rates(flow, point.potential)
        x = _implicit_euler(flow, point.x, rates, h)
        error: float | None = None
        notes: dict[str, int] = {}
        if self.extrapolate:
            middle = flow.evaluate(_implicit_euler(flow, point.x, rates, h / 2))
            halves = _implicit_euler(flow, middle.x, _rates(flow, middle.potential), h / 2)
            error = flow.norm(halves - x)
            x, notes = unless_negative(2 * halves - x, halves)
        new = flow.evaluate(x)
        return Trial(h, new, error, 0.5 * h * (flow.dissipation(point) + flow.dissipation(new)), notes=notes)


def _rates(flow: GridFlow, potential: Array) -> list[list[tuple[Array, Array]]]:
    """For every block and axis, the rates at which mass jumps to the next cell and back, times dx^2."""
    from wflow.kernels.jumps import jump_rates

    sigma: float = getattr(flow.energy.internal, "sigma", 0.0)
    potentials = [phi for _, _, _, (phi,) in flow.blocks(potential)]
    return [[jump_rates(*along(axis, phi), sigma) for axis in range(1, phi.ndim)] for phi in potentials]


def _implicit_euler(flow: GridFlow, x: Array, rates: list[list[tuple[Array, Array]]], h: float) -> Array:
    """One step, axis after axis."""
    from wflow.kernels.jumps import implicit_jumps

    out = []
    for (widths, _, _, (r,)), jumps in zip(flow.blocks(x), rates):
        shape = r.shape
        for axis, (dx, (up, down)) in enumerate(zip(widths, jumps), start=1):
            r = implicit_jumps(*along(axis, r), up, down, h / dx**2).reshape(shape)
        out.append(r.ravel())
    return np.concatenate(out)
