"""The sections of run files and their keys: those of the signatures behind them, and what run files have besides."""

from __future__ import annotations

__all__ = ["DATA", "DATASETS", "ENCODER_KEYS", "GROUPS", "LAWS", "REQUIRED", "SECTIONS", "Key", "keys_of"]

import inspect
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_args

from wflow import datasets, initial
from wflow.checks import did_you_mean
from wflow.encoders import ENCODERS
from wflow.energies import TransformerObjective
from wflow.observers import OBSERVERS
from wflow.run.solve import solve
from wflow.solution import SaveAt
from wflow.types import BOOLEAN, NonNegativeInt, Values, is_text, list_of, values_of

#: The default of a key without one.
REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "required"})()


@dataclass(frozen=True)
class Key:
    """What a key takes, in words or as a tuple of choices, and its default.

    ``values`` has the test that goes with the words; ``function`` is what has the argument that the key stands for.
    """

    type: str | tuple[str, ...]
    default: Any = REQUIRED
    values: Values | None = field(default=None, compare=False, repr=False)
    real: bool = field(default=False, compare=False, repr=False)
    function: Callable[..., Any] | None = field(default=None, compare=False, repr=False)

    @property
    def words(self) -> str:
        """The type in words."""
        return self.type if isinstance(self.type, str) else "one of " + ", ".join(map(repr, self.type))

    def accepts(self, value: Any) -> bool:
        """Whether a value has the type."""
        return self.values.test(value) if self.values else is_text(value) and value in self.type

    def stored(self, value: Any) -> Any:
        """A value as it is kept: with floats for integers where numbers are expected."""
        return _floats(value) if self.real else value

    def hint(self, value: Any) -> str:
        """Which of its words a wrong value may mean, in words."""
        if not self.values:
            return did_you_mean(value, self.type)
        known = [*self.values.names]
        wrong = [entry for entry in (value if isinstance(value, list) else [value]) if entry not in known]
        return did_you_mean(wrong[0], known) if wrong else ""


def keys_of(function: Callable[..., Any], without: Collection[str] = ()) -> dict[str, Key]:
    """The keys that stand for the arguments of a function or class: of all that take plain data, but for some.

    >>> keys_of(ENCODERS["attention"])["rank"]
    Key(type='a positive integer', default=None)
    """
    keys = {}
    for name, argument in inspect.signature(function).parameters.items():
        annotation = _annotation(function, argument)
        if name not in without and values_of(annotation):
            default = REQUIRED if argument.default is argument.empty else argument.default
            keys[name] = _key(annotation, list(default) if isinstance(default, tuple) else default, function)
    return keys


def _annotation(function: Any, argument: inspect.Parameter) -> Any:
    """The annotation of an argument, read where it was written: an inherited field in the module of its class."""
    text, classes = argument.annotation, getattr(function, "__mro__", ())
    homes = [cls for cls in classes if vars(cls).get("__annotations__", {}).get(argument.name) == text]
    start = function.__init__ if classes else function
    scope = vars(sys.modules[homes[0].__module__]) if homes else start.__globals__
    return eval(text, scope) if isinstance(text, str) else text


def _key(annotation: Any, default: Any = REQUIRED, function: Callable[..., Any] | None = None) -> Key:
    """The key of an annotation that names values."""
    values = values_of(annotation)
    words = values.words if isinstance(values, Values) else values or ()
    return Key(words, default, values if isinstance(values, Values) else None, _holds_floats(annotation), function)


def _holds_floats(annotation: Any) -> bool:
    """Whether there is a float in an annotation."""
    return annotation is float or any(map(_holds_floats, get_args(annotation)))


def _floats(value: Any) -> Any:
    """Numbers as floats, also in lists."""
    if isinstance(value, list):
        return [_floats(entry) for entry in value]
    return float(value) if type(value) is int else value


def _groups_of(cls: type) -> list[str]:
    """The names of an encoder's groups, as it is by default and with all its switches on."""
    switches = {name: True for name, key in keys_of(cls).items() if key.values is BOOLEAN}
    return [name for form in (cls(), cls(**switches)) for name in form.groups(1)]


def _table_like(example: str) -> Any:
    """The annotation of a key that stands for a section."""
    return Annotated[dict, Values(f"a section or a table such as {example}", lambda value: isinstance(value, dict))]


#: What makes the data, by the ``kind`` of [data].
DATASETS: dict[str, Callable[..., Any]] = {
    "digits": datasets.digits,
    "in-context": datasets.in_context_regression,
    "diabetes": datasets.diabetes,
    "npz": datasets.from_npz,
}

#: The keys of [data] by its ``kind``. All can hold out data.
_HELDOUT = {"heldout": replace(keys_of(datasets.Dataset.split)["fraction"], default=None)}
DATA = {kind: keys_of(function, without=["rows", "heldout"]) | _HELDOUT for kind, function in DATASETS.items()}

#: The keys of [attention] and [feedforward] by their ``kind``: the arguments of the encoder's class.
ENCODER_KEYS = {kind: keys_of(cls) for kind, cls in ENCODERS.items()}

#: The keys of a law, in [initial] or in [initial.NAME] for a block or parameter group, by its ``law``.
LAWS = {law: keys_of(cls) for law, cls in initial.LAWS.items()}

#: The names that may have a law of their own.
GROUPS = tuple(dict.fromkeys(["theta", "w", *(name for cls in ENCODERS.values() for name in _groups_of(cls))]))

#: Of the sections below: what particles and densities are made by, what a run takes, and what [observe] lists.
_INITIAL = keys_of(initial.Law.sample) | keys_of(initial.Law.on_grid)
_SOLVE = keys_of(solve, without=["overwrite", "progress"])
_START, _ = inspect.signature(solve).parameters["tau_range"].default
_OBSERVED = Annotated[
    list[str],
    Values(
        "a list of " + ", ".join(map(repr, [*OBSERVERS][:-1])) + f" and {[*OBSERVERS][-1]!r}",
        lambda value: value == [] or list_of(lambda entry: is_text(entry) and entry in OBSERVERS)(value),
        OBSERVERS,
    ),
]

#: The keys of the sections, without those that depend on a kind or law; under "" those of the top level.
SECTIONS: dict[str, dict[str, Key]] = {
    "": {"seed": _key(NonNegativeInt, 0)},
    "data": {"kind": Key(tuple(DATA))},
    "attention": {"kind": Key(tuple(ENCODERS), "attention")},
    "feedforward": {"kind": Key(tuple(ENCODERS), "feedforward")},
    "objective": keys_of(TransformerObjective),
    "initial": {name: replace(_INITIAL.pop(name), default=None) for name in ("M", "cells", "box")} | _INITIAL,
    "solve": {
        "scheme": _SOLVE.pop("scheme"),
        "options": _key(_table_like("{ levels = 2 }"), None),
        "tau_start": _key(float, _START),
        "tau_end": _key(float),
        **_SOLVE,
        "save": _key(_table_like("{ every = 0.5 }"), None),
    },
    "solve.save": keys_of(SaveAt),
    "observe": {"training": _key(_OBSERVED, []), "heldout": _key(_OBSERVED, [])},
}
