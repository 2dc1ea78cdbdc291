"""The two kinds of failure: input that was wrong, and a run that went wrong."""

from __future__ import annotations

__all__ = ["InputError", "SolveError", "check_array", "check_count", "check_nonnegative", "check_positive"]

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class InputError(ValueError):
    """What was given cannot be used: the message says what was given, what was expected and what to do.

    Raised at the boundary, before any work is done. The command line prints the message on one line and
    exits with code 2.
    """


class SolveError(RuntimeError):
    """A run went wrong after it had started; everything accepted before is kept.

    The message names the step, the training time ``tau`` and the remedy.
    """


def check_positive(name: str, value: Any) -> float:
    """Return ``value`` as a float, or raise :class:`InputError` unless it is positive and finite.

    Examples
    --------
    >>> check_positive("dtau", 0.5)
    0.5
    >>> check_positive("dtau", -1)
    Traceback (most recent call last):
    wflow.errors.InputError: dtau must be a positive finite number, got -1
    """
    number = _finite(value)
    if number is None or number <= 0:
        raise InputError(f"{name} must be a positive finite number, got {value!r}")
    return number


def check_nonnegative(name: str, value: Any) -> float:
    """Return ``value`` as a float, or raise :class:`InputError` unless it is finite and not negative."""
    number = _finite(value)
    if number is None or number < 0:
        raise InputError(f"{name} must be a non-negative finite number, got {value!r}")
    return number


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return ``value``, or raise :class:`InputError` unless it is an int of at least this size."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be an integer >= {least}, got {value!r}")
    return value


def _finite(value: Any) -> float | None:
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        number = float(value)
        return number if math.isfinite(number) else None
    return None


def check_array(name: str, value: Any, ndim: int, layout: str) -> NDArray[Any]:
    """Return ``value`` as a finite floating-point array with ``ndim`` axes, or raise :class:`InputError`.

    float32 stays float32; every other real type becomes float64. ``layout`` names the axes in the message,
    such as ``"(B, D, n)"``.

    Examples
    --------
    >>> check_array("labels", [1, 2], 1, "(B,)").dtype
    dtype('float64')
    >>> check_array("labels", [[1, 2]], 1, "(B,)")
    Traceback (most recent call last):
    wflow.errors.InputError: labels must have shape (B,), got shape (1, 2)
    """
    try:
        array = np.asarray(value)
        if array.dtype != np.float32:
            array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of real numbers with shape {layout}, got {value!r:.80}") from None
    if array.ndim != ndim:
        raise InputError(f"{name} must have shape {layout}, got shape {array.shape}")
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{name} must be finite, got {array[place]} at index {place}")
    return array
