"""An error estimate from velocities that are known anyway."""

from __future__ import annotations

__all__ = ["adams_moulton_error", "past"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.schemes.particle_flow import Flow, Point


def past(point: Point, h: float) -> dict[str, NDArray[Any]]:
    """What :func:`adams_moulton_error` remembers of a step from a point."""
    return {"velocity": point.velocity, "h": np.array(h)}


def adams_moulton_error(flow: Flow, point: Point, new: Point, h: float) -> float:
    """The distance of a step of order 2 to Adams and Moulton's formula of order 3, with velocities v_-, v, v+.

    ``x + h/2 (v + v+) - h^3/6 ((v+ - v)/h - (v - v_-)/h_-)/(h + h_-)``, v_- the velocity h_- earlier (Hairer, Norsett,
    Wanner, Solving ODEs I, section III.5). Without v_- the trapezoidal rule alone would see no error of the midpoint
    rule in a linear flow. The first step takes it from a step backwards.
    """
    v, v_new = point.velocity, new.velocity
    if "velocity" in point.carry:
        before, h_before = point.carry["velocity"], float(point.carry["h"])
    else:
        before, h_before = flow.evaluate(point.x - 0.5 * h * (3 * v - v_new)).velocity, h
    bend = ((v_new - v) / h - (v - before) / h_before) / (h + h_before)
    return flow.norm(new.x - point.x - 0.5 * h * (v + v_new) + h**3 / 6 * bend)
