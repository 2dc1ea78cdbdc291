"""Writing a trajectory so that nothing accepted is lost, whatever ends the run and when.

An entry of a series and a frame are written to the places that the file has for them, and only then counted. So every
moment leaves a whole file, and a step costs a few system calls. Where the room is used up, HDF5 makes more in one
change (see :mod:`wflow.trajectory.storage`); nothing is ever copied.
"""

from __future__ import annotations

__all__ = ["TrajectoryFile", "new_trajectory"]

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wflow.checks import check_regular
from wflow.errors import InputError
from wflow.measures import Measure
from wflow.settings import Settings
from wflow.solution import SERIES, Solution, Status
from wflow.trajectory import layout, storage
from wflow.trajectory.access import attribute_of, attributes_of, dataset_of, text_of, version_of
from wflow.trajectory.checkpoint import State, is_checkpoint, resume_path, save_checkpoint, scratch_path
from wflow.trajectory.layout import FORMAT, FORMAT_VERSION, Column, Layout
from wflow.trajectory.provenance import history, provenance
from wflow.trajectory.reader import (
    DAMAGE,
    counts_of,
    frame_checksum,
    measure_of,
    read,
    read_solution,
    row_checksums,
    same_settings,
)
from wflow.trajectory.recorder import Frame

#: The attributes that every file has; those of a user have other names.
ATTRIBUTES = (
    *("format", "format_version", "run", "status", "message", "created", "versions", "commit", "argv"),
    *("config", "stats", "checksums", "environment"),
)
RUNNING = {"status": Status.RUNNING.name.lower(), "message": ""}


@contextlib.contextmanager
def new_trajectory(
    path: Path, overwrite: bool, settings: Settings, rho0: Measure, texts: Mapping[str, str]
) -> Iterator[TrajectoryFile]:
    """A draft of a new trajectory, which takes its place whole when the first state is recorded in it.

    Raises
    ------
    InputError
        Where the file cannot or must not be written.
    """
    check_target(path, overwrite)
    layout.check_names(rho0, settings.observe)
    run = uuid.uuid4().hex
    scratch = scratch_path(path, run)
    draft = None
    try:
        draft = _draft(scratch, run, settings, rho0, provenance() | dict(texts))
        yield draft
        draft.move_to(path)
    except BaseException as error:
        if draft is not None:
            draft.close()
        for place in (scratch, resume_path(scratch)):
            place.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"cannot write {path}: {error}") from None
        raise


def _draft(scratch: Path, run: str, settings: Settings, rho0: Measure, texts: Mapping[str, str]) -> TrajectoryFile:
    """A file with room and without entries."""
    content = storage.new_file()
    with h5py.File(content, "r+", **storage.CHANGES) as file:
        file.attrs["format_version"] = FORMAT_VERSION
        layout.set_texts(file, {"format": FORMAT, "run": run} | RUNNING | dict(texts))
        layout.write_settings(file, settings)
        layout.write_layout(file, rho0, settings.observe)
        if settings.scheme.noisy:
            words = f"smooth part of Q: without {settings.energy.internal}, which noise does not show"
            file["series/energy"].attrs["long_name"] = words
    with open(scratch, "xb") as stream:
        os.truncate(stream.fileno(), content.size)
        for offset, data in content.changes():
            storage.write_at(stream.fileno(), data, offset)
    return TrajectoryFile(scratch, settings)


class TrajectoryFile:
    """An HDF5 trajectory that is being written.

    Use :func:`new_trajectory` for a new file and :meth:`reopen` to go on with one.
    """

    #: Seconds between two writes of the series alone, and between two checkpoints with frames.
    WRITE_SECONDS = 1.0
    CHECKPOINT_SECONDS = 0.5
    #: Seconds between two checkpoints whatever the frames; both at least so many times as long as the last one took.
    CLOCK_SECONDS = 60.0
    CLOCK_SHARE = 50

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings
        self._rows: list[Mapping[str, float]] = []
        self._written = self._saved = time.monotonic()
        self._took = 0.0
        self._descriptor = os.open(path, os.O_RDWR)
        try:
            storage.recover(path, self._descriptor)
            with storage.opened(path) as file:
                self._run = str(attribute_of(file, "run"))
                self._counts = counts_of(file)  # what the file has
                self._layout = Layout.of(file)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._n_steps, self._n_frames = 0, 0  # what this run has

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def reopen(cls, path: Path, state: State, settings: Settings) -> TrajectoryFile:
        """Go on from a checkpoint. What the file has beyond it stays until it is computed again.

        The settings go into the file, which becomes one of the present version of the format.
        """
        n_steps, n_frames = state["n_series"], state["n_frames"]

        def check(file: Any) -> int:
            if n_steps > (counts := counts_of(file))[0] or n_frames > counts[1]:
                raise InputError(
                    f"{path} cannot be resumed: its checkpoint is ahead of it, with {n_steps} series entries and "
                    f"{n_frames} frames against {' and '.join(map(str, counts))}, as after a power cut or "
                    "beside an older copy; bring both from one time together"
                )
            if dataset_of(file, "series/tau")[n_steps - 1] != state["tau"]:
                raise InputError(f"{path} cannot be resumed: its checkpoint is that of another training time")
            return version_of(file)

        version = read(path, check)
        try:
            if version < FORMAT_VERSION:
                _convert(path, state, settings)
            made = cls(path, settings)
            made._n_steps, made._n_frames = n_steps, n_frames
            made._declare_running()
            return made
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"cannot write {path}: {error}") from None
        except DAMAGE as error:
            raise InputError(f"{path} is damaged: {error}") from None

    def _declare_running(self) -> None:
        """Say in the file that the run is going on, and how."""
        with storage.opened(self.path) as file:
            before = json.loads(text_of(file, "environment")) if "environment" in file.attrs else []
            texts = RUNNING | {"environment": json.dumps(history(before, self._n_steps, str(self.path)))}
            same = same_settings(file, self.settings)
            if same and all(text_of(file, name) == text for name, text in texts.items()):
                return
        with self._edited() as file:
            layout.set_texts(file, texts)
            if not same:
                del file["problem"]
                layout.write_settings(file, self.settings)

    @contextlib.contextmanager
    def _edited(self) -> Iterator[Any]:
        """A change of structure; the places of entries may be others after it."""
        with storage.edited(self.path, self._descriptor, self._run) as file:
            yield file
        with storage.opened(self.path) as file:
            self._layout = Layout.of(file)

    def _reserve(self, steps: int, frames: int) -> None:
        """Make room for so many entries and frames."""
        if steps <= self._layout.rooms[0] and frames <= self._layout.rooms[1]:
            return
        with self._edited() as file:
            layout.more_room(file, (self._n_steps, self._n_frames), (steps, frames))

    def _put(self, column: Column, begin: int, data: memoryview) -> None:
        """Write entries from ``begin`` on to their places."""
        for offset, piece in column.pieces(begin, data):
            storage.write_at(self._descriptor, piece, offset)

    def _has(self, column: Column, begin: int, data: memoryview) -> bool:
        """Whether these entries are in the file already."""
        pieces = column.pieces(begin, data)
        return all(os.pread(self._descriptor, len(piece), offset) == piece for offset, piece in pieces)

    def _count(self, steps: int, frames: int) -> None:
        """Count what was written, after it was written."""
        for old, new, place in zip(self._counts, (steps, frames), self._layout.counts):
            if new != old:
                storage.write_at(self._descriptor, new.to_bytes(8, "little"), place)
        self._counts = steps, frames

    def add_step(self, row: Mapping[str, float]) -> None:
        """Buffer one entry of every series; written with the next frame, or after a second."""
        self._rows.append(row)
        if time.monotonic() - self._written > self.WRITE_SECONDS:
            self._write_rows()

    def _write_rows(self) -> None:
        if not self._rows:
            return
        names = [name for name in self._layout.columns if name != "crc32"]
        table = np.array([[row[name] for name in names] for row in self._rows], np.float64)
        data, n = storage.bytes_of(table.T), 8 * len(table)
        columns = {name: data[i * n : (i + 1) * n] for i, name in enumerate(names)}
        self._write(0, self._n_steps, len(table), {**columns, "crc32": storage.bytes_of(row_checksums(table))})
        self._n_steps, self._rows, self._written = self._n_steps + len(table), [], time.monotonic()

    def _write_frame(self, tau: float, rho: Measure) -> None:
        blocks = {name: storage.bytes_of(points) for name, points in rho.blocks.items()}
        sums = np.array([frame_checksum(tau, rho)], np.uint32)
        times = {"tau": storage.bytes_of(np.array([tau])), "crc32": storage.bytes_of(sums)}
        self._write(1, self._n_frames, 1, blocks | times)
        self._n_frames += 1

    def _write(self, which: int, begin: int, n: int, data: Mapping[str, memoryview]) -> None:
        """Write n entries of series (0) or frames (1), then count them.

        An earlier part of the run may have left some of them; where they are others, it went on another way, and what
        it has left beyond this place is gone.
        """
        end, have = begin + n, [self._n_steps, self._n_frames]
        if begin < self._counts[which]:
            columns = (self._layout.columns, self._layout.frames)[which]
            share = min(end, self._counts[which]) - begin
            if not all(
                self._has(columns[name], begin, values[: len(values) * share // n]) for name, values in data.items()
            ):
                self._count(*have)
        have[which] = end
        self._reserve(*have)
        if end > self._counts[which]:
            columns = (self._layout.columns, self._layout.frames)[which]
            for name, values in data.items():
                self._put(columns[name], begin, values)
            counts = list(self._counts)
            counts[which] = end
            self._count(*counts)

    def add_frame(self, tau: float, rho: Measure, state: State) -> None:
        """A frame, then the checkpoint, unless one was written just now."""
        self._write_rows()
        self._write_frame(tau, rho)
        pause = max(self.CHECKPOINT_SECONDS, self.CLOCK_SHARE * self._took)
        if self._n_frames == 1 or time.monotonic() - self._saved > pause:
            self.checkpoint(state)

    def settle(self, state: Callable[[], State]) -> None:
        """A step is complete, with its frame: rows and a checkpoint, where one is due by the clock."""
        if time.monotonic() - self._saved >= max(self.CLOCK_SECONDS, self.CLOCK_SHARE * self._took):
            self._write_rows()
            self.checkpoint(state())

    def checkpoint(self, state: State) -> None:
        """Replace the checkpoint by the state of now, whose entries and frames are written."""
        began = time.monotonic()
        os.fsync(self._descriptor)  # what a checkpoint counts is on the disk before it
        counts = {"n_series": state["steps"] + 1, "n_frames": self._n_frames}
        save_checkpoint(self.path, self._run, dict(state, **counts))
        self._saved = time.monotonic()
        self._took = self._saved - began

    def finish(
        self, status: Status, message: str, stats: Mapping[str, Any], state: State, last: Frame | None = None
    ) -> Solution:
        """Write what is left and the checkpoint, trim the file, give it its status and read it back.

        A last frame, unless there is one that late, comes after the checkpoint: a run that goes on drops it.
        """
        self._write_rows()
        self.checkpoint(state)
        if last is not None and self._last_tau() < last[0]:
            self._write_frame(*last)
        self._count(self._n_steps, self._n_frames)
        with self._edited() as file:
            layout.resize(file, self._n_steps, self._n_frames)
            texts = {"status": status.name.lower(), "message": message, "stats": json.dumps(dict(stats))}
            layout.set_texts(file, texts)
        self.close()
        return read_solution(self.path, self.settings)

    def _last_tau(self) -> float:
        """Training time of this run's last frame."""
        ((place, _),) = self._layout.frames["tau"].pieces(self._n_frames - 1, memoryview(bytes(8)))
        return float(np.frombuffer(os.pread(self._descriptor, 8, place))[0])

    def abandon(self, state: State) -> None:
        """Write what is left and the checkpoint, and close; where that fails, another exception is on its way."""
        with contextlib.suppress(Exception):
            self._write_rows()
            self.checkpoint(state)
        self.close()

    def move_to(self, path: Path) -> None:
        """Take the place of a file, with the checkpoint."""
        os.fsync(self._descriptor)
        if path.exists():
            for place in (self.path, resume_path(self.path)):
                shutil.copymode(path, place)
        os.replace(resume_path(self.path), resume_path(path))
        os.replace(self.path, path)
        storage.journal_path(path).unlink(missing_ok=True)
        storage.fsync_folder(path)
        self.path = path

    def close(self) -> None:
        """Close without a last word: the status stays "running"."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1


def _convert(path: Path, state: State, settings: Settings) -> None:
    """Put a file of the present version of the format in the place of an older one, with all its entries."""
    save_checkpoint(path, state["run"], state)
    scratch = scratch_path(path, state["run"])
    try:

        def copy(file: Any) -> None:
            texts = {name: value for name, value in attributes_of(file).items() if isinstance(value, str)}
            for name in ("format", "run", "config"):
                del texts[name]
            draft = _draft(scratch, state["run"], settings, measure_of(file, 0), texts)
            steps, frames = counts_of(file)
            names = [name for name in draft._layout.columns if name != "crc32"]
            where = {
                name: dataset_of(file, f"{'series' if name in SERIES else 'series/observed'}/{name}")[:steps]
                for name in names
            }
            for begin in range(0, steps, 10_000):
                some = range(begin, min(begin + 10_000, steps))
                draft._rows = [{name: column[i] for name, column in where.items()} for i in some]
                draft._write_rows()
            for i in range(frames):
                draft._write_frame(dataset_of(file, "frames/tau")[i], measure_of(file, i))
            os.fsync(draft._descriptor)
            draft.close()

        read(path, copy)
        shutil.copymode(path, scratch)
        os.replace(scratch, path)
        storage.fsync_folder(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def check_target(target: Path, overwrite: bool) -> None:
    """Raise :class:`InputError` where a new file cannot or must not be written."""
    if target.exists() and not overwrite:
        raise InputError(
            f"{target} exists already; choose another path, or overwrite it on purpose with overwrite=True"
        )
    if target.is_dir():
        raise InputError(f"{target} is a folder; the path of a trajectory must name a file")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist")
    place = resume_path(target)
    for taken in (target, place, storage.journal_path(target), scratch_path(place, "0" * 8)):
        check_regular(taken, "which must not be replaced")
    if place.exists() and not target.exists() and not overwrite and not is_checkpoint(place):
        raise InputError(f"{place} is in the way, where the checkpoint is to stand: move it, or pass overwrite=True")
    storage.read_journal(target)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {target}: the folder {target.parent} cannot be written")
