"""The generated call of a number: a valid call, a few changes, its code and what is to become of it."""

from __future__ import annotations

__all__ = ["Generated", "generate", "namespace"]

import functools
import inspect
from typing import Any

import numpy as np

from validation.doors import props
from validation.doors.calls import CALLS, Call
from validation.doors.changes import BAD, EITHER, OPEN, SAME, Generated
from validation.doors.files import generate_file

#: The share of calls that are meant to be good, and that of run files among all.
GOOD, RUN_FILES = 0.45, 0.2


@functools.cache
def namespace() -> dict[str, Any]:
    """What the code of calls may name."""
    import wflow
    from wflow import (
        check,
        controllers,
        distances,
        encoders,
        figures,
        initial,
        landscapes,
        observers,
        plain,
        problems,
        runfile,
        schemes,
        tangent,
    )

    modules = (check, controllers, distances, encoders, figures, initial, observers, plain, problems, runfile, schemes)
    names = {module.__name__.rpartition(".")[2]: module for module in (*modules, landscapes, tangent)}
    return {**vars(props), **names, "np": np, "wflow": wflow}


def generate(seed: int, number: int) -> Generated:
    """The call of a number: a function of the seed and the number alone."""
    rng = np.random.default_rng([seed, number])
    good = rng.random() < GOOD
    if rng.random() < RUN_FILES:
        return generate_file(rng, good)
    return _generate_call(rng, CALLS[int(rng.integers(len(CALLS)))], good)


def _generate_call(rng: np.random.Generator, call: Call, good: bool) -> Generated:
    arguments = {name: argument.source for name, argument in call.arguments.items()}
    reference, titles, verdict, words, rtol, may = (
        _code(call.target, arguments, call.probe),
        [],
        SAME,
        "",
        call.precision,
        False,
    )
    positional = 0
    n_changes = int(rng.integers(1, 4))
    names = [str(name) for name in rng.permutation(list(arguments))]
    if not good and rng.random() < 0.12 and call.target != "wflow.Particles":  # blocks may have any names
        title, arguments, may = _wrong_call(rng, call, arguments)
        titles.append(title)
        verdict = BAD
        names = [name for name in names if arguments.get(name) == call.arguments[name].source]
    for k, name in enumerate(names[:n_changes]):
        if good or verdict == BAD or k > 0:
            wanted = (SAME,) if k or not good or rng.random() < 0.85 else (EITHER, OPEN)
            wanted = (SAME,) if verdict == BAD else wanted
        else:
            wanted = (BAD,) if rng.random() < 0.9 else (OPEN, EITHER)
        choices = [change for change in call.arguments[name].changes if change.verdict in wanted]
        if not choices:
            continue
        change = choices[int(rng.integers(len(choices)))]
        arguments[name] = change(arguments[name])
        titles.append(f"{name}: {change.template}")
        verdict, words = _worse(verdict, change.verdict), words or change.words
        rtol = max(rtol, change.rtol)
    if good and rng.random() < 0.3:
        positional = int(rng.integers(0, len(arguments) + 1))
    code = _code(call.target, arguments, call.probe, positional)
    return Generated(
        call.target, f"{call.target}: {', '.join(titles) or 'as it is'}", verdict, code, reference, words, rtol, may
    )


def _worse(a: str, b: str) -> str:
    order = (SAME, EITHER, OPEN, BAD)
    return max(a, b, key=order.index)


def _wrong_call(rng: np.random.Generator, call: Call, arguments: dict[str, str]) -> tuple[str, dict[str, str], bool]:
    """A call that violates the signature, or two arguments in each other's place."""
    names = list(arguments)
    way = ("typo", "missing", "unknown", "swapped")[int(rng.integers(4))]
    name = names[int(rng.integers(len(names)))]
    if way == "swapped":
        others = [n for n in names if call.arguments[n].group != call.arguments[name].group]
        pair = {call.arguments[name].group}
        others = [
            n
            for n in others
            if not {call.arguments[n].group, *pair} <= {"count", "seed", "number", "fixed", "array", "boolean"}
        ]
        if others:
            other = others[int(rng.integers(len(others)))]
            return f"{name} and {other} swapped", {**arguments, name: arguments[other], other: arguments[name]}, False
        way = "typo"
    if way == "missing":
        parameters = inspect.signature(eval(call.target, dict(namespace()))).parameters
        required = [n for n in names if n in parameters and parameters[n].default is inspect.Parameter.empty]
        if required:
            name = required[int(rng.integers(len(required)))]
            return f"{name} missing", {n: source for n, source in arguments.items() if n != name}, True
        way = "typo"
    if way == "unknown":
        return "an unknown keyword", {**arguments, "colour": "'red'"}, True
    return f"{name} misspelt", {(n + "_" if n == name else n): source for n, source in arguments.items()}, True


def _code(target: str, arguments: dict[str, str], probe: str, positional: int = 0) -> str:
    """The code of a call, with as many leading arguments by position as were asked for and the signature allows."""
    if positional:
        parameters = list(inspect.signature(eval(target, dict(namespace()))).parameters.values())
        by_position = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        count = 0
        while count < min(positional, len(by_position)) and by_position[count] in arguments:
            count += 1
        first = [arguments[name] for name in by_position[:count]]
        rest = [f"{name}={source}" for name, source in arguments.items() if name not in by_position[:count]]
        return f"made = {target}({', '.join(first + rest)})\nvalue = ({probe})"
    return f"made = {target}({', '.join(f'{n}={source}' for n, source in arguments.items())})\nvalue = ({probe})"
