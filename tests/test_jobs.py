"""Jobs: answers are kept, those of other code are not taken, failures are told, processes have one thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
from wflow.jobs import Answer, Failure, Job, answer_all, local_executor

calls: list[float] = []


def square(x: float, note: str = "") -> Answer:
    calls.append(x)
    if x < 0:
        raise ValueError("negative")
    return {"y": np.float32(x * x), "series": np.arange(3) * x, "note": note}


def listed(x: float) -> Any:
    return {"y": {"x": x}}


def killed(x: int) -> Any:
    os._exit(x)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    calls.clear()
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_answers_are_kept(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    jobs = [Job(square, {"x": x, "note": "a"}) for x in (1.0, 2.0, 2.0)]
    first = answer_all(jobs, tmp_path, executor, progress=False)
    assert sorted(calls) == [1.0, 2.0]  # the same job once
    assert [a["y"] for a in first] == [1.0, 4.0, 4.0]  # type: ignore[index]
    more = answer_all([*jobs, Job(square, {"x": 3.0})], tmp_path, executor, progress=False)
    assert sorted(calls) == [1.0, 2.0, 3.0]
    for a, b in zip(first, more):
        assert not isinstance(a, Failure) and not isinstance(b, Failure)
        assert a["y"] == b["y"] and type(a["y"]) is type(b["y"]) is float and a["note"] == b["note"] == "a"
        assert np.array_equal(a["series"], b["series"]) and a["seconds"] == b["seconds"]


def test_an_answer_belongs_to_its_code(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    jobs = [Job(square, {"x": x}) for x in (1.0, 2.0)]
    for code, reuse, count in (("a", False, 2), ("a", False, 2), ("b", True, 2), ("b", False, 4), ("b", False, 4)):
        answer_all(jobs, tmp_path, executor, code=lambda function, code=code: code, reuse=reuse, progress=False)
        assert len(calls) == count


def test_a_damaged_answer_is_computed_again(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    jobs = [Job(square, {"x": 2.0})]
    answer_all(jobs, tmp_path, executor, progress=False)
    (path,) = tmp_path.iterdir()
    for content in (b"", path.read_bytes()[:-30], b"no archive"):
        path.write_bytes(content)
        (again,) = answer_all(jobs, tmp_path, executor, progress=False)
        assert again["y"] == 4.0  # type: ignore[index]
    assert len(calls) == 4


def test_a_job_that_fails_is_not_kept(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    jobs = [Job(square, {"x": -1}), Job(square, {"x": 1}), Job(listed, {"x": 1})]
    bad, good, other = answer_all(jobs, tmp_path, executor, progress=False)
    assert isinstance(bad, Failure) and "ValueError: negative" in bad.text
    assert isinstance(other, Failure) and "'y' of an answer is {'x': 1}" in other.text
    assert good["y"] == 1  # type: ignore[index]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_process_that_dies_is_a_failure(tmp_path: Path) -> None:
    executor = local_executor(1)
    try:
        (answer,) = answer_all([Job(killed, {"x": 3})], tmp_path, executor, progress=False)
    finally:
        executor.shutdown()
    assert isinstance(answer, Failure) and "BrokenProcessPool" in answer.text


def test_processes_have_one_thread() -> None:
    before = dict(os.environ)
    executor = local_executor(1)
    try:
        assert executor.submit(os.getenv, "NUMBA_NUM_THREADS").result() == "1"
    finally:
        executor.shutdown()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [(lambda: {}, {}, "at the top of a module"), (square, {"x": np.arange(2)}, "must be JSON, those of .*square")],
)
def test_what_cannot_be_a_job(function: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(wflow.InputError, match=words):
        Job(function, arguments)
