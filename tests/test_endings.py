"""Whatever ends a run, and when: nothing accepted is lost, and the run that goes on is the uninterrupted one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_trajectory import assert_same

import wflow
from wflow.controllers import Fixed
from wflow.run import session
from wflow.trajectory import TrajectoryFile, load_checkpoint
from wflow.trajectory.checkpoint import resume_path

V = wflow.PotentialEnergy(
    lambda x: (x[:, 0] ** 2 - 1) ** 2 / 4 + x[:, 1] ** 2, lambda x: x * [1, 2] * (x**2 - 1) ** [1, 0]
)
CLOUD = wflow.Particles(x=np.random.default_rng(3).standard_normal((2, 5, 2)))
LINE = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
HEAT = LINE + wflow.Entropy(0.5)
HILL = wflow.Grid(x=np.exp(-((np.linspace(-7.75, 7.75, 32) - 0.5) ** 2)), box={"x": ((-8, 8),)})
POINTS = wflow.Particles(x=np.random.default_rng(4).standard_normal((1, 6, 1)))
NOISE = {"energy": HEAT, "rho0": POINTS, "dtau": 0.1, "rng": 5}
DENSITY = {"energy": HEAT, "rho0": HILL}

#: Schemes with carry, noise and adaptive steps, on particles and densities.
RUNS: dict[str, dict[str, Any]] = {
    "dopri5": {"rtol": 1e-4},
    "bs3": {"rtol": 1e-3, "save": wflow.SaveAt(every=0.3)},
    "midpoint": {"rtol": 1e-2},
    "bdf2": {"rtol": 1e-2, "save": wflow.SaveAt(steps=4)},
    "jko": {"dtau": 0.1},
    "discrete-gradient": {"rtol": 1e-2},
    "avf": {"dtau": 0.1},
    "euler": {"controller": Fixed(0.05, monotone=False)},
    "langevin": NOISE,
    "euler-maruyama": NOISE | {"save": wflow.SaveAt(every=0.25)},
    "kernel": DENSITY | {"rtol": 1e-2},
    "finite-volume": DENSITY | {"dtau": 0.1, "save": wflow.SaveAt(tau=[0.55])},
}


def solve(tau_end: float = 1.0, **options: Any) -> wflow.Solution:
    return wflow.solve(**{"energy": V, "rho0": CLOUD, "tau_range": (0, tau_end), "progress": False} | options)


class Counter:
    """An observer that calls a function at its n-th call."""

    def __init__(self, n: int = 0, action: Callable[[], Any] = lambda: None) -> None:
        self.left, self.action = n, action

    def __call__(self, rho: Any) -> float:
        self.left -= 1
        if self.left == 0:
            self.action()
        return 1.0


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        self.now += seconds
        return 1.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is due at every step."""
    monkeypatch.setattr(TrajectoryFile, "CLOCK_SECONDS", 0.0)
    monkeypatch.setattr(TrajectoryFile, "CLOCK_SHARE", 0)


@pytest.fixture
def handlers() -> Iterator[None]:
    """The signals' handlers are put back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in numbers[1:]:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# Checkpoints by the clock


@pytest.mark.parametrize("scheme", RUNS)
def test_a_run_goes_on_from_a_checkpoint_by_the_clock(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies on the disk in the middle of a run is what a kill leaves."""
    whole, watched, killed = (tmp_path / f"{name}.h5" for name in ("whole", "watched", "killed"))

    def snapshot() -> None:
        shutil.copy(watched, killed)
        shutil.copy(resume_path(watched), resume_path(killed))

    complete = solve(scheme=scheme, path=whole, observe={"one": Counter()}, **RUNS[scheme])
    middle = len(complete.tau) // 2 + 1
    assert middle >= 3
    monkeypatch.setattr(TrajectoryFile, "CLOCK_SECONDS", 0.0)
    monkeypatch.setattr(TrajectoryFile, "CLOCK_SHARE", 0)
    solve(scheme=scheme, path=watched, observe={"one": Counter(middle, snapshot)}, **RUNS[scheme])
    assert_same(watched, whole)

    left, state = wflow.load(killed), load_checkpoint(killed)
    assert left.status is wflow.Status.KILLED and state["n_series"] == len(left.tau) == middle - 1
    assert state["tau"] == left.tau[-1] == complete.tau[middle - 2]
    resumed = wflow.resume(killed, observe={"one": Counter()}, energy=RUNS[scheme].get("energy", V))
    assert_same(killed, whole)
    counts = {name: n for name, n in complete.stats.items() if not name.startswith("seconds")}
    assert counts == {name: n for name, n in resumed.stats.items() if not name.startswith("seconds")}


def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of every checkpoint to come, its step and the entries in the file when it was written."""
    steps, write = [], TrajectoryFile.checkpoint

    def checkpoint(self: TrajectoryFile, state: Any) -> None:
        steps.append((state["steps"], self._n_steps))
        write(self, state)

    monkeypatch.setattr(TrajectoryFile, "checkpoint", checkpoint)
    return steps


def test_checkpoints_are_a_minute_apart(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = written(monkeypatch)
    solve(2.0, dtau=0.1, scheme="euler", path=tmp_path / "run.h5", observe={"one": lambda rho: clock.advance(12.0)})
    assert steps == [(n, n + 1) for n in (0, 5, 10, 15, 20, 20)]  # with the last frame, and at the end


def test_checkpoints_that_take_long_are_rare(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, sync = written(monkeypatch), os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (sync(number), clock.advance(1.5)))
    solve(3.0, dtau=0.1, scheme="euler", path=tmp_path / "run.h5", observe={"one": lambda rho: clock.advance(12.0)})
    # Each takes 4.5 s for both files and the folder, so that the next one comes after 225 s, 19 steps.
    assert [n for n, _ in steps] == [0, 19, 30]


def test_a_killed_process_loses_nothing_before_its_checkpoint(tmp_path: Path) -> None:
    """SIGKILL, with the default save=None, which writes no frame but the first."""
    program = """
import os, signal, sys
sys.path.append("tests")
from test_endings import Counter, solve
from wflow.trajectory import TrajectoryFile
TrajectoryFile.CLOCK_SECONDS, TrajectoryFile.CLOCK_SHARE = 0.0, 0
die = Counter(60, lambda: os.kill(os.getpid(), signal.SIGKILL))
solve(rtol=1e-8, scheme="bs3", path=sys.argv[1], observe={"one": die})
"""
    killed, whole = tmp_path / "killed.h5", tmp_path / "whole.h5"
    root = Path(__file__).parent.parent
    process = subprocess.run([sys.executable, "-c", program, str(killed)], cwd=root, check=False)
    assert process.returncode == -signal.SIGKILL
    assert len(wflow.load(killed).tau) == 59 and load_checkpoint(killed)["steps"] == 58
    wflow.resume(killed, energy=V, observe={"one": Counter()})
    solve(rtol=1e-8, scheme="bs3", path=whole, observe={"one": Counter()})
    assert_same(killed, whole)


# A limit of time


@pytest.mark.parametrize("scheme", RUNS)
def test_a_run_in_parts_is_the_run(scheme: str, tmp_path: Path, clock: Clock) -> None:
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    observe, options = {"one": lambda rho: clock.advance(10.0)}, RUNS[scheme]
    complete = solve(scheme=scheme, path=whole, observe=observe, **options)
    part, count = solve(scheme=scheme, path=parts, observe=observe, max_seconds=25.0, **options), 1
    assert part.status is wflow.Status.INTERRUPTED and len(part.tau) == 3  # the initial state takes 10 s, too
    while part.status is wflow.Status.INTERRUPTED:
        assert part.message == f"max_seconds = 25 were over at tau = {part.tau[-1]:.9g}"
        assert part.frame_tau[-1] >= part.tau[-1] and part.stats["steps"] == len(part.tau) - 1
        part = wflow.resume(parts, energy=options.get("energy", V), observe=observe, max_seconds=25.0)
        count += 1
    assert part.status is wflow.Status.FINISHED and count == -(-len(complete.tau) // 3)
    assert_same(parts, whole)


def test_every_part_makes_a_step(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "run.h5"
    observe = {"one": lambda rho: clock.advance(10.0)}
    assert len(solve(0.4, dtau=0.1, path=path, observe=observe, max_seconds=1e-3).tau) == 2
    for entries in (3, 4):
        assert len(wflow.resume(path, energy=V, observe=observe, max_seconds=1e-3).tau) == entries
    done = wflow.resume(path, energy=V, observe=observe, max_seconds=1e-3)
    assert done.status is wflow.Status.FINISHED and len(done.tau) == 5  # the end comes before the limit


def test_a_limit_without_a_file(clock: Clock) -> None:
    observe = {"one": lambda rho: clock.advance(10.0)}
    part = solve(dtau=0.25, observe=observe, max_seconds=25.0)
    assert part.status is wflow.Status.INTERRUPTED and not part.status.is_failure and part.path is None
    assert part.tau.tolist() == [0, 0.25, 0.5] and part.frame_tau.tolist() == [0, 0.5]
    assert (part.measure(-1).x == solve(0.5, dtau=0.25).measure(-1).x).all()
    assert solve(dtau=0.25, observe=observe, max_seconds=1e9).status is wflow.Status.FINISHED


# Signals and exceptions


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_signals_end_a_run_with_a_file(name: str, tmp_path: Path, handlers: None) -> None:
    broken, whole, number = tmp_path / "broken.h5", tmp_path / "whole.h5", getattr(signal, name)
    before = signal.getsignal(number)
    observe = {"one": Counter(4, lambda: signal.raise_signal(number))}
    with pytest.raises(wflow.Interrupted, match=f"interrupted by {name} at tau = .*broken.h5: wflow resume") as caught:
        solve(dtau=0.1, path=broken, observe=observe)
    solution = caught.value.solution
    assert signal.getsignal(number) is before and caught.value.exit_code == 75
    assert solution is not None and solution.status is wflow.Status.INTERRUPTED
    assert len(solution.tau) == 4 and solution.frame_tau.tolist() == [0, solution.tau[-1]]
    wflow.resume(broken, energy=V, observe=observe)
    solve(dtau=0.1, path=whole, observe=observe)
    assert_same(broken, whole)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1"])
def test_signals_that_have_another_use_keep_it(name: str, tmp_path: Path, handlers: None) -> None:
    """As under nohup, and with a handler of the user."""
    number, seen = getattr(signal, name), []
    for handler in (signal.SIG_IGN, lambda number, frame: seen.append(number)):
        signal.signal(number, handler)
        observe = {"one": Counter(4, lambda: signal.raise_signal(number))}
        run = solve(dtau=0.1, path=tmp_path / "run.h5", observe=observe, overwrite=True)
        assert run.status is wflow.Status.FINISHED
    assert seen == [number]


def test_a_signal_during_the_last_write_is_not_lost(
    tmp_path: Path, handlers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, finish = tmp_path / "run.h5", TrajectoryFile.finish

    def interrupted(self: TrajectoryFile, *what: Any) -> wflow.Solution:
        signal.raise_signal(signal.SIGINT)
        return finish(self, *what)

    monkeypatch.setattr(TrajectoryFile, "finish", interrupted)
    with pytest.raises(
        wflow.Interrupted, match=r"interrupted by SIGINT when the run in .* had ended: The run"
    ) as caught:
        solve(dtau=0.1, path=path)
    assert caught.value.solution is not None and caught.value.solution.status is wflow.Status.FINISHED
    assert wflow.load(path).status is wflow.Status.FINISHED


def test_interrupted_without_a_file(handlers: None) -> None:
    """What a run has is an attribute of the exception, which is a KeyboardInterrupt as before."""
    with pytest.raises(KeyboardInterrupt) as caught:
        solve(dtau=0.1, observe={"one": Counter(4, lambda: signal.raise_signal(signal.SIGINT))})
    assert isinstance(caught.value, wflow.Interrupted) and caught.value.exit_code == 130
    part, complete = caught.value.solution, solve(dtau=0.1)
    assert part is not None and part.status is wflow.Status.INTERRUPTED and part.message.startswith("interrupted at")
    assert part.tau.tolist() == complete.tau[:3].tolist() and part.frame_tau.tolist() == [0, part.tau[-1]]
    assert part.stats["steps"] == 2 and part.objective is V
    assert V.value(part.measure(-1)) == part.energy[-1]


@pytest.mark.parametrize("scheme", ["bs3", "langevin"])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_exception_of_an_observer_loses_nothing(error: type[BaseException], scheme: str, tmp_path: Path) -> None:
    def fail() -> None:
        raise error

    broken, whole, options = tmp_path / "broken.h5", tmp_path / "whole.h5", RUNS[scheme]
    with pytest.raises(error):
        solve(scheme=scheme, path=broken, observe={"one": Counter(7, fail)}, **options)
    left = wflow.load(broken)
    assert len(left.tau) == 6 and load_checkpoint(broken)["n_series"] == 6
    expected = wflow.Status.INTERRUPTED if error is KeyboardInterrupt else wflow.Status.KILLED
    assert left.status is expected
    wflow.resume(broken, energy=options.get("energy", V), observe={"one": Counter()})
    solve(scheme=scheme, path=whole, observe={"one": Counter()}, **options)
    assert_same(broken, whole)


def test_a_frame_that_cannot_be_written_is_not_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint stays before it."""
    broken, whole, save = tmp_path / "broken.h5", tmp_path / "whole.h5", wflow.SaveAt(every=0.25)
    write = TrajectoryFile._write_frame

    def fail(self: TrajectoryFile, tau: float, rho: wflow.Particles) -> None:
        if tau == 0.5:
            raise MemoryError
        write(self, tau, rho)

    with monkeypatch.context() as patch:
        patch.setattr(TrajectoryFile, "_write_frame", fail)
        with pytest.raises(MemoryError):
            solve(dtau=0.1, path=broken, save=save)
    assert wflow.load(broken).frame_tau.tolist() == [0, 0.25]
    wflow.resume(broken, energy=V)
    solve(dtau=0.1, path=whole, save=save)
    assert_same(broken, whole)


def test_an_exception_of_the_progress_bar_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of a terminal which is gone."""
    broken, whole = tmp_path / "broken.h5", tmp_path / "whole.h5"

    def update(self: session.Bar, run: Any) -> None:
        if run.stats["steps"] == 5:
            raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr(session.Bar, "update", update)
        with pytest.raises(BrokenPipeError):
            solve(dtau=0.1, path=broken)
    assert len(wflow.load(broken).tau) == 6
    wflow.resume(broken, energy=V)
    solve(dtau=0.1, path=whole)
    assert_same(broken, whole)
