"""Time-stepping schemes, by name: one file each."""

from __future__ import annotations

import dataclasses
from typing import Any

from wflow.errors import InputError
from wflow.plain import register
from wflow.schemes.avf import AVF
from wflow.schemes.bdf2 import BDF2
from wflow.schemes.blob import BLOB, Blob
from wflow.schemes.bs3 import BS3
from wflow.schemes.discrete_gradient import DiscreteGradient
from wflow.schemes.dopri5 import DOPRI5
from wflow.schemes.entropic_jko import ENTROPIC_JKO, EntropicJKO, entropy_prox
from wflow.schemes.euler import EULER
from wflow.schemes.finite_volume import FINITE_VOLUME, FiniteVolume
from wflow.schemes.grid_flow import DensityPoint, GridFlow, GridScheme
from wflow.schemes.heun import HEUN
from wflow.schemes.jko import JKO
from wflow.schemes.kernel import KERNEL, Kernel
from wflow.schemes.langevin import EULER_MARUYAMA, LANGEVIN, EulerMaruyama, Langevin
from wflow.schemes.midpoint import Midpoint
from wflow.schemes.muscl import MUSCL, Muscl
from wflow.schemes.quantile_jko import QUANTILE_JKO, QuantileJKO
from wflow.schemes.rk4 import RK4
from wflow.schemes.runge_kutta import RungeKutta
from wflow.schemes.scheme import Flow, ParticleScheme, Point, Scheme, Trial

__all__ = [
    "AVF",
    "BDF2",
    "JKO",
    "SCHEMES",
    "Blob",
    "DensityPoint",
    "DiscreteGradient",
    "EntropicJKO",
    "EulerMaruyama",
    "FiniteVolume",
    "Flow",
    "GridFlow",
    "GridScheme",
    "Kernel",
    "Langevin",
    "Midpoint",
    "Muscl",
    "ParticleScheme",
    "Point",
    "QuantileJKO",
    "RungeKutta",
    "Scheme",
    "Trial",
    "entropy_prox",
    "scheme_of",
]

EXPLICIT = (EULER, HEUN, BS3, RK4, DOPRI5)
IMPLICIT = (DiscreteGradient(), AVF(), JKO(), BDF2(), Midpoint())
DIFFUSIVE = (LANGEVIN, EULER_MARUYAMA, BLOB, QUANTILE_JKO)
DENSITIES = (KERNEL, FINITE_VOLUME, MUSCL, ENTROPIC_JKO)

#: Every scheme by its name.
SCHEMES: dict[str, Any] = {scheme.name: scheme for scheme in (*EXPLICIT, *IMPLICIT, *DIFFUSIVE, *DENSITIES)}
register(RungeKutta, entropy_prox=entropy_prox)
register(**{name: x if isinstance(x, RungeKutta) else type(x) for name, x in SCHEMES.items()})


def scheme_of(scheme: Any, **options: Any) -> Any:
    """A scheme from its name, with options other than their defaults, or from its class; one is returned as it is.

    Examples
    --------
    >>> scheme_of("rk4").order
    4
    >>> scheme_of("rk45")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    wflow.errors.InputError: scheme must be one of euler, heun, bs3, rk4, dopri5, ..., got 'rk45'
    """
    if isinstance(scheme, str):
        if scheme not in SCHEMES:
            raise InputError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
        chosen = SCHEMES[scheme]
        known = [f.name for f in dataclasses.fields(chosen) if f.name not in ("name", "stability")]
        if unknown := [name for name in options if name not in known]:
            raise InputError(f"scheme {scheme!r} has no option {unknown[0]!r}; its options are {', '.join(known)}")
        return dataclasses.replace(chosen, **options) if options else chosen
    if isinstance(scheme, type):
        scheme = scheme()
    if not callable(getattr(scheme, "step", None)):
        raise InputError(f"scheme must be a name or have a method step, got {scheme!r}")
    return scheme
