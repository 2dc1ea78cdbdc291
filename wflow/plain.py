"""Objects of the package as plain data, and back: the one description that trajectories and run files hold.

An object is described by its kind and the arguments of its class, which may be objects themselves:

>>> import wflow
>>> from wflow.initial import ball, gaussian, product
>>> describe(product(V=ball(1.0), W=gaussian("lecun")))  # doctest: +NORMALIZE_WHITESPACE
{'kind': 'product', 'laws': {'V': {'kind': 'ball', 'radius': 1.0},
                             'W': {'kind': 'gaussian', 'std': 'lecun', 'mean': 0.0}}}
>>> build({"kind": "SaveAt", "every": 0.5})
SaveAt(every=0.5, tau=None, steps=None)

Every room registers its classes beside its list of them. An object keeps the arguments of its class as attributes of
the same names, save for those that ``argument_attributes`` of the class names.
"""

from __future__ import annotations

__all__ = ["KINDS", "MissingObject", "build", "describe", "register"]

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from wflow.errors import InputError

#: Every registered class, and objects that are described by their names alone, such as tableaus.
KINDS: dict[str, Any] = {}
_NAMES: dict[int, str] = {}  # the kinds by the identity of what is registered


class MissingObject(InputError):
    """A description names what only the user has, or what this version of wflow does not know."""


def register(*classes: type, **kinds: Any) -> None:
    """Enter classes under their own names, and classes and single objects under other ones.

    No argument of a class may be called ``kind``.
    """
    for kind, value in ({cls.__name__: cls for cls in classes} | kinds).items():
        if KINDS.setdefault(kind, value) is not value:
            raise ValueError(f"there are two objects of kind {kind!r}")
        _NAMES[id(value)] = kind


def describe(value: Any, known: Mapping[str, Any] | None = None) -> Any:
    """A value as None, booleans, numbers, strings, arrays, and lists and dictionaries of them.

    Parameters
    ----------
    value
        Numbers of numpy become Python's and tuples lists. An object whose exact class is registered becomes a
        dictionary of its ``kind`` and its arguments. Anything else, such as a function, is described by its name only:
        ``{"kind": "user", "name": ...}``.
    known
        Objects by name that become references ``{"kind": "reference", "to": name}``.

    Examples
    --------
    >>> import wflow
    >>> describe({"encoder": wflow.FeedForward("tanh"), "shape": (2, np.int64(3))})
    {'encoder': {'kind': 'feedforward', 'activation': 'tanh', 'hidden': 1, 'bias': False}, 'shape': [2, 3]}
    >>> describe(np.sin)
    {'kind': 'user', 'name': 'numpy.sin'}
    """
    for name, thing in (known or {}).items():
        if value is thing:
            return {"kind": "reference", "to": name}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray)):
        return value
    if isinstance(value, (tuple, list)):
        return [describe(entry, known) for entry in value]
    kind = _NAMES.get(id(value)) or _NAMES.get(id(type(value)))
    if kind and not isinstance(value, type):
        arguments = _arguments(value) if isinstance(KINDS[kind], type) else {}
        return {"kind": kind} | {name: describe(entry, known) for name, entry in arguments.items()}
    if isinstance(value, Mapping):
        if "kind" in value or not all(isinstance(key, str) for key in value):
            return {"kind": "dict", "items": describe(list(value.items()), known)}
        return {key: describe(entry, known) for key, entry in value.items()}
    names = value if hasattr(value, "__qualname__") else type(value)
    return {"kind": "user", "name": f"{getattr(value, '__module__', names.__module__)}.{names.__qualname__}"}


def _arguments(value: Any) -> dict[str, Any]:
    """The arguments that make an object of a registered class again."""
    attributes = getattr(value, "argument_attributes", {})
    parameters = inspect.signature(type(value)).parameters.values()
    arguments = {p: getattr(value, attributes.get(p.name, p.name)) for p in parameters}
    return {p.name: dict(entry) if p.kind is p.VAR_KEYWORD else entry for p, entry in arguments.items()}


def build(data: Any, known: Mapping[str, Any] | None = None, remedy: str = "pass it again") -> Any:
    """What :func:`describe` described; lists become tuples.

    Parameters
    ----------
    data
        The description.
    known
        What references stand for.
    remedy
        What to do about an object of the user, for the message of the error.

    Raises
    ------
    MissingObject
        For an object of the user, and a kind or an argument that this version does not know.
    InputError
        For arguments that do not fit.

    Examples
    --------
    >>> build({"kind": "feedforward", "activation": "tanh"})
    FeedForward(activation='tanh', hidden=1, bias=False)
    >>> build(describe(np.sin), remedy="pass scheme=")
    Traceback (most recent call last):
    wflow.plain.MissingObject: numpy.sin is of your own: pass scheme=
    """
    if isinstance(data, list):
        return tuple(build(entry, known, remedy) for entry in data)
    if not isinstance(data, Mapping):
        return data
    arguments = {name: build(entry, known, remedy) for name, entry in data.items()}
    if "kind" not in arguments:
        return arguments
    kind = arguments.pop("kind")
    if kind == "dict" and isinstance(arguments.get("items"), tuple):
        try:
            return dict(arguments["items"])
        except (TypeError, ValueError) as error:
            raise InputError(f"a dictionary cannot have these items: {error!s:.200}") from None
    if kind == "reference" and isinstance(arguments.get("to"), str) and arguments["to"] in (known or {}):
        return (known or {})[arguments["to"]]
    if not isinstance(kind, str) or kind not in KINDS:
        own, to = arguments.get("name", "an object"), arguments.get("to", "such object")
        words = {"user": f"{own} is of your own", "reference": f"there is no {to}"}
        raise MissingObject(f"{words.get(str(kind), f'{kind!r:.80} is unknown')}: {remedy}")
    if not isinstance(KINDS[kind], type):
        return KINDS[kind]
    positional: tuple[Any, ...] = ()
    parameters = inspect.signature(KINDS[kind]).parameters
    if unknown := [name for name in arguments if name not in parameters]:
        raise MissingObject(f"{kind!r} has no argument {unknown[0]!r}: {remedy}")
    required = [name for name, p in parameters.items() if p.default is p.empty and name not in arguments]
    if required:
        raise MissingObject(f"{kind!r} lacks the argument {required[0]!r}: {remedy}")
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional = arguments.pop(name)
        elif parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name)
    try:
        return KINDS[kind](*positional, **arguments)
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:  # none of its own checks
        raise InputError(f"{kind!r} cannot have these arguments: {error!s:.200}") from None
