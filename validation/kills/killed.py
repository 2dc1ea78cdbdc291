"""SIGKILL at random times and at random calls of the system, and what is left."""

from __future__ import annotations

__all__ = ["Aim", "Trap", "kills", "work_of"]

import builtins
import contextlib
import io
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import wflow
from validation.kills.runs import RUNS, SECONDS, Child, Outcome, Tiny, contents, prefix_of, scaled
from wflow.run.loop import Run
from wflow.trajectory import TrajectoryFile, checkpoint, load_checkpoint, storage, writer

#: A write that SIGKILL cuts short ends with a page of the memory.
PAGE = 4096
#: The parts of a life of a process: until its loop begins, until that ends, and the end.
PARTS = ("start", "loop", "end")
Calls = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Aim:
    """The call at which a process kills itself: the ``number``-th of its kind in a part of its life.

    ``way`` is "before" or "after" the call, or "amid" it, for one that writes.
    """

    part: str
    kind: str
    number: int
    way: str


class Trap:
    """Counts the calls of this process that change files, and kills it at one of them."""

    def __init__(self, aim: Aim | None, seed: int = 0) -> None:
        self.aim, self.part, self.calls, self.draw = aim, "start", Counter[tuple[str, str]](), random.Random(seed)

    def meet(self, kind: str, call: Callable[[], Any], some: Callable[[], Any] = lambda: None) -> Any:
        """Make a call, or meet the end with nothing, some or all of it done."""
        aim, self.calls[self.part, kind] = self.aim, self.calls[self.part, kind] + 1
        if aim is None or (aim.part, aim.kind, aim.number) != (self.part, kind, self.calls[self.part, kind]):
            return call()
        {"before": lambda: None, "after": call, "amid": some}[aim.way]()
        os.kill(os.getpid(), signal.SIGKILL)

    def cut(self, offset: int, length: int) -> int:
        """How much of a write at an offset is done."""
        pages = range(PAGE - offset % PAGE, length, PAGE)
        return self.draw.choice(pages) if pages else 0

    @contextlib.contextmanager
    def set(self) -> Iterator[None]:
        """Catch the calls of this process."""
        pwrite, loop, finish = os.pwrite, Run.loop, TrajectoryFile.finish

        def write(descriptor: int, data: Any, offset: int) -> Any:
            some = memoryview(data)[: self.cut(offset, len(data))]
            return self.meet(
                "pwrite", lambda: pwrite(descriptor, data, offset), lambda: pwrite(descriptor, some, offset)
            )

        def caught(name: str) -> Any:
            call = getattr(os, name)
            return mock.patch.object(os, name, lambda *a, **k: self.meet(name, lambda: call(*a, **k)))

        trap = self

        class Stream(io.FileIO):
            def write(self, data: Any) -> Any:
                some = memoryview(data)[: trap.cut(self.tell(), len(data))]
                return trap.meet("write", lambda: io.FileIO.write(self, data), lambda: io.FileIO.write(self, some))

        def opened(path: Any, mode: str = "r") -> Any:
            if mode not in ("wb", "xb"):
                return builtins.open(path, mode)
            return trap.meet("open", lambda: io.BufferedWriter(Stream(path, mode)))

        def looped(run: Run, *what: Any) -> Any:
            self.part = "loop"
            return loop(run, *what)

        def finished(file: TrajectoryFile, *what: Any) -> Any:
            self.part = "end"
            return finish(file, *what)

        with contextlib.ExitStack() as stack:
            for name in ("replace", "fsync", "ftruncate", "truncate", "unlink", "chmod"):
                stack.enter_context(caught(name))
            for room in (storage, checkpoint, writer):
                stack.enter_context(mock.patch.object(room, "open", opened, create=True))
            stack.enter_context(mock.patch.object(os, "pwrite", write))
            stack.enter_context(mock.patch.object(Run, "loop", looped))
            stack.enter_context(mock.patch.object(TrajectoryFile, "finish", finished))
            yield


@contextlib.contextmanager
def noted(note: Callable[..., None]) -> Iterator[None]:
    """Note every frame and every checkpoint that is complete, and when a step is."""
    begin, add = TrajectoryFile.__init__, TrajectoryFile.add_frame
    settle, save = TrajectoryFile.settle, TrajectoryFile.checkpoint

    def begun(self: TrajectoryFile, *what: Any) -> None:
        begin(self, *what)
        note(saved=time.monotonic())  # a resume begins with a checkpoint

    def add_frame(self: TrajectoryFile, *what: Any) -> None:
        add(self, *what)
        if self.path.suffix == ".h5":  # and no draft, which has no place yet
            note(frames=self._n_frames)

    def settled(self: TrajectoryFile, state: Any) -> None:
        now = time.monotonic()
        settle(self, state)
        note(settled=now)

    def saved(self: TrajectoryFile, state: Any) -> None:
        save(self, state)
        note(steps=state["steps"], saved=time.monotonic())

    with mock.patch.multiple(TrajectoryFile, __init__=begun, add_frame=add_frame, settle=settled, checkpoint=saved):
        yield


def work_of(run: Callable[[], Any], trap: Trap) -> Callable[[Callable[..., None]], None]:
    """The work of a child that runs with a trap."""

    def work(note: Callable[..., None]) -> None:
        with noted(note), trap.set():
            run()
        note(calls=[[*key, n] for key, n in trap.calls.items()])

    return work


@dataclass
class Story:
    """A path, what is in its file, and what must be in it."""

    name: str
    path: Path
    tiny: Tiny
    whole: wflow.Solution
    result: dict[str, np.ndarray]
    old: wflow.Solution | None  # what a new run replaces
    steps: int = 0
    frames: int = 0

    def begin(self) -> wflow.Solution:
        """The new run."""
        return self.tiny.solve(self.path, overwrite=self.old is not None)

    @property
    def is_new(self) -> bool:
        """Whether the new run has not yet taken its place."""
        return not self.path.exists() or (self.old is not None and _run(wflow.load(self.path)) == _run(self.old))

    def check(self, notes: list[dict[str, Any]]) -> str:
        """In words, what is wrong after a kill; empty for nothing."""
        said: dict[str, Any] = {}
        for line in notes:
            said |= line
        if "fault" in said or "refused" in said:
            return str(said.get("trace", said.get("refused", said.get("fault"))))
        if self.is_new:
            if self.old is not None and (words := prefix_of(wflow.load(self.path), self.old)):
                return f"of the old run, {words}"
            return "a frame was accepted and there is no file" if "frames" in said else ""
        left, state = wflow.load(self.path), load_checkpoint(self.path)
        if words := prefix_of(left, self.whole):
            return words
        steps, frames = len(left.tau), left.n_frames
        if frames < max(said.get("frames", 0), self.frames) or steps < self.steps:
            had = max(said.get("frames", 0), self.frames), self.steps
            return f"{frames} frames and {steps} entries are left of {had[0]} and {had[1]}"
        self.steps, self.frames = steps, frames
        if state["steps"] < said.get("steps", 0) or state["n_series"] > steps or state["n_frames"] > frames:
            return f"the checkpoint is at step {state['steps']} after one at {said.get('steps')}, with {steps} entries"
        if "settled" in said and (lost := said["settled"] - said["saved"]) > SECONDS["CLOCK_SECONDS"]:
            return f"{lost:.3f} s of work are lost"
        ended = left.status is wflow.Status.FINISHED and len(left.tau) == len(self.whole.tau)
        if left.status is not wflow.Status.KILLED and not ended:
            return f"its status is {left.status.name}"
        with storage.opened(self.path) as file:
            for times, tau, n in (
                (self.whole.tau, file["series/tau"], steps),
                (self.whole.frame_tau, file["frames/tau"], frames),
            ):
                spare, due = tau[n:], np.full(len(tau), np.nan)
                due[: len(times)] = times[: len(tau)]  # written, and not yet counted
                if (~np.isnan(spare) & (spare != due[n:])).any():
                    return f"of {n} times, {spare} follow"
        return ""

    def end(self) -> str:
        """Go to the end; in words, what is wrong then."""
        try:
            solution = self.begin() if self.is_new else self.tiny.resume(self.path)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if solution.status is not wflow.Status.FINISHED:
            return f"its status is {solution.status.name}"
        found = contents(self.path)
        other = [name for name in self.result if found[name].tobytes() != self.result[name].tobytes()]
        if other:
            return f"{other[0]} is not that of the uninterrupted run"
        left = {p.name.removeprefix(self.path.name) for p in self.path.parent.iterdir()} - {"", ".resume"}
        drafts = {
            name for name in left if len(name.split(".")[1]) == 8
        }  # of runs that were killed before they had a place
        return f"files are left: {left}" if left - drafts else ""


def _run(solution: wflow.Solution) -> Any:
    return solution.attributes["run"]


def kills(count: int, seed: int, say: Callable[[str], None] = print, names: Sequence[str] = tuple(RUNS)) -> Outcome:
    """Kill so many runs of these names."""
    draw, done, faults, skipped = random.Random(seed), Counter[str](), 0, 0
    with scaled(), tempfile.TemporaryDirectory(prefix="kills-") as folder:
        wholes = {name: _whole(RUNS[name], Path(folder) / f"{i}.h5") for i, name in enumerate(names)}
        while done.total() < count:
            name = draw.choice(names)
            whole, result, calls, seconds = wholes[name]
            place = Path(tempfile.mkdtemp(dir=folder))
            story = Story(name, place / "run.h5", RUNS[name], whole, result, None)
            if draw.random() < 0.2:
                story.old = RUNS[draw.choice(names)].solve(story.path)
            words, trail = "", []
            for stage in ("the run", "a resume", "a second resume")[: draw.choice((1, 2, 2, 3, 3))]:
                new = story.is_new
                run = story.begin if new else partial(story.tiny.resume, story.path)
                aim = _aim(draw, calls[new]) if draw.random() < 0.7 else None
                child = Child(work_of(run, Trap(aim, draw.getrandbits(32))))
                if aim is None:
                    time.sleep(draw.uniform(0, seconds[new]))
                    child.kill()
                notes, killed = child.join()
                trail.append(f"{stage} {aim or 'at some time'}")
                if not killed:
                    skipped += 1
                    words = next(
                        (n.get("trace", n.get("refused", "")) for n in notes if {"fault", "refused"} & n.keys()), ""
                    )
                    break
                done[f"{stage}, {aim.part if aim else 'any time'}"] += 1
                if done.total() % 100 == 0:
                    say(f"  {done.total()} kills, {faults} faults")
                try:
                    words = story.check(notes)
                except Exception as error:
                    words = f"{type(error).__name__}: {error}"
                if words or done.total() >= count:
                    break
            words = words or story.end()
            shutil.rmtree(place)
            if words:
                faults += 1
                say(f"  {name}{', over an old run' if story.old else ''}: {'; '.join(trail)}:\n    {words}")
    for stage, n in sorted(done.items()):
        say(f"  {n:6} kills of {stage}")
    words = f"{skipped} more processes ended before their kill"
    return Outcome("kills", done.total(), faults, words)


def _whole(tiny: Tiny, path: Path) -> tuple[wflow.Solution, dict[str, np.ndarray], list[Calls], list[float]]:
    """The uninterrupted run, its results, and the calls and seconds of a resume, halfway, and of a new run."""
    tiny.solve(path)  # warm
    half = path.with_suffix(".half.h5")
    Child(work_of(lambda: tiny.solve(half), Trap(Aim("loop", "pwrite", 100, "after")))).join()
    calls: list[Calls] = []
    seconds = []
    for run in (lambda: tiny.resume(half), lambda: tiny.solve(path, overwrite=True)):
        began = time.monotonic()
        notes, _ = Child(work_of(run, Trap(None))).join()
        seconds.append(time.monotonic() - began)
        calls.append({(part, kind): n for part, kind, n in notes[-1]["calls"]})
    return wflow.load(path), contents(path), calls, seconds


def _aim(draw: random.Random, calls: Calls) -> Aim:
    """Any part of a life, then any kind of call in it, most often a write to its place, then any of these."""
    part = draw.choice(PARTS)
    kinds = [kind for where, kind in calls if where == part]
    kind = "pwrite" if "pwrite" in kinds and draw.random() < 0.4 else draw.choice(kinds)
    aim = Aim(part, kind, draw.randint(1, calls[part, kind]), draw.choice(("before", "after")))
    return replace(aim, way="amid") if kind in ("write", "pwrite") and draw.random() < 0.5 else aim
