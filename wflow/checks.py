"""One check for every kind of argument: it returns the value as the package stores it, or raises InputError.

A check says what was given, what was expected and what to do. Integers may be numpy's; booleans are no numbers.

>>> import numpy as np
>>> check_integer("layers", np.int64(8))
8
>>> check_integer("layers", True)
Traceback (most recent call last):
wflow.errors.InputError: layers must be a positive integer, got True
"""

from __future__ import annotations

__all__ = [
    "check_array",
    "check_boolean",
    "check_choice",
    "check_fields",
    "check_integer",
    "check_nonnegative",
    "check_positive",
    "check_rng",
    "check_seed",
    "did_you_mean",
    "is_integer",
]

import difflib
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from wflow.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def is_integer(value: object) -> bool:
    """Whether a value is an integer of Python or numpy; booleans are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_integer(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return ``value`` as an int, or raise :class:`InputError` unless it is an integer between these."""
    if not is_integer(value) or value < least or (most is not None and value > most):
        kind = {0: "a non-negative integer", 1: "a positive integer"}.get(least, f"an integer >= {least}")
        if most is not None:
            kind = f"{', '.join(map(str, range(least, most)))} or {most}"
        raise InputError(f"{name} must be {kind}, got {value!r:.80}")
    return int(value)


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


def _finite(value: Any) -> float | None:
    if is_integer(value) or isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else None
    return None


def check_boolean(name: str, value: Any) -> bool:
    """Return ``value``, or raise :class:`InputError` unless it is True or False (numpy's count)."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, got {value!r:.80}")
    return bool(value)


def check_fields(frozen: Any, check: Callable[..., Any], *names: str, optional: bool = False, **limits: Any) -> None:
    """Store fields of a frozen dataclass as a check returns them; an optional one may be None."""
    for name in names:
        if not (optional and getattr(frozen, name) is None):
            object.__setattr__(frozen, name, check(name, getattr(frozen, name), **limits))


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return ``value``, or raise :class:`InputError` unless it is one of some words.

    Examples
    --------
    >>> check_choice("activation", "thanh", ["relu", "tanh"])
    Traceback (most recent call last):
    wflow.errors.InputError: activation must be one of relu, tanh, got 'thanh'; did you mean 'tanh'?
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        words = ", ".join(known) or "none at all"
        raise InputError(f"{name} must be one of {words}, got {value!r:.80}{did_you_mean(value, known)}")
    return value


def did_you_mean(value: object, known: Iterable[str], form: str = "{!r}") -> str:
    """The end of a message that names the closest of the known words; empty where none is close."""
    close = difflib.get_close_matches(str(value), list(known), 1)
    return f"; did you mean {form.format(close[0])}?" if close else ""


def check_seed(value: Any) -> int:
    """Return a seed, which a generator draws, or raise :class:`InputError`."""
    if isinstance(value, np.random.Generator):
        return int(value.integers(2**63))
    if not is_integer(value) or value < 0:
        raise InputError(f"rng must be a seed >= 0 or a numpy Generator (np.random.default_rng(0)), got {value!r:.80}")
    return int(value)


def check_rng(value: Any) -> np.random.Generator:
    """Return a generator, made from a seed where one is given, or raise :class:`InputError`."""
    return value if isinstance(value, np.random.Generator) else np.random.default_rng(check_seed(value))


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
