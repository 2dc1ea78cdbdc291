"""What entries and frames cost, in the beginning and after many of them."""

from __future__ import annotations

__all__ = ["cost"]

import os
import resource
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import wflow
from validation.kills.runs import Child, Outcome
from wflow.controllers import Fixed
from wflow.schemes import scheme_of
from wflow.settings import Settings
from wflow.solution import SERIES
from wflow.trajectory.layout import MORE_BYTES
from wflow.trajectory.writer import new_trajectory

#: The limits: processor time of an entry in the last tenth over that in the second one, memory that the last nine
#: tenths add (MB), the file, apart from its least room, over what is in it, and seconds from SIGTERM to the end.
SLOWER, MEMORY, DISK, SECONDS = 1.1, 16.0, 1.2, 10.0
#: Blocks of a tenth, whose median counts: other processes disturb some of them.
BLOCKS = 20
WELL = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2 + x[:, 1] ** 2, lambda x: x * [1, 2])


def cost(frames: int, entries: int, megabytes: float, say: Callable[[str], None] = print) -> Outcome:
    """Many frames and entries through a trajectory file, then SIGTERM to a run with a large one."""
    with tempfile.TemporaryDirectory(prefix="cost-") as folder:
        notes, _ = Child(lambda note: _fill(note, Path(folder) / "long.h5", frames, entries // frames)).join(3600)
        said = notes[-1]
        if "slower" not in said:
            say(f"  {said}")
            return Outcome("cost", 1, 1, "")
        said["seconds"] = _terminate(Path(folder) / "large.h5", megabytes)
    limits = {"slower": SLOWER, "memory": MEMORY, "disk": DISK, "size": DISK, "seconds": SECONDS}
    beyond = [name for name, limit in limits.items() if not said[name] <= limit]
    for name in beyond:
        say(f"  {name} is {said[name]:.4g}, more than {limits[name]:g}")
    words = (
        f"{said['each']:.1f} us an entry, in the last tenth {said['slower']:.3f} of the second one; growth "
        f"{said['growth']:.1%} of it; {said['memory']:.1f} MB more memory; disk {said['disk']:.3f} and size "
        f"{said['size']:.3f} of the content; {said['seconds']:.1f} s from SIGTERM to the end with {megabytes:g} MB"
    )
    return Outcome("cost", len(limits), len(beyond), words)


def _fill(note: Callable[..., None], path: Path, frames: int, entries: int) -> None:
    """So many frames of 15 kB, each with some entries of the series."""
    rho = wflow.Particles(x=np.random.default_rng(0).standard_normal((1, 960, 2)))
    settings = Settings(WELL, {}, (0.0, 1.0), scheme_of("euler"), Fixed(0.1), None, 0.0, None)
    row, state = dict.fromkeys(SERIES, 0.5), {"x": np.zeros(1920), "carry": {}, "notes": {}, "tau": 0.0, "h": 0.1}
    blocks, sizes, growth = [], [], 0.0
    with new_trajectory(path, False, settings, rho, {}) as file:
        file.add_step(row)
        file.add_frame(0.0, rho, state | {"steps": 0})
    reserve = file._reserve

    def timed(*need: int) -> None:
        nonlocal growth
        began = time.process_time()
        reserve(*need)
        growth += time.process_time() - began

    file._reserve = timed  # type: ignore[method-assign, assignment]
    steps, memory, each = 0, 0, max(1, frames // (10 * BLOCKS))
    began = before = time.process_time()
    for i in range(1, frames):
        for _ in range(entries):
            steps += 1
            file.add_step(row)
        file.add_frame(i / frames, rho, state | {"steps": steps})
        if i % each == 0:
            now = time.process_time()
            blocks.append(now - before)
            stat, content = os.stat(path), i * (16 * 960 + 12) + steps * (8 * len(SERIES) + 4)
            sizes.append((512 * stat.st_blocks / content, (stat.st_size - MORE_BYTES) / content))
            before = time.process_time()
        if i == frames // 10:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took = time.process_time() - began
    file.close()
    tenth = len(blocks) // 10
    slower = statistics.median(blocks[-tenth:]) / statistics.median(blocks[tenth : 2 * tenth])
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    disk, size = (max(values) for values in zip(*sizes[tenth:]))
    what: dict[str, Any] = {"slower": slower, "memory": more / 1024, "disk": disk, "size": size}
    note(**what, each=1e6 * took / max(1, steps), growth=growth / took)


def _terminate(path: Path, megabytes: float) -> float:
    """Seconds from SIGTERM to the end of a run whose file is so large; infinite for another end."""
    rho = wflow.Particles(x=np.random.default_rng(0).standard_normal((1, 50_000, 2)))
    options: dict[str, Any] = {"scheme": "euler", "dtau": 1e-6, "save": wflow.SaveAt(steps=1), "progress": False}
    run = Child(lambda note: wflow.solve(WELL, rho, (0, 1), path=path, **options))
    while not run.has_ended and not (path.exists() and path.stat().st_size >= 1e6 * megabytes):
        time.sleep(0.01)
    began = time.monotonic()
    os.kill(run.pid, signal.SIGTERM)
    run.join()
    seconds = time.monotonic() - began
    solution = wflow.load(path)
    solution.measure(-1)
    return seconds if solution.status is wflow.Status.INTERRUPTED else np.inf
