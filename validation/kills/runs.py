"""Tiny runs in forks of one process, on files whose room is used up often and whose checkpoints are close together."""

from __future__ import annotations

__all__ = ["RUNS", "Child", "Outcome", "Tiny", "contents", "prefix_of", "scaled"]

import contextlib
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np

import wflow
from wflow.trajectory import TrajectoryFile, layout

#: Seconds after which a process counts as one that hangs.
PATIENCE = 60.0
#: Seconds of waiting, and rooms, in place of those of the package.
SECONDS = {"CHECKPOINT_SECONDS": 0.03, "CLOCK_SECONDS": 0.05, "WRITE_SECONDS": 0.003, "CLOCK_SHARE": 0}
ROOMS = {"ENTRIES": 4, "MORE_ENTRIES": 8, "CHUNK_BYTES": 2**9, "MORE_BYTES": 2**11}


@dataclass(frozen=True)
class Outcome:
    """A row of the table."""

    what: str
    number: int
    faults: int
    words: str


@contextlib.contextmanager
def scaled() -> Iterator[None]:
    """Short intervals and small rooms."""
    with contextlib.ExitStack() as stack:
        for thing, values in ((TrajectoryFile, SECONDS), (layout, ROOMS)):
            for name, value in values.items():
                stack.enter_context(mock.patch.object(thing, name, value))
        yield


def mean(rho: wflow.Measure) -> float:
    """An observed quantity."""
    return float(np.mean(next(iter(rho.blocks.values()))))


@dataclass(frozen=True)
class Tiny:
    """The arguments of a run."""

    energy: Any
    rho0: Any
    options: dict[str, Any]

    def solve(self, path: Path, observe: Callable[[Any], float] = mean, **more: Any) -> wflow.Solution:
        """A new run."""
        options = {"tau_range": (0, 1.2), "rng": 5, "progress": False, **self.options, **more}
        return wflow.solve(self.energy, self.rho0, path=path, observe={"mean": observe}, **options)

    def resume(self, path: Path, observe: Callable[[Any], float] = mean) -> wflow.Solution:
        """Go on with it to its end."""
        return wflow.resume(path, energy=self.energy, observe={"mean": observe}, progress=False)


def _runs() -> dict[str, Tiny]:
    rng = np.random.default_rng(2)
    data = wflow.Dataset(rng.standard_normal((4, 2, 3)), rng.standard_normal(4), readout=(0, 2))
    Q = wflow.TransformerObjective(data, feedforward=wflow.FeedForward("tanh"), weight_decay=0.01, layers=2)
    neurons = wflow.Particles(w=rng.standard_normal((2, 3, 4)))
    well = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    points = wflow.Particles(x=rng.standard_normal((1, 6, 1)))
    hill = wflow.Grid(x=np.exp(-((np.linspace(-7.75, 7.75, 32) - 0.5) ** 2)), box={"x": ((-8, 8),)})
    problems = {
        "dopri5": (Q, neurons, {"dtau": 0.05}),
        "jko": (well, points, {"dtau": 0.05}),
        "langevin": (well + wflow.Entropy(0.5), points, {"dtau": 0.05}),
        "kernel": (well + wflow.Entropy(0.5), hill, {"dtau": 0.05}),
    }
    saves = {"none": None, "steps": wflow.SaveAt(steps=1), "every": wflow.SaveAt(every=0.13)}
    return {
        f"{scheme} {name}": Tiny(energy, rho0, {"scheme": scheme, "save": save, **options})
        for scheme, (energy, rho0, options) in problems.items()
        for name, save in saves.items()
    }


#: Schemes with adaptive order, inner iterations, noise and densities; the first and last frames, all, some amid steps.
RUNS = _runs()


def contents(path: Path) -> dict[str, np.ndarray]:
    """All results in a file, up to their counts, read by h5py alone."""
    with h5py.File(path, "r") as file:
        steps, frames = file["series/count"][()], file["frames/count"][()]
        found = {name: data[:steps] for name, data in file["series"].items() if getattr(data, "shape", ())}
        found |= {f"observed/{name}": data[:steps] for name, data in file["series/observed"].items()}
        names = [*json.loads(file["frames"].attrs["blocks"]), "tau", "crc32"]
        return found | {f"frames/{name}": file["frames"][name][:frames] for name in names}


def prefix_of(solution: wflow.Solution, whole: wflow.Solution, first: int = 0) -> str:
    """In words, what of a solution is not the beginning of another one, bit for bit; empty for nothing.

    Frames are compared from the ``first`` on.
    """
    n = len(solution.tau)
    for name, values in {**solution.series, **solution.observed}.items():
        other = {**whole.series, **whole.observed}[name]
        if n > len(other) or values.tobytes() != other[:n].tobytes():
            return f"{name} is another"
    for i in range(first, solution.n_frames):
        if i >= whole.n_frames or solution.frame_tau[i] != whole.frame_tau[i]:
            return f"frame {i} has another time"
        mine, theirs = solution.measure(i).blocks, whole.measure(i).blocks
        if any(mine[name].tobytes() != theirs[name].tobytes() for name in theirs):
            return f"frame {i} is another"
    return ""


class Child:
    """A fork of this process that does some work and notes what happens, a JSON document a line."""

    def __init__(self, work: Callable[[Callable[..., None]], Any]) -> None:
        self._stream, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._work(work, write)
        os.close(write)
        self.began = time.monotonic()
        self._ended: int | None = None

    def _work(self, work: Callable[[Callable[..., None]], Any], write: int) -> None:
        def note(**what: Any) -> None:
            os.write(write, json.dumps(what).encode() + b"\n")

        try:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            work(note)
        except wflow.InputError as error:
            note(refused=str(error))
        except BaseException as error:
            note(fault=f"{type(error).__name__}: {error!s:.300}", trace=traceback.format_exc()[-1500:])
        finally:
            os._exit(0)

    def kill(self) -> None:
        """At once."""
        os.kill(self.pid, signal.SIGKILL)

    @property
    def has_ended(self) -> bool:
        """Whether it has."""
        if self._ended is None:
            pid, code = os.waitpid(self.pid, os.WNOHANG)
            self._ended = code if pid else None
        return self._ended is not None

    def join(self, patience: float = PATIENCE) -> tuple[list[dict[str, Any]], bool]:
        """Its notes, when it has ended, and whether it was killed; one that hangs is killed, too."""
        text, late = b"", False
        os.set_blocking(self._stream, False)
        while True:
            ended = self.has_ended
            with contextlib.suppress(BlockingIOError):
                while chunk := os.read(self._stream, 2**16):
                    text += chunk
            if ended:
                break
            if not late and time.monotonic() - self.began > patience:
                late = True
                self.kill()
            time.sleep(0.001)
        os.close(self._stream)
        notes = [json.loads(line) for line in text.splitlines()]
        if late:
            notes.append({"fault": f"hangs for {patience:g} s"})
        return notes, os.WIFSIGNALED(self._ended or 0)
