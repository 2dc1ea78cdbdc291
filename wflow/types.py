"""Named types of arguments: an annotation says which values an argument takes, in words and as a test.

Checks, run files and their documentation take both from there, so that a range stands once:

>>> def wait(seconds: PositiveFloat, how: Annotated[str, ("idly", "busily")] = "idly") -> None: ...
>>> from typing import get_type_hints
>>> hints = get_type_hints(wait, include_extras=True)
>>> values_of(hints["seconds"]), values_of(hints["seconds"]).test(-1.0), values_of(hints["how"])
(a positive finite number, False, ('idly', 'busily'))

Tests are for plain data, as files hold them: Python's numbers, text, lists and dictionaries (:mod:`wflow.plain`).
"""

from __future__ import annotations

__all__ = [
    "BOOLEAN",
    "COUNT",
    "FRACTION",
    "NATURAL",
    "NONNEGATIVE",
    "NUMBER",
    "NUMBERS",
    "POSITIVE",
    "TEXT",
    "Fraction",
    "Names",
    "NonNegativeFloat",
    "NonNegativeInt",
    "Numbers",
    "PositiveFloat",
    "PositiveInt",
    "Values",
    "is_count",
    "is_number",
    "is_text",
    "list_of",
    "values_of",
]

import sys
from collections.abc import Callable, Collection, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

Test = Callable[[Any], bool]


class Values(NamedTuple):
    """The values of a named type: in words that follow "must be", and as a test; ``names`` are words among them."""

    words: str
    test: Test
    names: Collection[str] = ()

    def __repr__(self) -> str:
        return self.words


def is_text(value: Any) -> bool:
    """Whether plain data are text."""
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    """Whether plain data are a finite number."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def is_count(value: Any) -> bool:
    """Whether plain data are a positive integer, of a size that things can be counted to."""
    return type(value) is int and 0 < value < 2**31


def list_of(test: Test) -> Test:
    """The test of a list that is not empty and whose entries pass a test."""
    return lambda value: isinstance(value, list) and len(value) > 0 and all(map(test, value))


BOOLEAN = Values("true or false", lambda value: isinstance(value, bool))
TEXT = Values("text", is_text)
NUMBER = Values("a finite number", is_number)
POSITIVE = Values("a positive finite number", lambda value: is_number(value) and value > 0)
NONNEGATIVE = Values("a non-negative finite number", lambda value: is_number(value) and value >= 0)
FRACTION = Values("a number between 0 and 1", lambda value: is_number(value) and 0 < value < 1)
COUNT = Values("a positive integer", is_count)
NUMBERS = Values("a list of numbers", list_of(is_number))
NATURAL = Values("a non-negative integer", lambda value: type(value) is int and 0 <= value < 2**63)

PositiveFloat = Annotated[float, POSITIVE]
NonNegativeFloat = Annotated[float, NONNEGATIVE]
Fraction = Annotated[float, FRACTION]
PositiveInt = Annotated[int, COUNT]
NonNegativeInt = Annotated[int, NATURAL]
Names = Annotated[Sequence[str], Values("a list of names", list_of(is_text))]
Numbers = Annotated[Sequence[float], NUMBERS]

#: What annotations without a named type mean.
PLAIN: dict[Any, Values] = {bool: BOOLEAN, str: TEXT, int: COUNT, float: NUMBER}


def values_of(annotation: Any) -> Values | tuple[str, ...] | None:
    """The values that an annotation names, or the choices of a text; None where it names neither, as for an object.

    A text is annotated with its choices, ``Literal["a", "b"]`` or ``Annotated[str, CHOICES]``. Whether None is allowed
    too does not matter.
    """
    if get_origin(annotation) in (Union, UnionType):
        options = [option for option in get_args(annotation) if option is not NoneType]
        return values_of(options[0]) if len(options) == 1 else None
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    for named in getattr(annotation, "__metadata__", ()):
        return named if isinstance(named, Values) else tuple(named)
    return PLAIN.get(annotation)
