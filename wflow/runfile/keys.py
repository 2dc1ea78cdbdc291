"""The keys of run files: which there are, what they take, and their defaults."""

from __future__ import annotations

__all__ = ["DATA", "ENCODER_KEYS", "GROUPS", "LAWS", "REQUIRED", "SECTIONS", "TYPES", "Key"]

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from wflow import initial
from wflow.checks import did_you_mean
from wflow.encoders import ENCODERS
from wflow.encoders.attention import Mask
from wflow.losses import LOSSES
from wflow.network.rules import DEPTH_RULES
from wflow.observers import OBSERVERS
from wflow.schemes import SCHEMES

#: The default of a key without one.
REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "required"})()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_integer(value: Any) -> bool:
    return type(value) is int


def _is_count(value: Any) -> bool:
    return _is_integer(value) and 0 < value < 2**31


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_width(value: Any) -> bool:
    by_block = isinstance(value, dict) and set(value) <= {"theta", "w"} and all(map(_is_count, value.values()))
    return by_block or _is_count(value)


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) > 0 and all(map(check, value))


#: The type of mobilities.
MOBILITY = "numbers >= 0 by group or block, such as { W_K = 0.0, 'theta.W_Q' = 2.0 }"
#: What [observe] lists.
OBSERVED = "a list of " + ", ".join(map(repr, [*OBSERVERS][:-1])) + f" and {[*OBSERVERS][-1]!r}"

#: The types of keys: the words of messages and of the documentation, and the test.
TYPES: dict[str, Callable[[Any], bool]] = {
    "true or false": lambda value: isinstance(value, bool),
    "text": _is_text,
    "a finite number": _is_number,
    "a positive finite number": lambda value: _is_number(value) and value > 0,
    "a non-negative finite number": lambda value: _is_number(value) and value >= 0,
    "a number between 0 and 1": lambda value: _is_number(value) and 0 < value < 1,
    "a positive integer": _is_count,
    "a non-negative integer": lambda value: _is_integer(value) and 0 <= value < 2**63,
    "a list of digits, or 'all'": lambda value: value == "all" or _list_of(_is_integer)(value),
    "a pair [height, width] of integers": lambda value: _list_of(_is_integer)(value) and len(value) == 2,
    "a list of names": _list_of(_is_text),
    "a list of numbers": _list_of(_is_number),
    "a list of points, which are lists of numbers": _list_of(_list_of(_is_number)),
    "a number or a list of numbers": lambda value: _is_number(value) or _list_of(_is_number)(value),
    "a positive finite number, 'lecun' or 'he'": lambda value: (
        value in initial.GAINS if _is_text(value) else _is_number(value) and value > 0
    ),
    "a positive integer, or one for each block such as { theta = 32, w = 64 }": _is_width,
    "cells along an axis, or for each block such as { theta = [32, 64], w = 48 }": lambda value: (
        _is_count(value)
        or (isinstance(value, dict) and all(_is_count(n) or _list_of(_is_count)(n) for n in value.values()))
    ),
    "intervals for each block, such as { w = [[-4, 4], [-4, 4]] }": lambda value: (
        isinstance(value, dict) and all(_list_of(_list_of(_is_number))(box) for box in value.values())
    ),
    MOBILITY: lambda value: isinstance(value, dict) and all(_is_number(M) and M >= 0 for M in value.values()),
    "a section or a table such as { every = 0.5 }": lambda value: isinstance(value, dict),
    "a section or a table such as { levels = 2 }": lambda value: isinstance(value, dict),
    "'causal', a pair ['local', w], or the path of an .npy file": lambda value: (
        _is_text(value)
        or (_list_of(lambda _: True)(value) and value[0] == "local" and len(value) == 2 and _is_integer(value[1]))
    ),
    OBSERVED: lambda value: value == [] or _list_of(lambda v: _is_text(v) and v in OBSERVERS)(value),
}


@dataclass(frozen=True)
class Key:
    """What a key takes, one of :data:`TYPES` or a tuple of choices, and its default."""

    type: str | tuple[str, ...]
    default: Any = REQUIRED

    @property
    def words(self) -> str:
        """The type in words."""
        return self.type if isinstance(self.type, str) else "one of " + ", ".join(map(repr, self.type))

    def hint(self, value: Any) -> str:
        """Which of its choices a wrong value may mean, in words."""
        if isinstance(self.type, tuple):
            return did_you_mean(value, self.type)
        if not isinstance(value, list) or "'risk'" not in self.type:
            return ""
        wrong = [entry for entry in value if not _is_text(entry) or entry not in OBSERVERS]
        return did_you_mean(wrong[0], OBSERVERS) if wrong else ""

    def accepts(self, value: Any) -> bool:
        """Whether a value has the type."""
        return TYPES[self.type](value) if isinstance(self.type, str) else _is_text(value) and value in self.type


#: The types of arguments by their annotations; texts are annotated with their choices.
ANNOTATIONS: dict[Any, str] = {
    bool: "true or false",
    int: "a positive integer",
    int | None: "a positive integer",
    float: "a finite number",
    Mask: "'causal', a pair ['local', w], or the path of an .npy file",
}


def keys_of(cls: type) -> dict[str, Key]:
    """The keys that stand for the arguments of a class, by their names, annotations and defaults.

    >>> keys_of(ENCODERS["attention"])["rank"]
    Key(type='a positive integer', default=None)
    """
    keys = {}
    for name, parameter in inspect.signature(cls, eval_str=True).parameters.items():
        annotation = parameter.annotation  # of a choice, Literal[...] or Annotated[str, (...)]
        choices = getattr(annotation, "__metadata__", (get_args(annotation),))[0]
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        keys[name] = Key(ANNOTATIONS.get(annotation, choices), default)
    return keys


def _groups_of(cls: type) -> list[str]:
    """The names of an encoder's groups, as it is by default and with all its switches on."""
    switches = {name: True for name, key in keys_of(cls).items() if key.type == "true or false"}
    return [name for form in (cls(), cls(**switches)) for name in form.groups(1)]


_HELDOUT = {"heldout": Key("a number between 0 and 1", None)}

#: The keys of [data] by its ``kind``.
DATA: dict[str, dict[str, Key]] = {
    "digits": {
        "classes": Key("a list of digits, or 'all'", [4, 9]),
        "patch": Key("a pair [height, width] of integers", [2, 2]),
        "positions": Key(("coordinates", "onehot"), "coordinates"),
        **_HELDOUT,
    },
    "in-context": {
        "n_prompts": Key("a positive integer"),
        "dimension": Key("a positive integer"),
        "context": Key("a positive integer"),
        "teacher": Key(("linear", "tanh", "relu"), "linear"),
        "width": Key("a positive integer", 16),
        "positions": Key("true or false", True),
        "noise": Key("a non-negative finite number", 0.0),
        **_HELDOUT,
    },
    "diabetes": {
        "n_prompts": Key("a positive integer"),
        "context": Key("a positive integer"),
        "features": Key("a list of names", None),
        **_HELDOUT,
    },
    "npz": {"path": Key("text"), **_HELDOUT},
}

#: The keys of [attention] and [feedforward] by their ``kind``: the arguments of the encoder's class.
ENCODER_KEYS = {kind: keys_of(cls) for kind, cls in ENCODERS.items()}

#: The keys of a law, in [initial] or in [initial.NAME] for a block or parameter group, by its ``law``.
LAWS: dict[str, dict[str, Key]] = {
    "gaussian": {
        "std": Key("a positive finite number, 'lecun' or 'he'", 1.0),
        "mean": Key("a number or a list of numbers", 0.0),
    },
    "ball": {"radius": Key("a positive finite number")},
    "atoms": {
        "points": Key("a list of points, which are lists of numbers"),
        "weights": Key("a list of numbers", None),
    },
}

#: The names that may have a law of their own.
GROUPS = tuple(dict.fromkeys(["theta", "w", *(name for cls in ENCODERS.values() for name in _groups_of(cls))]))

#: The keys of the other sections; under "" those of the top level.
SECTIONS: dict[str, dict[str, Key]] = {
    "": {"seed": Key("a non-negative integer", 0)},
    "attention": {"kind": Key(tuple(ENCODERS), "attention")},
    "feedforward": {"kind": Key(tuple(ENCODERS), "feedforward")},
    "objective": {
        "weight_decay": Key("a non-negative finite number", 0.0),
        "entropy": Key("a non-negative finite number", 0.0),
        "depth": Key(tuple(DEPTH_RULES), "split-euler"),
        "layers": Key("a positive integer", 8),
        "loss": Key(tuple(LOSSES), "squares"),
        "huber_delta": Key("a positive finite number", 1.0),
        "mobility": Key(MOBILITY, None),
    },
    "initial": {
        "M": Key("a positive integer, or one for each block such as { theta = 32, w = 64 }", None),
        "cells": Key("cells along an axis, or for each block such as { theta = [32, 64], w = 48 }", None),
        "box": Key("intervals for each block, such as { w = [[-4, 4], [-4, 4]] }", None),
        "kind": Key(initial.KINDS, "iid"),
        "dtype": Key(("float64", "float32"), "float64"),
    },
    "solve": {
        "scheme": Key(tuple(SCHEMES), "dopri5"),
        "options": Key("a section or a table such as { levels = 2 }", None),
        "tau_start": Key("a finite number", 0.0),
        "tau_end": Key("a finite number"),
        "dtau": Key("a positive finite number", None),
        "rtol": Key("a non-negative finite number", 1e-6),
        "atol": Key("a non-negative finite number", 1e-9),
        "tol": Key("a non-negative finite number", 1e-10),
        "save": Key("a section or a table such as { every = 0.5 }", None),
        "max_seconds": Key("a positive finite number", None),
    },
    "solve.save": {
        "every": Key("a positive finite number", None),
        "tau": Key("a list of numbers", None),
        "steps": Key("a positive integer", None),
    },
    "observe": {
        "training": Key(OBSERVED, []),
        "heldout": Key(OBSERVED, []),
    },
}
