"""Studies: their jobs are kept, resumed and stopped as they should; a failed claim and a failed job are told."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from validation import __main__ as command
from validation import atoms, page, report, runner
from validation.statistics import bootstrap, power_law
from validation.studies import STUDIES
from validation.study import Answers, Claim, Job, Outcome, Table, at_most, within

calls: list[float] = []


def square(x: float, note: str = "") -> Mapping[str, Any]:
    calls.append(x)
    if x < 0:
        raise ValueError("negative")
    return {"y": x * x, "series": np.arange(3) * x, "note": note}


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    calls.clear()
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_answers_are_kept(tmp_path: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job(square, {"x": x, "note": "a"}) for x in (1.0, 2.0, 2.0)]
    first = runner.answer_all(jobs, tmp_path, executor, progress=False)
    assert sorted(calls) == [1.0, 2.0]  # the same job once
    assert [a["y"] for a in first] == [1.0, 4.0, 4.0]  # type: ignore[index]
    more = runner.answer_all([*jobs, Job(square, {"x": 3.0})], tmp_path, executor, progress=False)
    assert sorted(calls) == [1.0, 2.0, 3.0]
    for a, b in zip(first, more):
        assert not isinstance(a, runner.Failure) and not isinstance(b, runner.Failure)
        assert a["y"] == b["y"] and a["note"] == b["note"] == "a" and np.array_equal(a["series"], b["series"])
    monkeypatch.setattr(runner, "code_hash", lambda module: "other")
    runner.answer_all(jobs, tmp_path, executor, reuse=True, progress=False)
    assert len(calls) == 3
    runner.answer_all(jobs, tmp_path, executor, progress=False)
    assert len(calls) == 5  # answers of other code are not taken


def test_a_job_that_fails_is_not_kept(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    bad, good = runner.answer_all([Job(square, {"x": -1}), Job(square, {"x": 1})], tmp_path, executor, progress=False)
    assert isinstance(bad, runner.Failure) and "ValueError: negative" in bad.text
    assert good["y"] == 1  # type: ignore[index]
    assert len(list(tmp_path.glob("*.npz"))) == 1
    section = report.section("square", sys.modules[__name__], [Job(square, {"x": -1})], [bad], False)
    assert not section.passed and "ValueError: negative" in str(section.outcome)


def test_code_hash_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the package, of the study or of what it imports changes the hash; that of another study does not."""
    texts = {
        "wflow/a.py": "",
        "validation/shared.py": "",
        "validation/indirect.py": "from validation import shared",
        "validation/one.py": "from validation.indirect import x",
        "validation/other.py": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setitem(sys.modules, "one", SimpleNamespace(__file__=str(tmp_path / "validation/one.py")))  # type: ignore[arg-type]
    for name in texts:
        before = runner.code_hash("one")
        assert runner.code_hash("one") == before
        (tmp_path / name).write_text(texts[name] + "\n")
        assert (runner.code_hash("one") == before) == (name == "validation/other.py"), name


def test_interrupt_and_resume(tmp_path: Path) -> None:
    """SIGTERM amid a study: exit code 75, answers kept and complete; the same command computes the others only."""
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\nfrom validation import __main__ as command, report as module\n"
        "from validation.study import Job, Outcome, at_most\nimport slow\n"
        "def wait(i):\n    time.sleep(0.4)\n    return {'i': i}\n"
        "def jobs(full):\n    return [Job(slow.wait, {'i': i}) for i in range(6)]\n"
        "def report(answers, full):\n    return Outcome([at_most('six', len(answers.pairs), 6)])\n"
        "if __name__ == '__main__':\n"
        "    command.STUDIES.clear(); command.STUDIES['slow'] = 'slow'\n"
        "    module.importlib.import_module = lambda name: slow\n"
        "    sys.exit(command.main(['-o', sys.argv[1], '--workers', '1']))\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(runner.ROOT)])
    run: Any = {"env": os.environ | {"PYTHONPATH": paths}, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "out")], text=True, **run)
    answers = tmp_path / "out" / "answers"
    deadline = time.monotonic() + 60
    while len(list(answers.glob("*.npz")) if answers.exists() else []) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75 and "SIGTERM: stopped" in err and "Traceback" not in err, out + err
    kept = {path: path.stat().st_mtime_ns for path in answers.glob("*.npz")}
    assert 2 <= len(kept) < 6 and not list(answers.glob("*.tmp"))
    again = subprocess.run([sys.executable, str(script), str(tmp_path / "out")], text=True, timeout=60, **run)
    assert again.returncode == 0 and "all claims passed" in again.stdout, again.stdout + again.stderr
    assert len(list(answers.glob("*.npz"))) == 6
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert "6 of 6 jobs" in again.stderr  # progress


def test_processes_have_one_thread() -> None:
    before = dict(os.environ)
    executor = runner.local_executor(1)
    try:
        assert executor.submit(os.getenv, "NUMBA_NUM_THREADS").result() == "1"
    finally:
        executor.shutdown()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("arguments", "words"), [(["limits"], "no study 'limits'; there are"), (["--workers", "0"], "at least 1")]
)
def test_bad_arguments(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_page(tmp_path: Path) -> None:
    claims = [within("a < b", 1.0, 2.0, 0.5, interval=(0.9, 1.1)), at_most("small", 0.1, 1.0)]
    good = page.Section("good", "Good", "Text.", Outcome(claims[1:], ["A finding."], [Table("t", ["x"], [[0.5]])]), 1.0)
    bad = page.Section("bad", "Bad", "", Outcome(claims), 1.0)
    page.write([good, bad], tmp_path / "report.html", {"command": "x"})
    text = (tmp_path / "report.html").read_text()
    assert good.passed and not bad.passed
    assert "a &lt; b" in text and "0.9 to 1.1" in text and "A finding." in text
    assert len(re.findall(">FAIL<", text)) == 2 and len(re.findall(">pass<", text)) == 3  # claims, and the summary


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("full", [False, True])
def test_jobs_are_plain(name: str, full: bool) -> None:
    """Every job is a function of a module with JSON arguments, so that any process can do it, and has a docstring."""
    module = importlib.import_module(f"validation.studies.{STUDIES[name]}")
    assert module.__doc__ and module.jobs(full)
    for job in module.jobs(full):
        assert json.dumps(job.arguments)
        assert getattr(sys.modules[job.function.__module__], job.function.__name__) is job.function and job.cost > 0


def test_answers() -> None:
    answers = Answers([(Job(square, {"x": 1.0}), {"y": 1}), (Job(square, {"x": 2.0}), {"y": 4})])
    assert [a["y"] for _, a in answers.of(square)] == [1, 4] and answers.one(square, x=2.0)["y"] == 4


def test_intervals_cover() -> None:
    """95 % intervals of a fitted exponent and of a bootstrapped mean contain the true one about as often."""
    rng, x = np.random.default_rng(0), np.geomspace(1, 64, 12)
    exponents = means = 0
    for seed in range(200):
        low, high = power_law(x, 3 * x**-0.5 * np.exp(0.2 * rng.standard_normal(12))).interval
        exponents += low <= -0.5 <= high
        low, high = bootstrap(np.mean, rng.standard_normal(40), seed, 200)
        means += low <= 0 <= high
    assert 180 <= exponents <= 198 and 176 <= means <= 198


def test_claims() -> None:
    assert within("", 1.09, 1.0, 0.1).passed and not within("", 1.11, 1.0, 0.1).passed
    assert within("", 22.0, 20.0, 0.1, relative=True).passed and not within("", 1.0, -1.0, 0.5, relative=True).passed
    assert not within("", np.nan, 1.0, 0.1).passed and not at_most("", np.nan, 1.0).passed
    assert isinstance(within("", 1, 1, 0), Claim)


@pytest.mark.slow
def test_first_order_constants_of_transformers() -> None:
    """The depth constant against two depths extrapolated, the width constant against 400 draws, after training."""
    constant = atoms.constants(8)
    errors = {L: atoms.redrawn(1, L, 8, 0)["all_atoms"] - constant["prediction"] for L in (32, 64)}
    extrapolated = 128 * errors[64] - 32 * errors[32]
    assert np.abs(extrapolated - constant["depth"]).max() < 0.01 * np.abs(constant["depth"]).max()
    drawn = atoms.redrawn(16, 16, 8, 400)
    variance = 256 * np.mean((drawn["predictions"] - drawn["all_atoms"]) ** 2)
    assert abs(variance / np.mean(constant["width"]) - 1) < 0.25


def test_places_of_atoms() -> None:
    for kind in ("iid", "shared", "net"):
        i, j = atoms.places(8, 4, kind, 0)
        assert i.shape == j.shape == ((1, 8) if kind == "shared" else (4, 8))
        assert i.min() >= 0 and i.max() < atoms.K and not np.array_equal(i, j)
    net = np.sort(atoms.places(8, 4, "net", 0)[0].ravel())
    assert np.abs(np.bincount(net, minlength=atoms.K) - 32 / atoms.K).max() < 1.5  # iid: about 1.5 in the mean
