"""How fast parameters move: mobilities by group or block, and the metric of the flow that they make."""

from __future__ import annotations

__all__ = ["Mobility", "check_mobilities", "combined_mobilities", "inverse_mobility", "mobilities_of"]

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_array, check_blocks_named, check_nonnegative, did_you_mean, shown
from wflow.encoders.protocol import Encoder
from wflow.errors import InputError
from wflow.types import NONNEGATIVE, Values

Array = NDArray[np.float64]
Mobility = Annotated[
    Mapping[str, float],
    Values(
        "numbers >= 0 by group or block, such as { W_K = 0.0, 'theta.W_Q' = 2.0 }",
        lambda value: isinstance(value, dict) and all(map(NONNEGATIVE.test, value.values())),
    ),
]

#: A mobility is 0 or between this and its inverse, so that inverses are numbers in either precision.
SMALLEST = 1e-30


def mobilities_of(mobility: Any, encoders: Mapping[str, Encoder], dimension: int) -> dict[str, Array]:
    """The mobility M of every coordinate, (p,) by block, from numbers by the names of groups and blocks.

    A block sets all its coordinates, a group of it wins over that. ``block.group`` names a group in one block. Blocks
    whose coordinates all have M = 1 are left out.

    Raises
    ------
    InputError
        For anything but non-negative numbers by name, names that are unknown, ambiguous or name a group twice, and
        mobilities that move nothing.

    Examples
    --------
    >>> from wflow.encoders import SoftmaxAttention
    >>> heads = {"theta": SoftmaxAttention()}
    >>> mobilities_of({"theta": 3.0, "W": 0.0}, heads, 1)
    {'theta': array([3., 0.])}
    >>> mobilities_of({"W_K": 0.0}, heads, 1)
    Traceback (most recent call last):
    wflow.errors.InputError: mobility names 'W_K', but the names are theta, V, W, theta.V, theta.W
    """
    if not isinstance(mobility, Mapping):
        raise InputError(
            f"mobility must be a dictionary of numbers by group or block, such as {{'W': 0.0}}, got {shown(mobility)}"
        )
    sizes = {block: int(encoder.n_parameters(dimension)) for block, encoder in encoders.items()}
    places = {block: _groups(encoder, dimension) for block, encoder in encoders.items()}
    homes: dict[str, list[tuple[str, slice]]] = {block: [(block, slice(0, p))] for block, p in sizes.items()}
    for block, groups in places.items():
        for name, place in groups.items():
            if name not in sizes:  # the name of a block means the block
                homes.setdefault(name, []).append((block, place))
    for block, groups in places.items():
        homes |= {f"{block}.{name}": [(block, place)] for name, place in groups.items()}
    for name in mobility:
        if not isinstance(name, str) or name not in homes:
            names = ", ".join(homes)
            raise InputError(f"mobility names {shown(name)}, but the names are {names}{did_you_mean(name, homes)}")
        if len(homes[name]) > 1:
            full = " or ".join(repr(f"{block}.{name}") for block, _ in homes[name])
            raise InputError(f"mobility of {name!r} is ambiguous, since several blocks have this group: name {full}")
    out = {block: np.ones(p) for block, p in sizes.items()}
    named: dict[tuple[str, int, int], str] = {}
    for name in sorted(mobility, key=lambda name: name not in sizes):  # blocks, then their groups
        ((block, place),) = homes[name]
        key = block, place.start, place.stop
        if name not in sizes and key in named:
            raise InputError(f"mobility names one group twice, as {named[key]!r} and {name!r}: leave one out")
        if name not in sizes:
            named[key] = name
        out[block][place] = _checked(name, mobility[name])
    if not any(M.any() for M in out.values()):
        raise InputError("mobility must leave something that moves, but all of it is 0")
    return {block: M for block, M in out.items() if (M != 1).any()}


def _checked(name: str, value: Any) -> float:
    M = check_nonnegative(f"mobility of {name}", value)
    if M and not SMALLEST <= M <= 1 / SMALLEST:
        raise InputError(f"mobility of {name} must be 0 or between {SMALLEST:g} and {1 / SMALLEST:g}, got {M!r}")
    return M


def _groups(encoder: Encoder, dimension: int) -> dict[str, slice]:
    """Where the groups of an encoder stand among its parameters; none where it does not say."""
    groups = getattr(encoder, "groups", None)
    return {} if groups is None else {name: place for name, (place, _) in groups(dimension).items()}


def check_mobilities(mobilities: Any, sizes: Mapping[str, int]) -> None:
    """Raise :class:`InputError` unless these are mobilities for blocks of these numbers p of parameters.

    Examples
    --------
    >>> check_mobilities({"x": [1.0, 0.0, 2.0]}, {"x": 2})
    Traceback (most recent call last):
    wflow.errors.InputError: the mobilities of x must be 2 numbers >= 0, one a parameter, got [1.0, 0.0, 2.0]
    """
    moves = dict(sizes)
    for block, M in check_blocks_named("mobilities", mobilities, list(sizes), all_of_them=False).items():
        array = check_array(f"the mobilities of {block}", M, 1, "(p,)")
        if array.shape != (sizes[block],) or array.min() < 0 or not isinstance(M, np.ndarray):
            words = f"{sizes[block]} numbers >= 0, one a parameter"
            raise InputError(f"the mobilities of {block} must be {words}, got {shown(M)}")
        moves[block] = int((array > 0).sum())
    if not any(moves.values()):
        raise InputError("mobilities must leave something that moves, but all of them are 0")


def inverse_mobility(M: Array) -> Array:
    """``1/M`` where M > 0, the weight of a coordinate in the metric of the flow; 0 where it is frozen.

    Examples
    --------
    >>> inverse_mobility(np.array([4.0, 0.0]))
    array([0.25, 0.  ])
    """
    return np.divide(1.0, M, out=np.zeros_like(M), where=M > 0)


def combined_mobilities(terms: Iterable[Any]) -> Mapping[str, Array]:
    """The mobilities of a sum of energies: those of the terms that have any.

    Raises
    ------
    InputError
        Where two terms have different ones.
    """
    found: Mapping[str, Array] = {}
    for other in (term.mobilities for term in terms if term.mobilities):
        same = found.keys() == other.keys() and all(np.array_equal(found[name], other[name]) for name in found)
        if found and not same:
            raise InputError("the energies of a sum must have the same mobility: give it to one of them only")
        found = other
    return found
