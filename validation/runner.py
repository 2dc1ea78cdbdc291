"""Compute the jobs of studies, keep every answer, and go on where an earlier call was stopped.

Answers are files in a folder, one a job, written whole or not at all. A file says which function, arguments and code it
is the answer of: one of other code is computed again, unless it is asked for.
"""

from __future__ import annotations

__all__ = ["Failure", "Interrupted", "answer_all", "code_hash", "local_executor"]

import ast
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from tqdm import tqdm

from validation.study import Job

ROOT = Path(__file__).resolve().parents[1]

#: A process computes with one thread: the others are for other jobs.
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Interrupted(Exception):
    """A signal asked to stop; what was answered is kept."""


@dataclass(frozen=True)
class Failure:
    """The traceback of a job that raised."""

    text: str


def code_hash(module: str) -> str:
    """A digest of the code on which the answers of a study depend: the package, its module and what that imports."""
    files = {*(ROOT / "wflow").rglob("*.py"), *_imported(Path(sys.modules[module].__file__ or ""))}
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _imported(path: Path) -> set[Path]:
    """A file and all files of the validation that it imports, and those import."""
    found, left = set(), {path}
    while left:
        path = left.pop()
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "validation":
                parts = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
                files = {ROOT.joinpath(*part.split(".")).with_suffix(".py") for part in parts}
                left |= {file for file in files if file.exists() and file.name != "drawing.py"} - found
    return found


def local_executor(workers: int) -> ProcessPoolExecutor:
    """Processes of one thread each."""
    # Ctrl-C reaches the whole group of processes; it is for the one that keeps the answers.
    ignore_interrupts = signal.SIGINT, signal.SIG_IGN
    with patch.dict(os.environ, ONE_THREAD):  # the processes inherit it when they start, on the first submit
        executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), signal.signal, ignore_interrupts)
        for started in [executor.submit(time.sleep, 0.2) for _ in range(workers)]:
            started.result()
    return executor


def answer_all(
    jobs: Sequence[Job], folder: Path, executor: Executor, reuse: bool = False, progress: bool = True
) -> list[Mapping[str, Any] | Failure]:
    """The answers of all jobs, from the folder or by the executor.

    Parameters
    ----------
    folder
        Where answers are kept; made if it does not exist.
    executor
        Any executor of :mod:`concurrent.futures`. Its workers need the same checkout and should have one thread each.
    reuse
        Take answers of other code too.
    progress
        Show what is done and about how long the rest takes.

    Raises
    ------
    Interrupted
        On SIGINT or SIGTERM. Answers are kept; to stop the jobs is left to the owner of the executor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    codes = {module: code_hash(module) for module in {job.function.__module__ for job in jobs}}
    once = {_path(folder, job): job for job in jobs}  # studies may ask for the same
    answers: dict[Path, Mapping[str, Any] | Failure] = {}
    for path, job in once.items():
        if kept := _read(path, None if reuse else codes[job.function.__module__]):
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
            job, answer = once[path], future.result()
            answers[path] = answer
            if not isinstance(answer, Failure):
                _write(path, job, answer, codes[job.function.__module__])
            bar.set_description_str(f"{len(answers)} of {len(once)} jobs", refresh=False)
            bar.update(job.cost)
    return [answers[_path(folder, job)] for job in jobs]


def _call(job: Job) -> Mapping[str, Any] | Failure:
    began = time.perf_counter()
    try:
        answer = dict(job.function(**job.arguments))
    except Exception:
        return Failure(traceback.format_exc())
    return answer | {"seconds": time.perf_counter() - began}


def _name(job: Job) -> str:
    return f"{job.function.__module__}.{job.function.__qualname__}"


def _path(folder: Path, job: Job) -> Path:
    text = json.dumps([_name(job), dict(job.arguments)], sort_keys=True)
    return folder / f"{_name(job).split('.', 1)[1]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"


def _write(path: Path, job: Job, answer: Mapping[str, Any], code: str) -> None:
    about = json.dumps({"function": _name(job), "arguments": dict(job.arguments), "code": code})
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, __about__=about, **answer)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(path: Path, code: str | None) -> Mapping[str, Any] | None:
    """The answer in a file, None if there is none or one of other code."""
    if not path.exists():
        return None
    with np.load(path) as file:
        about = json.loads(str(file["__about__"]))
        if code is not None and about["code"] != code:
            return None
        return {name: file[name] if file[name].ndim else file[name].item() for name in file.files if name[0] != "_"}


@contextmanager
def _stop_signals() -> Any:
    def stop(number: int, frame: Any) -> None:
        raise Interrupted(signal.Signals(number).name)

    kept = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
