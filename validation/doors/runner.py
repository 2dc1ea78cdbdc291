"""Runs generated calls in forks of one warm process, each call under limits of time and memory."""

from __future__ import annotations

__all__ = ["Outcome", "judge", "run"]

import contextlib
import functools
import json
import os
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from validation.doors import props
from validation.doors.changes import BAD, EITHER, SAME, Generated
from validation.doors.generate import generate, namespace

#: Seconds of a processor after which a call counts as one that hangs; how many there may be of a clock, since others
#: may keep the processors busy; and those after which its process is ended.
SECONDS, PATIENCE, DEAF = 5.0, 20.0, 25.0
#: Memory beyond that of the warm parent.
BYTES = 2 * 2**30
#: Calls of one fork.
BATCH = 40


@dataclass(frozen=True)
class Outcome:
    """What became of a call: accepted, refused, or a fault, with details."""

    number: int
    result: str
    fault: str = ""
    seconds: float = 0.0


class Hang(BaseException):
    """The time of a call is over. Not an Exception, which code may catch."""


def run(
    seed: int, numbers: Sequence[int], workers: int, say: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """The outcomes of the calls of these numbers, in no order."""
    with store(), tempfile.TemporaryDirectory(prefix="doors-") as folder:
        props.warm()
        for number in numbers:  # kernels, modules and right values are ready before the forks
            generated = generate(seed, number)
            with contextlib.suppress(Exception):
                right(generated.reference)
        waiting = [list(numbers[k : k + BATCH]) for k in range(0, len(numbers), BATCH)]
        outcomes: list[Outcome] = []
        children: dict[int, _Child] = {}
        while waiting or children:
            while waiting and len(children) < workers:
                child = _Child(seed, waiting.pop(0), Path(folder))
                children[child.stream] = child
            ready, _, _ = select.select(list(children), [], [], 0.2)
            for stream, child in list(children.items()):
                for outcome in child.read() if stream in ready else []:
                    outcomes.append(outcome)
                    say(outcome)
                words = ""
                if child.over:
                    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
                    words = f"killed: its process ended with {code}" if child.left else ""
                elif time.monotonic() - child.since > DEAF:
                    os.kill(child.pid, signal.SIGKILL)
                    os.waitpid(child.pid, 0)
                    words = f"hang: more than {DEAF:g} s, and deaf"
                else:
                    continue
                del children[stream]
                os.close(stream)
                if child.left:
                    outcomes.append(Outcome(child.left[0], "fault", words))
                    say(outcomes[-1])
                    if child.left[1:]:
                        waiting.insert(0, child.left[1:])
        return outcomes


class _Child:
    """A fork of this process that runs some calls and writes a line for each."""

    def __init__(self, seed: int, numbers: list[int], folder: Path) -> None:
        self.left, self.since, self.over, self._rest = list(numbers), time.monotonic(), False, b""
        self.stream, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self.stream)
                _limit()
                _silence()
                for number in numbers:
                    outcome = judge(number, generate(seed, number), folder)
                    os.write(write, json.dumps(asdict(outcome)).encode() + b"\n")
                code = 0
            finally:
                os._exit(code)
        os.close(write)

    def read(self) -> list[Outcome]:
        """The outcomes since the last look."""
        chunk = os.read(self.stream, 2**16)
        self.over = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.left = self.left[len(lines) :]
        if lines:
            self.since = time.monotonic()
        return [Outcome(**json.loads(line)) for line in lines]


def _limit() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _silence() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raise :class:`Hang` after the seconds of a call."""

    def ring(*_: Any) -> None:
        raise Hang

    clocks = {
        signal.SIGPROF: (signal.ITIMER_PROF, SECONDS),
        signal.SIGALRM: (signal.ITIMER_REAL, PATIENCE),
    }
    before = {number: signal.signal(number, ring) for number in clocks}
    for clock, seconds in clocks.values():
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for number, (clock, _) in clocks.items():
            signal.setitimer(clock, 0)
            signal.signal(number, before[number])


def judge(number: int, generated: Generated, folder: Path) -> Outcome:
    """Make a call and say what became of it."""
    from wflow import InputError, SolveError

    began, value, message = time.monotonic(), None, ""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with limited(), fresh(folder):
                value = evaluate(generated.code)
            result, fault = "accepted", ""
        except (InputError, SolveError) as error:
            message = str(error)
            result, fault = "refused", _wrong_words(message, generated.words)
        except Hang:
            result, fault = "fault", "hang"
        except TypeError as error:
            signature = generated.may_raise_type_error and "argument" in str(error)
            result, fault = ("refused", "") if signature else ("fault", _place(error))
        except BaseException as error:
            result, fault = "fault", _place(error)
    seconds = time.monotonic() - began
    if result == "refused" and generated.verdict == SAME:
        fault = f"a good call refused: {message:.100}"
    if result == "accepted":
        words = "; ".join(f"{w.category.__name__}: {w.message}" for w in said)
        if generated.verdict == BAD:
            fault = "" if words else "a bad call accepted"
        elif generated.verdict in (SAME, EITHER):
            try:
                fault = _difference(value, right(generated.reference), generated.rtol)
            except Exception as error:
                fault = f"the call without changes fails: {_place(error)}"
            if not fault and words and generated.verdict == SAME:
                fault = f"warned: {words:.80}"
        result = "accepted with a word" if words else result
    return Outcome(number, "fault" if fault else result, fault, seconds)


def _wrong_words(message: str, words: str) -> str:
    """What is wrong with a refusal."""
    if not message.strip():
        return "refused without a word"
    if words and words not in message:
        return f"refused without {words!r}"
    lines = message.splitlines()
    return f"refused in {len(message)} characters" if max(map(len, lines)) > 600 else ""


def _place(error: BaseException) -> str:
    """An exception, and where in the package it was raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/wflow/" in f.filename]
    place = f" at wflow/{frames[-1].filename.rpartition('/wflow/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}: {error!s:.80}"


@functools.cache
def right(reference: str) -> Any:
    """The value of a call without changes."""
    with tempfile.TemporaryDirectory(prefix="doors-") as folder, fresh(Path(folder)):
        return evaluate(reference)


def evaluate(code: str) -> Any:
    """What the code makes of ``value``, as plain arrays."""
    names = dict(namespace())
    exec(code, names)
    return plain(names["value"])


def plain(value: Any) -> Any:
    """A value as nested tuples of arrays and texts."""
    if isinstance(value, Mapping):
        return tuple((str(name), plain(entry)) for name, entry in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    if isinstance(value, (np.ndarray, np.generic, int, float)):
        return np.asarray(value)
    return value if isinstance(value, str) else repr(value)


def _difference(a: Any, b: Any, rtol: float) -> str:
    """In words, how two values differ; empty for equal ones."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        if len(a) != len(b):
            return f"a wrong value: {len(a)} entries for {len(b)}"
        return next((words for words in map(_difference, a, b, [rtol] * len(a)) if words), "")
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape != b.shape:
            return f"a wrong value: shape {a.shape} for {b.shape}"
        if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
            return "" if a.dtype == b.dtype and (a == b).all() else f"a wrong type: {a.dtype} for {b.dtype}"
        scale = float(np.nanmax(np.abs(b), initial=0.0))
        equal = (
            np.allclose(a, b, rtol=0, atol=rtol * scale, equal_nan=True)
            if rtol
            else np.array_equal(a, b, equal_nan=True)
        )
        return "" if equal else f"a wrong value: {a.ravel()[:3]} for {b.ravel()[:3]}"
    return "" if a == b else f"a wrong value: {a!r:.40} for {b!r:.40}"


@contextlib.contextmanager
def ready() -> Iterator[None]:
    """The files that calls start from, and an empty folder."""
    with store(), tempfile.TemporaryDirectory(prefix="doors-") as folder, fresh(Path(folder)):
        yield


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[None]:
    """An empty folder for the files of a call."""
    before, here = props.FOLDER, os.getcwd()
    props.FOLDER = Path(tempfile.mkdtemp(dir=folder))
    os.chdir(props.FOLDER)
    try:
        yield
    finally:
        os.chdir(here)
        shutil.rmtree(props.FOLDER, ignore_errors=True)
        props.FOLDER = before


@contextlib.contextmanager
def store() -> Iterator[None]:
    """The files that calls start from."""
    with tempfile.TemporaryDirectory(prefix="doors-") as folder:
        before, props.STORE = props.STORE, Path(folder)
        try:
            props.fill_store()
            yield
        finally:
            props.STORE = before
