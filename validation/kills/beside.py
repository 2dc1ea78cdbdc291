"""Readers beside runs, and two writers of one path."""

from __future__ import annotations

__all__ = ["readers", "writers"]

import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py

import wflow
from validation.kills.killed import Aim, Trap, work_of
from validation.kills.runs import PATIENCE, RUNS, Child, Outcome, Tiny, contents, mean, prefix_of, scaled
from wflow.trajectory.lock import is_locked

REFUSED = "another run is writing"


def readers(count: int, seed: int, say: Callable[[str], None] = print) -> Outcome:
    """Four readers, as fast as they can, beside each of so many runs."""
    import xarray  # before the forks

    from wflow import cli

    def by_h5py(path: Path, whole: wflow.Solution) -> str:
        with h5py.File(path) as file:
            n = file["frames/count"][()]
            return "" if file["frames/tau"][n - 1] == whole.frame_tau[n - 1] else "another frame"

    def by_xarray(path: Path, whole: wflow.Solution) -> str:
        with xarray.open_dataset(path, group="series", engine="h5netcdf") as series:
            energy = series["energy"].values[: int(series["count"])]
            return "" if (energy == whole.energy[: len(energy)]).all() else "another entry"

    def by_load(path: Path, whole: wflow.Solution) -> str:
        solution = wflow.load(path)
        if solution.status not in (wflow.Status.RUNNING, wflow.Status.FINISHED):
            return f"its status is {solution.status.name}"
        return prefix_of(solution, whole, solution.n_frames - 1)

    def by_info(path: Path, whole: wflow.Solution) -> str:
        return "" if cli.main(["info", str(path)]) == 0 else "wflow info fails"

    ways = {"h5py": by_h5py, "xarray": by_xarray, "wflow.load": by_load, "wflow info": by_info}
    draw, faults, reads, failed = random.Random(seed), 0, Counter[str](), Counter[str]()
    with scaled(), tempfile.TemporaryDirectory(prefix="readers-") as folder:
        for k in range(count):
            name = draw.choice(list(RUNS))
            tiny, path, stop = RUNS[name], Path(folder) / f"{k}.h5", Path(folder) / f"{k}.stop"
            reference = Path(folder) / "whole.h5"
            whole = tiny.solve(reference, overwrite=True)
            by_xarray(reference, whole)  # what it imports is there before the forks
            children = {way: Child(partial(_read, read, path, whole, stop)) for way, read in ways.items()}
            run = Child(partial(_solve, tiny, path))
            words = "; ".join(str(note) for note in run.join()[0] if {"fault", "refused"} & note.keys())
            stop.touch()
            for way, child in children.items():
                said = child.join()[0][-1]
                reads[way] += said.get("reads", 0)
                failed[way] += said.get("failed", 0)
                if way.startswith("wflow") and said.get("failed", 1):
                    words += f"{way}: {said}"
                words += f"{way}: {said['wrong']}" if said.get("wrong") and way.startswith("wflow") else ""
            words += "" if _same(path, contents(reference)) else "the run is another"
            if words:
                faults += 1
                say(f"  {name}: {words}")
    table = ", ".join(f"{way} {failed[way]} of {reads[way]}" for way in ways)
    return Outcome("readers", count, faults, f"reads that failed: {table}")


def _read(
    read: Callable[[Path, wflow.Solution], str],
    path: Path,
    whole: wflow.Solution,
    stop: Path,
    note: Callable[..., None],
) -> None:
    reads, failed, words = 0, 0, ""
    while not stop.exists():
        if not path.exists():
            continue
        reads += 1
        try:
            found = read(path, whole)
        except Exception as error:
            found, failed = f"{type(error).__name__}: {error!s:.200}", failed + 1
        words = words or found
    note(reads=reads, failed=failed, wrong=words)


def _solve(tiny: Tiny, path: Path, note: Callable[..., None]) -> None:
    tiny.solve(path)


def _same(path: Path, result: dict[str, Any]) -> bool:
    found = contents(path)
    return all(found[name].tobytes() == result[name].tobytes() for name in result)


def writers(count: int, seed: int, say: Callable[[str], None] = print) -> Outcome:
    """Two new runs, and two resumes of a killed run, with and without the locks of HDF5, and a reader who looks."""
    draw, faults = random.Random(seed), 0
    with scaled(), tempfile.TemporaryDirectory(prefix="writers-") as folder:
        for k in range(count):
            tiny, path, name = RUNS["langevin steps"], Path(folder) / f"{k}.h5", ("new", "resume")[k % 2]
            whole = tiny.solve(Path(folder) / "whole.h5", overwrite=True)
            locking = draw.choice(("TRUE", "FALSE"))
            if name == "resume":
                aim = Aim("loop", "pwrite", draw.randint(60, 120), "after")
                Child(work_of(partial(tiny.solve, path), Trap(aim))).join()
                before = wflow.load(path)
            words = _race(tiny, path, name, locking)
            if not words and not _same(path, contents(Path(folder) / "whole.h5")):
                words = "the run is another"
            if not words and name == "resume" and (words := prefix_of(before, whole)):
                words = f"before, {words}"
            if words:
                faults += 1
                say(f"  two of {name}, HDF5_USE_FILE_LOCKING={locking}: {words}")
    return Outcome("writers", count, faults, "one goes on, the other is refused")


def _race(tiny: Tiny, path: Path, name: str, locking: str) -> str:
    """Let two begin at once, the first of which waits for the end of the other; in words, what goes wrong."""
    ready, begin = os.pipe()
    go = path.with_suffix(".go")

    def write(note: Callable[..., None]) -> None:
        os.close(begin)
        os.environ["HDF5_USE_FILE_LOCKING"] = locking
        os.read(ready, 1)  # ends when the parent closes it
        calls = 0

        def hold(rho: Any) -> float:
            nonlocal calls
            calls += 1
            while calls == 3 and not go.exists():
                time.sleep(0.002)
            return mean(rho)

        (tiny.solve if name == "new" else tiny.resume)(path, hold)
        note(ended=True)

    def look(note: Callable[..., None]) -> None:
        os.close(begin)
        while not go.exists():
            is_locked(path)

    pair, reader = (Child(write), Child(write)), Child(look)
    os.close(begin)
    os.close(ready)
    since = time.monotonic()
    while not any(child.has_ended for child in pair) and time.monotonic() - since < PATIENCE / 2:
        time.sleep(0.002)
    go.touch()
    reader.join()
    notes = [child.join()[0] for child in pair]
    ended = sum("ended" in note for said in notes for note in said)
    refused = [note["refused"] for said in notes for note in said if "refused" in note]
    good = ended == 1 and len(refused) == 1 and refused[0].startswith(REFUSED) and "\n" not in refused[0]
    return "" if good else str(notes)
