"""Many independent computations, each of whose answers is kept: a call that was stopped is made again and goes on.

A :class:`Job` calls a function of a module with JSON arguments; its answer is numbers, text and arrays by name.
:func:`answer_all` computes jobs with any executor of :mod:`concurrent.futures` and keeps every answer in a folder, as a
file that is written whole or not at all. An answer belongs to the function, the arguments and the code: the caller says
by a stamp which code that is, and an answer with another stamp is computed again.

>>> import tempfile
>>> from concurrent.futures import ThreadPoolExecutor
>>> def square(x):
...     return {"y": x * x}
>>> jobs = [Job(square, {"x": x}) for x in (1, 2, 3)]
>>> with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as executor:
...     answers = answer_all(jobs, Path(folder), executor, progress=False)
>>> [answer["y"] for answer in answers]
[1, 4, 9]
"""

from __future__ import annotations

__all__ = ["Answer", "Failure", "Job", "answer_all", "local_executor"]

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from tqdm import tqdm

from wflow.errors import InputError

Answer = Mapping[str, Any]

#: A process computes with one thread: the others are for other jobs.
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Job:
    """``function(**arguments)``, which returns numbers, text and arrays by name.

    Attributes
    ----------
    function
        A function of a module, so that any process can call it.
    arguments
        JSON: numbers, text, True, False, None, and lists and dicts of them.
    cost
        About its seconds: jobs of high cost start first.

    Raises
    ------
    InputError
        If the function has no name in its module, or the arguments are not JSON.

    Examples
    --------
    >>> Job(divmod, {"x": 7, "y": 2}).name
    'builtins.divmod'
    """

    function: Callable[..., Answer]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0

    def __post_init__(self) -> None:
        if "<" in self.name:
            raise InputError(f"{self.name} cannot be a job: define the function at the top of a module")
        try:
            self.key  # noqa: B018
        except TypeError as error:
            raise InputError(f"arguments of a job must be JSON, those of {self.name} are not: {error}") from None

    @property
    def name(self) -> str:
        """The function, with its module."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def key(self) -> str:
        """The function and its arguments as text: jobs with the same key are the same."""
        return json.dumps([self.name, dict(self.arguments)], sort_keys=True)


@dataclass(frozen=True)
class Failure:
    """The traceback of a job that raised, or whose process died."""

    text: str


def local_executor(workers: int) -> ProcessPoolExecutor:
    """Processes of one thread each, which leave Ctrl-C to the process that started them."""
    ignore_interrupts = signal.SIGINT, signal.SIG_IGN
    with patch.dict(os.environ, ONE_THREAD):  # the processes inherit it when they start, on the first submit
        executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), signal.signal, ignore_interrupts)
        for started in [executor.submit(time.sleep, 0.2) for _ in range(workers)]:
            started.result()
    return executor


def answer_all(
    jobs: Sequence[Job],
    folder: Path,
    executor: Executor,
    *,
    code: Callable[[Callable[..., Answer]], str] = lambda function: "",
    reuse: bool = False,
    progress: bool = True,
) -> list[Answer | Failure]:
    """The answers of all jobs, from the folder or by the executor.

    Parameters
    ----------
    jobs
        What to compute; a job that occurs twice is computed once.
    folder
        Where answers are kept; made if it does not exist. A job that fails leaves nothing there.
    executor
        Any executor of :mod:`concurrent.futures`. Its workers need the same code and should have one thread each.
    code
        A digest of the code that the answers of a function depend on. Without it answers of any code are taken.
    reuse
        Take answers of other code too.
    progress
        Show what is done and about how long the rest takes.

    Returns
    -------
    list
        An answer for every job, with its ``seconds``, or a :class:`Failure`.

    Raises
    ------
    KeyboardInterrupt
        On SIGINT or SIGTERM, with the name of the signal. Answers are kept; to stop the jobs that run is left to the
        owner of the executor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    once = {_path(folder, job): job for job in jobs}
    by_function = {function: code(function) for function in {job.function for job in jobs}}
    stamps = {path: by_function[job.function] for path, job in once.items()}
    answers: dict[Path, Answer | Failure] = {}
    for path in once:
        if kept := _read(path, None if reuse else stamps[path]):
            answers[path] = kept
    left = sorted((path for path in once if path not in answers), key=lambda path: -once[path].cost)
    waiting: dict[Future[Any], Path] = {}
    with (
        _stop_signals(),
        tqdm(
            total=sum(once[path].cost for path in left),
            smoothing=0,
            mininterval=0.5 if sys.stderr.isatty() else 30,
            disable=not progress,
            bar_format="{desc} {percentage:3.0f} % |{bar:30}| {elapsed} so far, {remaining} to go",
        ) as bar,
    ):
        for path in left:  # the longest first, so that all workers end together
            waiting[executor.submit(_call, once[path])] = path
        for future in as_completed(waiting):
            path = waiting[future]
            answers[path] = answer = _result(future)
            if not isinstance(answer, Failure):
                _write(path, once[path], answer, stamps[path])
            bar.set_description_str(f"{len(answers)} of {len(once)} jobs", refresh=False)
            bar.update(once[path].cost)
    return [answers[_path(folder, job)] for job in jobs]


def _call(job: Job) -> Answer | Failure:
    began = time.perf_counter()
    try:
        answer = {name: _plain(name, value) for name, value in job.function(**job.arguments).items()}
    except Exception:
        return Failure(traceback.format_exc())
    return answer | {"seconds": time.perf_counter() - began}


def _plain(name: str, value: Any) -> Any:
    """A value as it is read from a file: an array, or a number or a text of Python."""
    array = np.asarray(value)
    if array.dtype == object or name.startswith("_"):
        raise TypeError(
            f"{name!r} of an answer is {value!r}: neither a number nor text nor an array, or a private name"
        )
    return array if array.ndim else array.item()


def _result(future: Future[Any]) -> Answer | Failure:
    try:
        answer: Answer | Failure = future.result()
    except Exception:  # of the executor: its process died, or arguments or answer did not travel
        return Failure(traceback.format_exc())
    return answer


def _path(folder: Path, job: Job) -> Path:
    return folder / f"{job.name}-{hashlib.sha256(job.key.encode()).hexdigest()[:16]}.npz"


def _write(path: Path, job: Job, answer: Answer, stamp: str) -> None:
    about = json.dumps({"function": job.name, "arguments": dict(job.arguments), "code": stamp})
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, __about__=about, **answer)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(path: Path, stamp: str | None) -> Answer | None:
    """The answer in a file; None if there is none, one of other code, or one that a crash of the system has damaged."""
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            if stamp is not None and json.loads(str(file["__about__"]))["code"] != stamp:
                return None
            return {name: file[name] if file[name].ndim else file[name].item() for name in file.files if name[0] != "_"}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into a KeyboardInterrupt that names them; signals reach the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
