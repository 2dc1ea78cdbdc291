"""Time-stepping schemes, by name: one file each."""

from __future__ import annotations

from typing import Any

from wflow.errors import InputError
from wflow.schemes.bs3 import BS3
from wflow.schemes.dopri5 import DOPRI5
from wflow.schemes.euler import EULER
from wflow.schemes.heun import HEUN
from wflow.schemes.rk4 import RK4
from wflow.schemes.runge_kutta import RungeKutta
from wflow.schemes.scheme import Flow, Point, Scheme, Trial

__all__ = ["SCHEMES", "Flow", "Point", "RungeKutta", "Scheme", "Trial", "scheme_of"]

SCHEMES: dict[str, RungeKutta] = {scheme.name: scheme for scheme in (EULER, HEUN, BS3, RK4, DOPRI5)}


def scheme_of(scheme: Any) -> Scheme:
    """A scheme from its name; a scheme is returned as it is.

    Examples
    --------
    >>> scheme_of("rk4").order
    4
    >>> scheme_of("rk45")
    Traceback (most recent call last):
    wflow.errors.InputError: scheme must be one of euler, heun, bs3, rk4, dopri5, got 'rk45'
    """
    if isinstance(scheme, str):
        if scheme not in SCHEMES:
            raise InputError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
        return SCHEMES[scheme]
    if not callable(getattr(scheme, "step", None)):
        raise InputError(f"scheme must be a name or have a method step, got {scheme!r}")
    return scheme  # type: ignore[no-any-return]
