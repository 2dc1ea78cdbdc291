"""The JKO step with entropic regularisation, by scaling iterations, debiased."""

from __future__ import annotations

__all__ = ["EntropicJKO", "entropy_prox"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_boolean, check_fields, check_integer, check_positive, check_result, shown
from wflow.energies import Energy
from wflow.errors import InputError, SolveError
from wflow.schemes.anderson import Anderson
from wflow.schemes.base import Trial
from wflow.schemes.grid_flow import GridFlow, GridScheme, unless_negative
from wflow.schemes.kernel import (
    MISSED,
    convolve,
    extrapolated,
    gaussian_row,
    second_difference,
    worst_mean,
)
from wflow.schemes.minimise import NoMinimum

Array = NDArray[np.float64]
Prox = Callable[[Array, Array, float, float], Array]

#: The potential of a step is solved for until the density is known to this, in L1.
TOLERANCE = 1e-8
#: Evaluations of the first variation after which a step counts as not converged.
EVALUATIONS = 25
#: Scaling iterations end at this mass off the proximal map, or fail after so many.
MISMATCH, SCALINGS = 1e-11, 2000
#: Potentials count as at most this many (sigma_m + gamma), and scalings as at least this, so that no cell divides zero
#: by zero.
HIGHEST, LEAST = 300.0, 1e-300


def entropy_prox(s: Array, potential: Array, weight: float, eps: float) -> Array:
    """The r that minimises ``eps KL(r|s) + int potential r + weight int r log r``, up to a factor.

    >>> entropy_prox(np.array([1.0, 4.0]), np.zeros(2), weight=0.5, eps=0.5)
    array([1., 2.])
    """
    return np.asarray(np.exp((eps * np.log(s) - potential) / (eps + weight)))


class SmoothFlow(GridFlow):
    """The flow of densities that cells resolve: its dissipation has order 8 in dx, since convolutions are exact."""

    def _square_speed(self, point: Any, power: float = 0.5) -> float:
        """``int rho |grad psi|^2``, from ``div(rho grad psi) = (D(rho psi) + rho D psi - psi D rho)/2`` for every axis.

        D is the second difference quotient. In sums over pairs: ``w_k (rho_i + rho_{i+k})/2 (psi_i - psi_{i+k})^2``.
        """
        internal: Any = self.energy.internal
        total = 0.0
        for widths, volume, om, (r, phi) in self.blocks(point.x, point.potential, power=power):
            psi = phi + internal.slope(np.maximum(r, 0))
            for axis, dx in enumerate(widths, start=1):
                rho, level = np.moveaxis(r, axis, -1), np.moveaxis(psi, axis, -1)
                for k, w in enumerate(second_difference(min(4, r.shape[axis] - 1)), start=1):
                    pairs = (rho[..., k:] + rho[..., :-k]) * (level[..., k:] - level[..., :-k]) ** 2
                    total += 0.5 * w * float(om @ pairs.reshape(len(om), -1).sum(axis=1)) * volume / dx**2
        return max(total, 0.0)


@dataclass(frozen=True)
class EntropicJKO(GridScheme):
    """The minimising movement of Jordan, Kinderlehrer and Otto with regularised transport, debiased; order 1.

    ``rho+`` is the first marginal of the plan P with second marginal rho that minimises
    ``<|x-y|^2/(2h), P> + gamma int P log P + int Phi_0 dP_1 + sigma_m int P_1 log P_1``. With ``P = a K b`` and K the
    Gaussian of variance ``h gamma``, scaling iterations alternate ``b = rho/(K a)`` and ``a = prox(K b)/(K b)``; at
    the end ``rho+ = a K b``, so that mass is exact. Phi_0 is that of rho+, found by Anderson's method; a step in which
    it is not found is halved. The regularisation diffuses as ``(gamma/2) Laplace rho`` does, so that
    ``sigma_m = sigma - gamma/2``: what is left of the bias is O(gamma^2).

    K must be resolved by the grid, ``sqrt(h gamma) >= dx`` for the smallest gamma.

    Parameters
    ----------
    gamma
        The regularisation, in (0, 2 sigma]; None for sigma. The iterations contract by ``sigma_m/(sigma_m + gamma)``.
    debias
        False keeps ``sigma_m = sigma``, and thus a flow with the entropy ``sigma + gamma/2``.
    richardson
        1, 2 or 3: steps with gamma, gamma/2, gamma/4 are extrapolated, in powers of gamma^2.
    prox
        In place of :func:`wflow.schemes.entropy_prox`, a function ``prox(s, potential, weight, eps)`` that returns the
        r of ``min_r eps KL(r|s) + int potential r + weight int r log r`` under a constraint of yours. Arrays are
        (S, n_1[, n_2]), a block at a time; s is positive, and the potential Phi_0 up to a constant.
    outer_mass
        The mass that the outer cells may have.

    Raises
    ------
    InputError
        For a gamma that leaves no entropy, extrapolation without debiasing, and blocks of more than two parameters.
    SolveError
        For steps with ``sqrt(h gamma) < dx``, and where mass lies at potentials out of range.

    References
    ----------
    Peyré, SIAM J. Imaging Sci. 8 (2015) 2323, for the iterations. Baradat, Hraivoronska, Santambrogio, arXiv:2502.12666
    (2025), for the bias.

    Examples
    --------
    A crowd that walks to the origin and may not be denser than 0.5:

    >>> import wflow
    >>> def congested(s, potential, weight, eps):
    ...     return np.minimum(entropy_prox(s, potential, weight, eps), 0.5)
    >>> x = np.linspace(-5.9, 5.9, 60)
    >>> Q = wflow.PotentialEnergy(lambda x: 2 * x[:, 0] ** 2, lambda x: 4 * x) + wflow.Entropy(0.4)
    >>> rho0 = wflow.Grid(x=np.exp(-(x - 1) ** 2 / 2), box={"x": ((-6, 6),)})
    >>> for prox in (None, congested):
    ...     answer = wflow.solve(Q, rho0, (0, 2), scheme=EntropicJKO(prox=prox, outer_mass=1e-5), dtau=0.1)
    ...     print(f"densest: {answer.measure(-1).x.max():.2f}")
    densest: 1.18
    densest: 0.50
    """

    gamma: float | None = None
    debias: bool = True
    richardson: int = 1
    prox: Prox | None = None
    outer_mass: float = 1e-10

    name = "entropic-jko"
    order = 1
    flow_type = SmoothFlow
    monotone = False  # the steady state of a step of size h is off Gibbs'
    max_dimension = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, check_positive, "gamma", optional=True)
        check_fields(self, check_boolean, "debias")
        check_fields(self, check_integer, "richardson", most=3)
        if self.prox is not None and not callable(self.prox):
            raise InputError(f"prox must be a function prox(s, potential, weight, eps), got {shown(self.prox)}")
        if self.richardson > 1 and not self.debias:
            raise InputError("richardson extrapolates debiased steps: leave debias=True, or richardson=1")

    def flow(self, energy: Energy, rho0: Any, noise: int | None = None) -> GridFlow:
        """The flow that the scheme steps in (see :meth:`GridScheme.flow`), after a look at gamma."""
        flow = super().flow(energy, rho0, noise)
        sigma = flow.energy.internal.sigma  # type: ignore[union-attr]
        if self.debias and self.gamma is not None and self.gamma > 2 * sigma:
            raise InputError(f"gamma must be at most 2 sigma = {2 * sigma:.6g} to be debiased, got {self.gamma:.6g}")
        return flow

    def step(self, flow: GridFlow, point: Any, h: float) -> Trial:
        """One step of size h; see the class."""
        try:
            new, notes = self._solve(flow, point, h)
        except NoMinimum as failure:
            return Trial(h, point, failure=str(failure))
        return Trial(h, new, dissipated=0.5 * h * (flow.dissipation(point) + flow.dissipation(new)), notes=notes)

    def _solve(self, flow: GridFlow, point: Any, h: float) -> tuple[Any, dict[str, int]]:
        """The point after a step, where Phi_0 is that of the density itself."""
        sigma: float = flow.energy.internal.sigma  # type: ignore[union-attr]
        gammas = [(self.gamma or sigma) / 2**k for k in range(self.richardson)]
        weights = [max(sigma - 0.5 * gamma, 0.0) if self.debias else sigma for gamma in gammas]
        _check_range(flow, point, HIGHEST * min(map(sum, zip(gammas, weights))))
        steps = [_Step(flow, point.x, h, *pair, self.prox) for pair in zip(gammas, weights)]
        potential, accelerate = point.potential, Anderson()
        for _ in range(EVALUATIONS):
            densities = [step(potential) for step in steps]
            x, notes = unless_negative(extrapolated(densities, base=4)[-1], densities[-1])
            new = flow.evaluate(x)
            residual = new.potential - potential
            mass = flow.mass * np.abs(x)
            # by so much, over gamma, would the density of new.potential differ from x
            if not new.is_finite or mass @ np.abs(residual) <= TOLERANCE * gammas[-1]:
                return new, notes
            potential = accelerate(potential, residual, mass)
        raise NoMinimum(f"did not converge in {EVALUATIONS} evaluations of dQ/drho")


def _check_range(flow: GridFlow, point: Any, highest: float) -> None:
    """Raise :class:`SolveError` where mass lies at potentials that count as less than they are."""
    for _, _, _, (r, phi) in flow.blocks(point.x, point.potential):
        axes = tuple(range(1, r.ndim))
        beyond = phi - phi.min(axis=axes, keepdims=True) > highest
        if (share := worst_mean(beyond, r)) > MISSED:
            raise SolveError(
                f"{100 * share:.3g} % of the mass is where dQ/drho is more than {highest:.3g} above its minimum, which "
                "is out of the range of the scaling iterations; take a larger gamma, a smaller box, or "
                "scheme='finite-volume'"
            )


class _Step:
    """The step from x, a function of the potential; the scalings of one are the first guess for the next."""

    def __init__(self, flow: GridFlow, x: Array, h: float, gamma: float, weight: float, prox: Prox | None) -> None:
        self.flow, self.x, self.gamma, self.weight, self.prox = flow, x, gamma, weight, prox or entropy_prox
        self.kernels = []
        for widths, _, _, (r,) in flow.blocks(x):
            widest = max((dx for dx in widths if dx < math.inf), default=0.0)
            if h * gamma < widest**2 * (1 - 1e-9):
                raise SolveError(
                    f"the grid is too coarse: sqrt(dtau gamma) = {np.sqrt(h * gamma):.3g} is less than the cell width "
                    f"{widest:.3g}; take dtau of at least {widest**2 / gamma:.3g}, a gamma above {gamma:.3g}, more "
                    "cells, or scheme='finite-volume'"
                )
            self.kernels.append([gaussian_row(n, dx, h * gamma) for n, dx in zip(r.shape[1:], widths)])
        self.scalings = [np.ones_like(r) for _, _, _, (r,) in flow.blocks(x)]

    def __call__(self, potential: Array) -> Array:
        """The density after the step."""
        out = []
        for k, (_, volume, _, (q, phi)) in enumerate(self.flow.blocks(self.x, potential)):
            axes, volume = tuple(range(1, q.ndim)), volume / len(q)
            phi = phi - phi.min(axis=axes, keepdims=True)
            phi = np.minimum(phi, HIGHEST * (self.weight + self.gamma))
            a = self.scalings[k]
            for _ in range(SCALINGS):
                b = q / convolve(a, self.kernels[k])
                s = np.maximum(convolve(b, self.kernels[k]), LEAST)
                r = check_result("prox must return an array", self.prox(s, phi, self.weight, self.gamma), s.shape)
                if volume * np.abs(r - a * s).sum() <= MISMATCH:
                    break
                a = np.maximum(r / s, LEAST)
            else:
                raise NoMinimum(f"did not converge in {SCALINGS} scaling iterations for gamma = {self.gamma:.3g}")
            self.scalings[k] = a
            out.append((a * s).ravel())
        return np.concatenate(out)
