"""Masses that jump between neighbouring cells: the fluxes of Scharfetter and Gummel, along one axis of many densities.

Arrays are (outer, n, inner), the axis in the middle; those of the faces between cells (outer, n - 1, inner).
"""

from __future__ import annotations

__all__ = ["implicit_jumps", "jump_dissipation", "jump_rates", "stencil_dissipation"]

import math

import numpy as np

from wflow.kernels.compile import kernel


@kernel
def _rate_against(rise, sigma):
    """``sigma B(|rise|/sigma)`` with ``B(z) = z/(e^z - 1)``: the rate uphill; downhill it is ``|rise|`` more."""
    z = rise / sigma if sigma > 0.0 else 1e3
    if z < 1e-8:
        return sigma * (1.0 - 0.5 * z)
    return 0.0 if z > 700.0 else rise / math.expm1(z)


@kernel
def jump_rates(phi, sigma):
    """``sigma B(z)`` and ``sigma B(-z)`` at ``z = (phi_{i+1} - phi_i)/sigma``; upwind where sigma = 0.

    The rates from a cell to the next and back, times the square of the cell width.
    """
    outer, n, inner = phi.shape
    up, down = np.empty((outer, n - 1, inner)), np.empty((outer, n - 1, inner))
    for o in range(outer):
        for i in range(n - 1):
            for k in range(inner):
                rise = phi[o, i + 1, k] - phi[o, i, k]
                against = _rate_against(abs(rise), sigma)
                up[o, i, k] = against + max(-rise, 0.0)
                down[o, i, k] = against + max(rise, 0.0)
    return up, down


@kernel
def jump_dissipation(r, phi, psi, sigma):
    """For every outer index, the sum over faces of ``(up r_i - down r_{i+1}) (psi_i - psi_{i+1})``."""
    outer, n, inner = r.shape
    total = np.zeros(outer)
    for o in range(outer):
        for i in range(n - 1):
            for k in range(inner):
                rise = phi[o, i + 1, k] - phi[o, i, k]
                against = _rate_against(abs(rise), sigma)
                flux = (against + max(-rise, 0.0)) * r[o, i, k] - (against + max(rise, 0.0)) * r[o, i + 1, k]
                total[o] += flux * (psi[o, i, k] - psi[o, i + 1, k])
    return total


@kernel
def stencil_dissipation(r, a, psi, weights):
    """For every outer index, the sum over pairs of ``w_k (a_{i+k}/a_i r_i - a_i/a_{i+k} r_{i+k}) (psi_i - psi_{i+k})``.

    The weights w_1, w_2, ... of jumps over 1, 2, ... cells have either sign.
    """
    outer, n, inner = r.shape
    total = np.zeros(outer)
    for o in range(outer):
        a_o, psi_o = a[o].ravel(), psi[o].ravel()
        u = r[o].ravel() / a_o
        for k in range(1, min(weights.size, n - 1) + 1):
            far, rate = k * inner, 0.0
            for i in range(u.size - far):
                rate += (a_o[i + far] * u[i] - a_o[i] * u[i + far]) * (psi_o[i] - psi_o[i + far])
            total[o] += weights[k - 1] * rate
    return total


@kernel
def implicit_jumps(r, up, down, h):
    """Solve ``x_i + h (up_i x_i - down_i x_{i+1}) - h (up_{i-1} x_{i-1} - down_{i-1} x_i) = r_i`` along axis 1.

    The rates are not negative. Columns sum to 1, and elimination keeps what a column has left over in e, so that there
    is nothing to subtract: the solution of r >= 0 is accurate in every digit of every cell, however long the step.
    """
    outer, n, inner = r.shape
    x, pivot, e = np.empty_like(r), np.empty((n, inner)), np.empty(inner)
    for o in range(outer):
        for k in range(inner):
            e[k] = 1.0
            x[o, 0, k] = r[o, 0, k]
        for i in range(n - 1):
            for k in range(inner):
                pivot[i, k] = e[k] + h * up[o, i, k]
                e[k] = 1.0 + h * down[o, i, k] * e[k] / pivot[i, k]
                x[o, i + 1, k] = r[o, i + 1, k] + h * up[o, i, k] * x[o, i, k] / pivot[i, k]
        for k in range(inner):
            x[o, n - 1, k] /= e[k]
        for i in range(n - 2, -1, -1):
            for k in range(inner):
                x[o, i, k] = (x[o, i, k] + h * down[o, i, k] * x[o, i + 1, k]) / pivot[i, k]
    return x
