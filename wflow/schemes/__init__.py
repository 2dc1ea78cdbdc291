"""Time-stepping schemes, by name: one file each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from wflow.checks import check_choice, did_you_mean, shown
from wflow.errors import InputError
from wflow.plain import register
from wflow.schemes.avf import AVF
from wflow.schemes.base import Scheme, Trial
from wflow.schemes.bdf2 import BDF2
from wflow.schemes.blob import Blob
from wflow.schemes.bs3 import BS3
from wflow.schemes.discrete_gradient import DiscreteGradient
from wflow.schemes.dopri5 import DOPRI5
from wflow.schemes.entropic_jko import EntropicJKO, entropy_prox
from wflow.schemes.euler import EULER
from wflow.schemes.finite_volume import FiniteVolume
from wflow.schemes.grid_flow import DensityPoint, GridFlow, GridScheme
from wflow.schemes.heun import HEUN
from wflow.schemes.jko import JKO
from wflow.schemes.kernel import Kernel
from wflow.schemes.langevin import EulerMaruyama, Langevin
from wflow.schemes.midpoint import Midpoint
from wflow.schemes.muscl import Muscl
from wflow.schemes.particle_flow import Flow, Point
from wflow.schemes.quantile_jko import QuantileJKO
from wflow.schemes.rk4 import RK4
from wflow.schemes.runge_kutta import RungeKutta

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

#: Schemes for particles share no more than all schemes do.
ParticleScheme = Scheme

CLASSES = (DiscreteGradient, AVF, JKO, BDF2, Midpoint, Langevin, EulerMaruyama, Blob, QuantileJKO)
DENSITIES = (Kernel, FiniteVolume, Muscl, EntropicJKO)

#: Every scheme by its name.
SCHEMES: dict[str, Any] = {s.name: s for s in (EULER, HEUN, BS3, RK4, DOPRI5, *(s() for s in CLASSES + DENSITIES))}
register(RungeKutta, entropy_prox=entropy_prox)
register(**{name: x if isinstance(x, RungeKutta) else type(x) for name, x in SCHEMES.items()})


def scheme_of(scheme: Any, **options: Any) -> Any:
    """A scheme from its name, its class or an object with the members of one; with options other than their defaults.

    Examples
    --------
    >>> scheme_of("rk4").order
    4
    >>> scheme_of("rk45")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    wflow.errors.InputError: scheme must be one of euler, heun, bs3, ..., got 'rk45'; did you mean 'rk4'?
    """
    if isinstance(scheme, str):
        scheme = SCHEMES[check_choice("scheme", scheme, SCHEMES)]
    elif isinstance(scheme, type):
        try:
            scheme = scheme()
        except TypeError as error:
            raise InputError(f"scheme must be an object where its class needs arguments: {error}") from None
    names = (*Scheme.__annotations__, "flow", "step", "inside")
    members = {name: getattr(scheme, name) for name in names if hasattr(scheme, name)}
    if not {"name", "order", "step"} <= members.keys():
        raise InputError(f"scheme must be a name or have a method step, a name and an order, got {shown(scheme)}")
    if not isinstance(scheme, Scheme):  # what it lacks is as in the base class
        home = {name: getattr(type(scheme), name) for name in ("__module__", "__qualname__")}  # for messages
        scheme = Scheme()
        vars(scheme).update(members, **home)
    return with_options(scheme, options)


def with_options(scheme: Any, options: Mapping[str, Any]) -> Any:
    """A scheme with options other than it has, or :class:`InputError` for one that it does not know."""
    if not options:
        return scheme
    known = _options(scheme)
    if unknown := next((name for name in options if name not in known), None):
        words = f"its options are {', '.join(known) or 'none'}{did_you_mean(unknown, known)}"
        raise InputError(f"scheme {scheme.name!r} has no option {unknown!r}; {words}")
    return dataclasses.replace(scheme, **options)


def _options(scheme: Any) -> list[str]:
    """The names of a scheme's options: of the fields with a default, since a tableau has none."""
    fields = dataclasses.fields(scheme) if dataclasses.is_dataclass(scheme) else ()
    return [f.name for f in fields if f.default is not dataclasses.MISSING]
