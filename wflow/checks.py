"""One check for every kind of argument: it returns the value as the package stores it, or raises InputError.

A check says what was given, what was expected and what to do. Scalars may be numpy's, also arrays without axes: they
are the Python numbers that they hold. Booleans are no numbers, and neither are text, dates and complex numbers. Arrays
of integers and of other precisions become float64, rounded as every number is; float32 stays.

>>> import numpy as np
>>> check_integer("layers", np.array(8))
8
>>> check_integer("layers", True)
Traceback (most recent call last):
wflow.errors.InputError: layers must be a positive integer, got True
"""

from __future__ import annotations

__all__ = [
    "check_array",
    "check_blocks_named",
    "check_boolean",
    "check_choice",
    "check_fields",
    "check_fraction",
    "check_index",
    "check_integer",
    "check_masses",
    "check_memory",
    "check_nonnegative",
    "check_number",
    "check_path",
    "check_positive",
    "check_regular",
    "check_result",
    "check_rng",
    "check_seed",
    "check_text",
    "did_you_mean",
    "fits",
    "is_integer",
    "shown",
    "unknown_keyword",
]

import contextlib
import difflib
import inspect
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from wflow.errors import InputError
from wflow.types import COUNT, FRACTION, NATURAL, NONNEGATIVE, NUMBER, POSITIVE, Values

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


# Scalars


def shown(value: Any) -> str:
    """The beginning of what a value looks like, in one line."""
    try:
        return " ".join(repr(value).split())[:80]
    except ValueError:  # Python writes no integer of thousands of digits
        return f"{type(value).__name__} with too many digits to show"


def _plain(value: Any) -> Any:
    """A scalar of numpy, or an array without axes, as the Python object that it holds; anything else as it is.

    Masked ones and differences of times stay: numpy makes numbers of these.
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value if isinstance(value, np.ma.MaskedArray) or value.dtype.kind in "mM" else value.item()
    return value


def is_integer(value: object) -> bool:
    """Whether a value is an integer of Python or numpy; booleans are not."""
    value = _plain(value)
    return isinstance(value, int) and not isinstance(value, bool)


def check_integer(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return ``value`` as an int, or raise :class:`InputError` unless it is an integer between these."""
    if not is_integer(value) or value < least or (most is not None and value > most):
        kind = {0: NATURAL.words, 1: COUNT.words}.get(least, f"an integer >= {least}")
        if most is not None:
            kind = f"an integer from {least} to {most}"
            if 0 < most - least < 4:
                kind = f"{', '.join(map(str, range(least, most)))} or {most}"
        raise InputError(f"{name} must be {kind}, got {shown(value)}")
    return int(value)


def check_number(name: str, value: Any, words: str = NUMBER.words, finite: bool = True) -> float:
    """Return ``value`` as a float, or raise :class:`InputError` unless it is one real number.

    Examples
    --------
    >>> check_number("tau", np.float32(0.5))
    0.5
    >>> check_number("tau", "0.5")
    Traceback (most recent call last):
    wflow.errors.InputError: tau must be a finite number, got '0.5'
    """
    number = _number(value)
    if number is None or (finite and not math.isfinite(number)):
        raise InputError(f"{name} must be {words}, got {shown(value)}")
    return number


def check_positive(name: str, value: Any, remedy: str = "") -> float:
    """Return ``value`` as a float, or raise :class:`InputError` unless it is positive and finite.

    Examples
    --------
    >>> check_positive("dtau", 0.5)
    0.5
    >>> check_positive("dtau", -1)
    Traceback (most recent call last):
    wflow.errors.InputError: dtau must be a positive finite number, got -1
    """
    return _check_real(name, value, POSITIVE, remedy=remedy)


def check_nonnegative(name: str, value: Any) -> float:
    """Return ``value`` as a float, or raise :class:`InputError` unless it is finite and not negative."""
    return _check_real(name, value, NONNEGATIVE)


def check_fraction(name: str, value: Any) -> float:
    """Return ``value`` as a float, or raise :class:`InputError` unless it lies between 0 and 1."""
    return _check_real(name, value, FRACTION, "a fraction between 0 and 1 (such as 0.2)")


def _check_real(name: str, value: Any, values: Values, words: str = "", remedy: str = "") -> float:
    """Return a real number as a float, or raise :class:`InputError` unless it is one of these values."""
    number = _number(value)
    if number is None or not values.test(number):
        raise InputError(f"{name} must be {words or values.words}, got {shown(value)}{remedy}")
    return number


def _number(value: Any) -> float | None:
    """A real number as a float, None for anything else."""
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return math.inf


def check_boolean(name: str, value: Any) -> bool:
    """Return ``value``, or raise :class:`InputError` unless it is True or False (numpy's count)."""
    if not isinstance(_plain(value), bool):
        raise InputError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return ``value``, or raise :class:`InputError` unless it is one of some words.

    Examples
    --------
    >>> check_choice("activation", "thanh", ["relu", "tanh"])
    Traceback (most recent call last):
    wflow.errors.InputError: activation must be one of relu, tanh, got 'thanh'; did you mean 'tanh'?
    """
    known, value = list(choices), _plain(value)
    if not isinstance(value, str) or value not in known:
        words = ", ".join(known) or "none at all"
        raise InputError(f"{name} must be one of {words}, got {shown(value)}{did_you_mean(value, known)}")
    return str(value)


def check_text(name: str, value: Any) -> str:
    """Return ``value``, or raise :class:`InputError` unless it is text."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, got {shown(value)}")
    return str(value)


def check_path(name: str, value: Any) -> Path:
    """Return ``value`` as a path, or raise :class:`InputError` unless it is text or a path.

    So does a path that the system does not look up, such as one with too long a name.
    """
    if not isinstance(value, (str, os.PathLike)) or "\0" in (text := os.fspath(value)) or not isinstance(text, str):
        raise InputError(f"{name} must be a path such as 'run.h5', got {shown(value)}")
    try:
        Path(text).resolve().exists()
    except (OSError, RuntimeError) as error:  # the latter for a link to itself
        words = getattr(error, "strerror", None) or "it is a link that leads to itself"
        raise InputError(f"{name} cannot be used: {words}: {shown(text)}") from None
    return Path(text)


def check_regular(path: Path, words: str) -> None:
    """Raise :class:`InputError` for a pipe, a device or the like, or a folder: to open a pipe can wait for ever.

    So does a path that the system does not look up, such as one with too long a name.
    """
    try:
        regular = path.is_file() or not path.exists()
    except OSError as error:
        raise InputError(f"{path} cannot be used: {error.strerror}") from None
    if not regular:
        raise InputError(f"{path} is no regular file but a folder, a pipe, a device or the like, {words}")


def check_seed(value: Any) -> int:
    """Return a seed, which a generator draws, or raise :class:`InputError`."""
    if isinstance(value, np.random.Generator):
        return int(value.integers(2**63))
    if not is_integer(value) or not 0 <= value < 2**128:  # as many bits as a key of noise has
        end = "; the largest seed is 2^128 - 1" if is_integer(value) and value > 0 else ""
        raise InputError(
            f"rng must be a seed >= 0 or a numpy Generator (np.random.default_rng(0)), got {shown(value)}{end}"
        )
    return int(value)


def check_rng(value: Any) -> np.random.Generator:
    """Return a generator, made from a seed where one is given, or raise :class:`InputError`."""
    return value if isinstance(value, np.random.Generator) else np.random.default_rng(check_seed(value))


# Names


def check_fields(frozen: Any, check: Callable[..., Any], *names: str, optional: bool = False, **limits: Any) -> None:
    """Store fields of a frozen dataclass as a check returns them; an optional one may be None."""
    for name in names:
        if not (optional and getattr(frozen, name) is None):
            object.__setattr__(frozen, name, check(name, getattr(frozen, name), **limits))


def check_blocks_named(name: str, value: Any, blocks: Collection[str], all_of_them: bool = True) -> dict[str, Any]:
    """Return a dictionary by block, or raise :class:`InputError` unless it names these blocks, or some of them.

    Examples
    --------
    >>> check_blocks_named("weights", {"tehta": 1}, ["theta", "w"], all_of_them=False)
    Traceback (most recent call last):
    wflow.errors.InputError: weights must name the blocks theta, w, got weights for tehta; did you mean 'theta'?
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{name} must be a dictionary that names the blocks {', '.join(blocks)}, got {shown(value)}")
    unknown = [key for key in value if key not in blocks]
    if unknown or (all_of_them and len(value) < len(blocks)):
        hint = did_you_mean(unknown[0], blocks) if unknown else ""
        got = ", ".join(map(str, value)) or "none" if all_of_them else f"{name} for {unknown[0]!s}"
        raise InputError(f"{name} must name the blocks {', '.join(blocks)}, got {got:.80}{hint}")
    return dict(value)


def did_you_mean(value: object, known: Iterable[str], form: str = "{!r}") -> str:
    """The end of a message that names the closest of the known words; empty where none is close."""
    close = difflib.get_close_matches(value[:80] if isinstance(value, str) else shown(value), list(known), 1)
    return f"; did you mean {form.format(close[0])}?" if close else ""


def unknown_keyword(function: Callable[..., Any], name: str, hint: str = "") -> TypeError:
    """The error of a call with a keyword argument that the function does not have.

    Examples
    --------
    >>> unknown_keyword(check_integer, "lest")
    TypeError("check_integer() got an unexpected keyword argument 'lest'; did you mean 'least'?")
    """
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return TypeError(
        f"{function.__name__}() got an unexpected keyword argument {name!r}{hint or did_you_mean(name, known)}"
    )


# Arrays

#: What arrays of other kinds hold, by the letter of numpy, and what to do about it.
OTHER_KINDS = {
    "b": "booleans; convert them on purpose, by array.astype(float)",
    "c": "complex numbers; take their real part on purpose",
    "S": "text",
    "U": "text",
    "M": "dates",
    "m": "differences of times",
    "V": "records",
}


def _real(expected: str, value: Any) -> NDArray[Any]:
    """An array of integers or floats, in the precision given, or an :class:`InputError`."""
    try:
        array = np.asarray(value)
    except Exception as error:  # also whatever the conversion of a foreign array raises
        raise InputError(f"{expected}, got {shown(value)} ({error!s:.120})") from None
    if array.dtype.kind not in "iuf":
        raise InputError(f"{expected}, got {OTHER_KINDS.get(array.dtype.kind, shown(value))}")
    holds = _inside(value)
    if holds & {bool, np.bool_}:
        raise InputError(f"{expected}, got {OTHER_KINDS['b']}")
    if np.ma.MaskedArray in holds:
        raise InputError(f"{expected}, got masked entries; leave them out or fill them first (numpy.ma.filled)")
    return array


def _inside(value: Any) -> set[type]:
    """The types of what nested lists hold, where numpy converts booleans and drops masks; a mask counts if it hides."""
    leaves, types = [value], {type(value)}
    while types & {list, tuple}:
        leaves = list(chain.from_iterable(x if isinstance(x, (list, tuple)) else (x,) for x in leaves))
        types = set(map(type, leaves))
    hidden = any(issubclass(t, np.ma.MaskedArray) for t in types) and any(np.ma.is_masked(x) for x in leaves)
    return (types - {np.ma.MaskedArray}) | ({np.ma.MaskedArray} if hidden else set())


def check_array(name: str, value: Any, ndim: int | tuple[int, ...], layout: str, finite: bool = True) -> NDArray[Any]:
    """Return ``value`` as a floating-point array, or raise :class:`InputError`.

    float32 stays float32; every other real type becomes float64. The array may be the one that was given.

    Parameters
    ----------
    name, layout
        For the message: of the argument, and of its axes, such as ``"(B, D, n)"``.
    value
        Masked, complex, boolean, text, date and object arrays are refused, in lists too.
    ndim
        The number of axes, or several that are allowed.
    finite
        Whether all entries must be finite.

    Examples
    --------
    >>> check_array("labels", [1, 2], 1, "(B,)").dtype
    dtype('float64')
    >>> check_array("labels", [[1, 2]], 1, "(B,)")
    Traceback (most recent call last):
    wflow.errors.InputError: labels must have shape (B,), got shape (1, 2)
    >>> check_array("labels", np.ma.masked_less([1, -9999], 0), 1, "(B,)")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    wflow.errors.InputError: labels must be an array of real numbers with shape (B,), got masked entries; ...
    """
    array = _real(f"{name} must be an array of real numbers with shape {layout}", value)
    if array.dtype != np.float32:
        with np.errstate(over="ignore"):  # beyond float64 is not finite
            array = array.astype(np.float64, copy=False)
    if array.ndim not in (ndim if isinstance(ndim, tuple) else (ndim,)):
        raise InputError(f"{name} must have shape {layout}, got shape {array.shape}")
    if finite and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{name} must be finite, got {array[place]} at index {place}")
    return array


def check_index(name: str, value: Any, count: int) -> NDArray[np.int64]:
    """Return integers among ``count`` things, negative ones from the end, or raise :class:`InputError`.

    Examples
    --------
    >>> check_index("index", [True, False, True], 3)
    array([0, 2])
    >>> check_index("index", [0, 3], 3)
    Traceback (most recent call last):
    wflow.errors.InputError: index must be one or more integers from -3 to 2, or 3 booleans, got [0, 3]
    """
    try:
        array = np.asarray(value)
    except ValueError:  # rows of several lengths
        array = np.empty(0)
    holds = _inside(value)
    if array.dtype == bool and array.shape == (count,):
        array, holds = np.flatnonzero(array), holds - {bool, np.bool_}
    integers = array.ndim == 1 and array.dtype.kind in "iu" and array.size
    if not integers or holds & {bool, np.bool_, np.ma.MaskedArray} or array.min() < -count or array.max() >= count:
        raise InputError(
            f"{name} must be one or more integers from {-count} to {count - 1}, or {count} booleans, got {shown(value)}"
        )
    return array.astype(np.int64)


def check_masses(name: str, value: Any, shape: tuple[int, ...], layout: str, positive: bool = False) -> NDArray[Any]:
    """Return masses that are one in sum over the last axis, in float64, or raise :class:`InputError`.

    The sum may miss one by the round-off of the precision in which they are given, and is then divided out.

    Examples
    --------
    >>> thirds = check_masses("weights", np.full(3, 1 / 3, np.float32), (3,), "(K,)")
    >>> float(thirds.sum())
    1.0
    """
    array = check_array(name, value, len(shape), layout)
    if array.shape != shape:
        raise InputError(f"{name} must have shape {shape}, got shape {array.shape}")
    precision = np.asarray(value).dtype
    eps = float(np.finfo(precision).eps) if precision.kind == "f" else 0.0
    array = array.astype(np.float64)
    if array.min() < 0 or (positive and array.min() == 0):
        words = "be positive and sum to 1" if positive else "not be negative"
        raise InputError(f"{name} must {words}, got {array.min():.6g}")
    totals = array.sum(axis=-1, keepdims=True)
    error = np.abs(totals - 1)
    if error.max() > max(1e-9, 64 * eps):
        worst = int(error.argmax())
        every, where = (" over every slice", f" over slice {worst}") if array.ndim > 1 else ("", "")
        raise InputError(
            f"{name} must {'be positive and ' * positive}sum to 1{every}, got {totals.flat[worst]:.12g}{where}; divide "
            f"{'each slice by its sum' if where else 'them by their sum'}"
        )
    # What is one to round-off stays as it is, so that what files hold returns bit for bit.
    return np.where(error > 1e-12, array / totals, array)


def fits(value: Any, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> bool:
    """Whether a value is an array of this shape and precision already."""
    return type(value) is np.ndarray and value.shape == shape and value.dtype == dtype


def check_result(expected: str, value: Any, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return what a function of the user returned, in this precision, or raise :class:`InputError`.

    ``expected`` says which function must return what, up to the shape.

    Examples
    --------
    >>> check_result("V must return an array", np.ones((3, 1)), (3,))
    Traceback (most recent call last):
    wflow.errors.InputError: V must return an array (3,), got (3, 1)
    >>> check_result("V must return an array", None, (3,))
    Traceback (most recent call last):
    wflow.errors.InputError: V must return an array (3,) of real numbers, got None
    """
    if fits(value, shape, dtype):
        return np.asarray(value)
    if type(value) is np.ndarray and value.shape == shape and value.dtype == dtype:
        return value  # at once, since steps ask again and again
    array = _real(f"{expected} {shape} of real numbers", value)
    if array.shape != shape:
        raise InputError(f"{expected} {shape}, got {array.shape}")
    with np.errstate(over="ignore"):  # the run says what is not finite
        return array.astype(dtype, copy=False)


# Memory


def check_memory(what: str, n_bytes: int, remedy: str) -> None:
    """Raise :class:`InputError` where something needs more memory than this process may still take.

    Examples
    --------
    >>> check_memory("10^400 particles", 8 * 10**400, "draw fewer")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    wflow.errors.InputError: 10^400 particles need about ... GiB of memory, but this process may take ...: draw fewer
    """
    if n_bytes > ALWAYS_THERE and n_bytes > (free := _free_memory()):
        need, have = (float(min(n, 2**1000)) / 2**30 for n in (n_bytes, free))
        raise InputError(
            f"{what} need about {need:.3g} GiB of memory, but this process may take {have:.3g} GiB: {remedy}"
        )


#: So few bytes are not worth a look.
ALWAYS_THERE = 2**26
#: Where Linux tells of memory: what is free, the groups of this process, and those of their folders with limits.
MEMORY_INFO, GROUPS, GROUP_FOLDER = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def _free_memory() -> float:
    """The bytes that the machine has, or has left, and that limits of the process and of its job allow, if known."""
    known = [math.inf]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(KeyError, ValueError, OSError):
        rows = dict(line.split(":") for line in MEMORY_INFO.read_text().splitlines())
        known.append(sum(1024 * int(rows[name].split()[0]) for name in ("MemAvailable", "SwapFree")))
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        known.append(math.inf if limit == resource.RLIM_INFINITY else limit)
    with contextlib.suppress(ValueError, OSError):
        for line in GROUPS.read_text().splitlines():
            _, kinds, group = line.split(":", 2)
            known += _limits(kinds, PurePosixPath(group))
    return min(known)


def _limits(kinds: str, group: PurePosixPath) -> Iterator[int]:
    """Those of a group of processes and of the groups above it, in both versions of such groups."""
    if kinds and "memory" not in kinds.split(","):
        return
    folder, name = ("memory", "memory.limit_in_bytes") if kinds else ("", "memory.max")
    for one in (group, *group.parents):
        with contextlib.suppress(ValueError, OSError):  # no limit is "max"
            yield int((GROUP_FOLDER / folder / one.relative_to("/") / name).read_text())
