"""Trajectories in HDF5: written so that a kill loses nothing, read so that nothing half-written is believed.

The layout is described in docs/format.md. Every frame is written as data, then tau, then the number of frames; readers
trust the number. What a run needs to go on stands in a second file, ``<path>.resume``, that is only ever replaced as a
whole.
"""

from __future__ import annotations

__all__ = ["FORMAT", "TrajectoryFile", "load", "load_checkpoint"]

import contextlib
import errno
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wflow import observers, problems  # noqa: F401 (a file may name what they register)
from wflow._version import __version__
from wflow.checks import check_path, check_regular
from wflow.errors import InputError
from wflow.measures import Grid, Measure, Particles
from wflow.plain import MissingObject, build, describe
from wflow.settings import Settings, parts
from wflow.solution import SERIES, Solution, Status

FORMAT = "wflow-trajectory"
FORMAT_VERSION = 2

#: Lists of more numbers become datasets: attributes of HDF5 have less than 64 kB.
LONG = 256

Path_ = str | PathLike[str]
State = Mapping[str, Any]
Texts = Mapping[str, str]
Pair = tuple[int, int]  # of series entries and of frames
Frame = tuple[float, Any]  # training time and measure


@dataclass
class MemoryRecorder:
    """Where a run leaves what it has accepted, in memory."""

    rows: list[Mapping[str, float]] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)

    def add_step(self, row: Mapping[str, float]) -> None:
        """One accepted step: a number for every series and observed quantity."""
        self.rows.append(row)

    def add_frame(self, tau: float, rho: Measure, state: State) -> None:
        """One frame, and the state from which the run can go on."""
        self.frames.append((tau, rho))

    def settle(self, state: Callable[[], State]) -> None:
        """A step is complete: nothing to write."""

    def abandon(self, state: State) -> None:
        """An exception leaves the run, and nobody gets what is here."""

    def finish(
        self, status: Status, message: str, stats: Mapping[str, Any], state: State, last: Frame | None = None
    ) -> Solution:
        """The end of the run, however it came; with a last frame, unless there is one that late."""
        if last is not None and self.frames[-1][0] < last[0]:
            self.frames.append(last)
        observed = {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]}
        series = {name: observed.pop(name) for name in SERIES}
        times, measures = np.array([tau for tau, _ in self.frames]), [rho for _, rho in self.frames]
        return Solution(series, observed, times, measures.__getitem__, status, message, dict(stats))


class TrajectoryFile:
    """An HDF5 trajectory that is being written.

    Series and frames have room for more entries than they hold. An entry is written into this room and only then
    counted, which changes no structure of the file: it is readable at every moment, whatever is killed when. Where the
    room is used up, and at the end, a copy with the right room takes the file's place in one stroke.

    Use :meth:`create` for a new file and :meth:`reopen` to go on with one.
    """

    #: Seconds between two writes of the series alone, and between two checkpoints with frames.
    WRITE_SECONDS = 1.0
    CHECKPOINT_SECONDS = 0.5
    #: Seconds between two checkpoints whatever the frames, and at least so many times as long as the last one took.
    CLOCK_SECONDS = 60.0
    CLOCK_SHARE = 50

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[Mapping[str, float]] = []
        self._written = self._saved = time.monotonic()
        self._took = 0.0
        self._open()

    def _open(self) -> None:
        self._file = h5py.File(self.path, "r+")
        self._run = str(self._file.attrs["run"])
        self._n_steps, self._n_frames = _counts(self._file)
        self._columns = dict(_columns(self._file))

    @classmethod
    def create(
        cls, path: Path_, overwrite: bool, settings: Settings, rho0: Measure, texts: Texts, first: Callable[[Any], None]
    ) -> TrajectoryFile:
        """Write a new file beside its place, with everything that ``first`` adds to it, and move it there whole."""
        target = check_target(path, overwrite)
        _check_names(rho0, settings.observe)
        scratch = beside(target)
        try:
            _take(scratch, *[_first_bytes(rho0, settings)] * 2)
            with h5py.File(scratch, "w") as file:
                _write_header(file, texts)
                _write_settings(file, settings)
                _write_layout(file, rho0, settings.observe, (STEPS_ROOM, FRAMES_ROOM))
                if settings.scheme.noisy:
                    words = f"smooth part of Q: without {settings.energy.internal}, which noise does not show"
                    file["series/energy"].attrs["long_name"] = words
            draft = cls(scratch)
            first(draft)
            draft._file.close()
            os.replace(resume_path(scratch), resume_path(target))
            os.replace(scratch, target)
        except BaseException as error:
            scratch.unlink(missing_ok=True)
            resume_path(scratch).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise InputError(f"cannot write {target}: {error}") from None
            raise
        made = cls(target)
        made._took = draft._took
        return made

    @classmethod
    def reopen(cls, path: Path_, n_steps: int, n_frames: int, settings: Settings) -> TrajectoryFile:
        """Go on after this many series entries and frames; what came later is dropped, to be computed again.

        The settings go into the file, in the present version of the format."""
        attributes = {"status": Status.RUNNING.name.lower(), "message": ""}
        try:
            with open_trajectory(path) as file:
                if n_steps > _counts(file)[0] or n_frames > _counts(file)[1]:
                    raise InputError(
                        f"{path} cannot be resumed: its checkpoint is ahead of it, with {n_steps} series entries and "
                        f"{n_frames} frames against {' and '.join(map(str, _counts(file)))}, as after a power cut or "
                        "beside an older copy; bring both from one time together"
                    )
                _copy(file, Path(path), (n_steps, n_frames), (2 * n_steps, 2 * n_frames), attributes, settings=settings)
            return cls(Path(path))
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"cannot write {path}: {error}") from None
        except DAMAGE as error:
            raise InputError(f"{path} is damaged: {error}") from None

    def _replace(self, rooms: Pair, attributes: Texts, compress: bool = False) -> None:
        """Put a copy with other room and attributes in the place of the file."""
        self._file.flush()
        _copy(self._file, self.path, (self._n_steps, self._n_frames), rooms, attributes, compress)
        self._file.close()
        self._open()

    def add_step(self, row: Mapping[str, float]) -> None:
        """Buffer one entry of every series; written with the next frame, or after a second."""
        self._rows.append(row)
        if time.monotonic() - self._written > self.WRITE_SECONDS:
            self._write_rows()

    def _write_rows(self) -> None:
        end = self._n_steps + len(self._rows)
        if end > self._columns["tau"].shape[0]:
            self._replace((2 * end, self._file["frames/tau"].shape[0]), {})
        for name, column in self._columns.items():
            column[self._n_steps : end] = [row[name] for row in self._rows]
        self._count("series/count", end)
        self._n_steps, self._rows, self._written = end, [], time.monotonic()

    def _count(self, name: str, count: int) -> None:
        """Count what was written, after it was written."""
        self._file.flush()
        self._file[name][()] = count
        self._file.flush()

    def add_frame(self, tau: float, rho: Measure, state: State) -> None:
        """A frame, then the checkpoint, unless one was written just now."""
        self._write_rows()
        self._write_frame(tau, rho)
        if self._n_frames == 1 or time.monotonic() - self._saved > self.CHECKPOINT_SECONDS:
            self.checkpoint(state)

    def _write_frame(self, tau: float, rho: Measure) -> None:
        """Data, then tau, then the count."""
        if self._n_frames == self._file["frames/tau"].shape[0]:
            self._replace((self._columns["tau"].shape[0], 2 * self._n_frames), {})
        frames = self._file["frames"]
        for name, points in rho.blocks.items():
            frames[name][self._n_frames] = points
        frames["tau"][self._n_frames] = tau
        self._count("frames/count", self._n_frames + 1)
        self._n_frames += 1

    def settle(self, state: Callable[[], State]) -> None:
        """A step is complete, with its frame: rows and a checkpoint, where one is due by the clock."""
        if time.monotonic() - self._saved >= max(self.CLOCK_SECONDS, self.CLOCK_SHARE * self._took):
            self._write_rows()
            self.checkpoint(state())

    def checkpoint(self, state: State) -> None:
        """Replace the checkpoint by the state of now, whose entries and frames are written."""
        began = time.monotonic()
        meta = dict(state, run=self._run, n_series=state["steps"] + 1, n_frames=self._n_frames)
        arrays = {"x": meta.pop("x")} | {f"carry_{name}": array for name, array in meta.pop("carry").items()}
        with open(self.path, "rb") as stream:  # what a checkpoint counts is on the disk before it
            os.fsync(stream.fileno())
        target = resume_path(self.path)
        scratch = beside(target)
        with open(scratch, "wb") as stream:
            np.savez(stream, meta=np.array(json.dumps(describe(meta))), **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        shutil.copymode(self.path, scratch)
        os.replace(scratch, target)
        self._saved = time.monotonic()
        self._took = self._saved - began

    def finish(
        self, status: Status, message: str, stats: Mapping[str, Any], state: State, last: Frame | None = None
    ) -> Solution:
        """Write what is left and the checkpoint, trim the file and give it its status, and read it back.

        A last frame, unless there is one that late, comes after the checkpoint: a run that goes on drops it.
        """
        self._write_rows()
        self.checkpoint(state)
        if last is not None and self._file["frames/tau"][self._n_frames - 1] < last[0]:
            self._write_frame(*last)
        attributes = {"status": status.name.lower(), "message": message, "stats": json.dumps(dict(stats))}
        self._replace((self._n_steps, self._n_frames), attributes, compress=True)
        self._file.close()
        return load(self.path)

    def abandon(self, state: State) -> None:
        """Write what is left and the checkpoint, and close; where that fails, another exception is on its way."""
        with contextlib.suppress(Exception):
            self._write_rows()
            self.checkpoint(state)
        with contextlib.suppress(Exception):
            self.close()

    def close(self) -> None:
        """Close without a last word: the status stays "running"."""
        self._file.close()


#: Room of a new file, in series entries and frames.
STEPS_ROOM, FRAMES_ROOM = 256, 4


def _counts(file: Any) -> tuple[int, int]:
    """How many series entries and frames are accepted."""
    return int(file["series/count"][()]), int(file["frames/count"][()])


def _columns(file: Any) -> Iterator[tuple[str, Any]]:
    """Every series and observed quantity."""
    for name in SERIES:
        yield name, file["series"][name]
    yield from file["series/observed"].items()


def _copy(
    source: Any, target: Path, counts: Pair, rooms: Pair, texts: Texts, compress: bool = False, settings: Any = None
) -> None:
    """Put a copy of an open trajectory, up to these counts and with this room, in the place of ``target``.

    Densities of a run that has ended are compressed. New settings take the place of those of the source.
    """
    scratch = beside(target)
    try:
        _reserve(scratch, source, *rooms)
        with h5py.File(scratch, "w") as file:
            for name, value in (dict(source.attrs) | dict(texts)).items():
                file.attrs[name] = value
            if settings is None:
                source.copy("problem", file)
            else:
                _write_settings(file, settings)
            rho0 = measure_of(source, 0)
            _write_layout(file, rho0, source["series/observed"], rooms, compress and isinstance(rho0, Grid))
            new = dict(_columns(file))
            for name, column in _columns(source):
                new[name][: counts[0]] = column[: counts[0]]
                new[name].attrs["long_name"] = column.attrs["long_name"]
            for name in ("tau", *json.loads(source["frames"].attrs["blocks"])):
                for i in range(counts[1]):
                    file["frames"][name][i] = source["frames"][name][i]
            file["series/count"][()], file["frames/count"][()] = counts
        shutil.copymode(target, scratch)
        os.replace(scratch, target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _reserve(scratch: Path, source: Any, steps_room: int, frames_room: int) -> None:
    """Raise OSError where a copy would not find its place, before HDF5 does, which can crash on a full disk.

    Room for frames to come takes no space yet, but counts against a limit on the size of files.
    """
    blocks = json.loads(source["frames"].attrs["blocks"])
    frame_bytes = sum(source["frames"][name].dtype.itemsize * source["frames"][name][0].size for name in blocks)
    columns = dict(_columns(source))
    more_frames = max(0, frames_room - source["frames/tau"].shape[0])
    more_bytes = 2**16 + 8 * len(columns) * max(0, steps_room - columns["tau"].shape[0])
    old = os.stat(source.filename)
    size = old.st_size + more_bytes + more_frames * frame_bytes
    _take(scratch, size, 512 * old.st_blocks + more_bytes + frame_bytes)


def _take(scratch: Path, size: int, space: int) -> None:
    """Raise OSError where a new file of this size, and so much space, would not find its place."""
    with open(scratch, "wb") as file:
        file.truncate(size)
    if shutil.disk_usage(scratch.parent).free < space:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _first_bytes(rho0: Measure, settings: Settings) -> int:
    """About the size of a new file: its room, and what determines the run."""
    arrays: dict[int, int] = {}

    def count(data: Any) -> None:
        if isinstance(data, np.ndarray):
            arrays[id(data)] = data.nbytes
        for entry in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
            count(entry)

    plain = settings.plain()  # which keeps what it names alive, so that every id is one array's
    count(plain)
    series = 8 * STEPS_ROOM * (len(SERIES) + len(settings.observe))
    frames = FRAMES_ROOM * sum(int(x.nbytes) for x in rho0.blocks.values())
    weights = sum(rho0.weights(name).nbytes for name in rho0.blocks) if isinstance(rho0, Particles) else 0
    return 2**16 + series + frames + weights + sum(arrays.values())


def beside(path: Path) -> Path:
    """Where the next version of a file is written before it takes its place."""
    return path.with_name(path.name + ".new")


def resume_path(path: Path_) -> Path:
    """Where the checkpoint of a trajectory stands."""
    path = Path(path)
    return path.with_name(path.name + ".resume")


def check_target(path: Path_, overwrite: bool) -> Path:
    """The path of a new file, or an :class:`InputError` when it cannot or must not be written."""
    target = Path(path)
    if target.exists() and not overwrite:
        raise InputError(
            f"{target} exists already; choose another path, or overwrite it on purpose with overwrite=True"
        )
    if target.is_dir():
        raise InputError(f"{target} is a folder; the path of a trajectory must name a file")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist")
    for place in (target, resume_path(target)):
        for taken in (place, beside(place)):
            check_regular(taken, "which must not be replaced")
    probe = beside(target)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None
    return target


#: The attributes that every file has; those of a user have other names.
ATTRIBUTES = (
    *("format", "format_version", "run", "status", "message", "created", "versions", "commit", "argv"),
    *("config", "stats"),
)


def _write_header(file: Any, attributes: Mapping[str, str]) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["run"] = uuid.uuid4().hex
    file.attrs["status"], file.attrs["message"] = Status.RUNNING.name.lower(), ""
    file.attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    packages = {name: version(name) for name in ("numpy", "scipy", "numba", "h5py")}
    file.attrs["versions"] = json.dumps({"wflow": __version__, "python": platform.python_version(), **packages})
    file.attrs["commit"] = _commit()
    file.attrs["argv"] = json.dumps(sys.argv)
    for name, text in attributes.items():
        file.attrs[name] = text


def _commit() -> str:
    """The git commit of the package's checkout, empty for an installed copy."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return ""
    answer = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _write_settings(file: Any, settings: Settings) -> None:
    """What determines the run: energy and observers in groups of ``problem``, all else in the attribute ``config``."""
    problem, data = file.create_group("problem"), settings.plain()
    places: dict[int, str] = {}
    groups = {"energy": data.pop("energy")} | {f"observe/{name}": entry for name, entry in data.pop("observe").items()}
    for place, entry in groups.items():
        problem.require_group(place).attrs["description"] = json.dumps(_put(problem, place, entry, places))
    file.attrs["config"] = json.dumps({name: _put(problem, name, entry, places) for name, entry in data.items()})
    file.attrs["format_version"] = FORMAT_VERSION


def _put(group: Any, place: str, data: Any, places: dict[int, str]) -> Any:
    """Plain data for JSON: arrays, each one once, and long lists of numbers become datasets of the group."""
    if isinstance(data, np.ndarray):
        if id(data) not in places:
            group.create_dataset(place, data=data, dtype=data.dtype)
        return {"kind": "array", "dataset": places.setdefault(id(data), place)}
    if isinstance(data, list) and len(data) > LONG and all(type(number) is float for number in data):
        group.create_dataset(place, data=data, dtype=np.float64)
        return {"kind": "list", "dataset": place}
    if isinstance(data, list):
        return [_put(group, f"{place}/{i}", entry, places) for i, entry in enumerate(data)]
    if isinstance(data, dict):
        return {name: _put(group, f"{place}/{name}", entry, places) for name, entry in data.items()}
    return data


def settings_of(file: Any) -> dict[str, Any]:
    """The settings of an open trajectory as plain data (see :meth:`wflow.settings.Settings.plain`)."""
    problem = file["problem"]
    if file.attrs["format_version"] == 1:
        return _version_1(problem, json.loads(file.attrs["config"]))

    def fetch(entry: dict[str, Any]) -> Any:
        if entry.get("kind") not in ("array", "list"):
            return entry
        array = problem[entry["dataset"]][()]
        return array.tolist() if entry["kind"] == "list" else array

    def read(attributes: Any, name: str) -> Any:
        return json.loads(attributes[name], object_hook=fetch)

    observe = {name: read(group.attrs, "description") for name, group in problem.get("observe", {}).items()}
    return {"energy": read(problem["energy"].attrs, "description"), "observe": observe, **read(file.attrs, "config")}


def _version_1(problem: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The same of a file of format version 1."""

    def dataset(group: Any) -> dict[str, Any]:
        arrays = {name: group[name][()] for name in ("tokens", "labels", "readout")}
        return {"kind": "Dataset", "name": str(group.attrs["name"]), **arrays}

    def user(name: str) -> dict[str, Any]:
        return {"kind": "user", "name": name}

    def encoder(entry: dict[str, Any]) -> dict[str, Any]:
        kind = {"SoftmaxAttention": "attention", "FeedForward": "feedforward"}.get(entry["kind"])
        return entry | {"kind": kind} if kind else user(entry["class"])

    energy = user(str(problem.attrs["energy"]))
    if "objective" in problem.attrs:
        arguments = json.loads(problem.attrs["objective"])
        encoders = {name: encoder(arguments[name]) for name in ("attention", "feedforward") if arguments[name]}
        energy = {"kind": "TransformerObjective", "dataset": dataset(problem["dataset"]), **arguments, **encoders}
    observe = {}
    for name, entry in problem["observe"].items():
        arguments = {"objective": {"kind": "reference", "to": "energy"}}
        arguments["dataset"] = dataset(entry) if "tokens" in entry else None
        observe[name] = {"kind": str(entry.attrs["kind"]), **arguments} if entry.attrs["kind"] else user(name)
    scheme, options, controller = config["scheme"], config.pop("scheme_options"), config["controller"]
    config["scheme"] = user(scheme) if options is None else {"kind": scheme, **options}
    if controller["kind"] not in ("Adaptive", "Fixed"):
        config["controller"] = user(controller["kind"])
    if config["save"]:
        config["save"]["kind"] = "SaveAt"
    return {"energy": energy, "observe": observe, **config}


def _check_names(rho0: Measure, observed: Iterable[str]) -> None:
    """Raise :class:`InputError` for names of blocks and of observed quantities that a file cannot hold."""
    taken = {"tau", "count", "t", "depth_weights"}
    for name in rho0.blocks:
        more = {f"{name}_{what}" for what in ("particle", "parameter", "weights", *range(3))}
        for block in rho0.blocks:
            if block in taken | more:
                raise InputError(f"block {block!r} cannot be stored: a file has something else of this name; rename it")
    for what, name in [("block", block) for block in rho0.blocks] + [("the quantity", name) for name in observed]:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise InputError(f"{what} {name!r} cannot be stored: no path within a file; rename it")


def _write_layout(file: Any, rho0: Measure, observed: Iterable[str], rooms: Pair, compress: bool = False) -> None:
    """Series and frames with room for so many entries, and their dimension scales."""
    series, frames = file.create_group("series"), file.create_group("frames")
    extra = series.create_group("observed")
    tau = _room(series, "tau", (rooms[0],), np.float64, "training time tau")
    tau.make_scale("tau")
    labels = [(series, name, label) for name, label in SERIES.items() if name != "tau"]
    for group, name, label in labels + [(extra, name, f"observed {name}") for name in observed]:
        _room(group, name, (rooms[0],), np.float64, label, [tau])

    frames.attrs["blocks"] = json.dumps(list(rho0.blocks))
    frames.attrs["measure"] = type(rho0).__name__.lower()
    for group in (series, frames):
        group.create_dataset("count", data=0, dtype=np.int64)
    frame_tau = _room(frames, "tau", (rooms[1],), np.float64, "training time tau of the frame")
    frame_tau.make_scale("tau")
    t = _scale(frames, "t", rho0.t, "depth t in [0, 1]")
    _values(frames, "depth_weights", rho0.depth_weights, "quadrature weights of the depth nodes", [t])
    for name, array in rho0.blocks.items():
        if isinstance(rho0, Grid):
            label, cells = f"density of block {name}", f"of block {name} at the cell centres"
            axes = enumerate(rho0.axes(name))
            scales = [_scale(frames, f"{name}_{axis}", x, f"parameter {axis} {cells}") for axis, x in axes]
        else:
            label, (M, p) = f"particles of block {name}", array.shape[1:]
            scales = [
                _scale(frames, f"{name}_particle", np.arange(M), f"particle of block {name}"),
                _scale(frames, f"{name}_parameter", np.arange(p), f"flattened parameter of block {name}"),
            ]
        data = _room(frames, name, (rooms[1], *array.shape), array.dtype, label, [frame_tau, t, *scales], compress)
        if isinstance(rho0, Grid):
            data.attrs["box"] = json.dumps(rho0.box[name])
        elif not rho0.has_equal_weights(name):
            _values(frames, f"{name}_weights", rho0.weights(name), f"masses of block {name}", [t, scales[0]])


def _room(
    group: Any, name: str, shape: tuple[int, ...], dtype: Any, label: str, scales: Any = (), compress: bool = False
) -> Any:
    """A contiguous dataset whose place in the file is fixed from the start; what is not written yet reads as NaN or,
    in frames, as zeros that take no space on the disk. Compressed, one that is written once."""
    if compress and shape[0]:
        data = group.create_dataset(name, shape, dtype, chunks=(1, *shape[1:]), shuffle=True, compression=1)
        return _labelled(data, label, scales)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    data = group.create_dataset(name, shape, dtype=dtype, dcpl=creation)
    if len(shape) == 1:
        data[...] = np.nan
    return _labelled(data, label, scales)


def _values(group: Any, name: str, values: NDArray[Any], label: str, scales: Any = ()) -> Any:
    """A dataset that is written once and for all."""
    return _labelled(group.create_dataset(name, data=values, dtype=values.dtype), label, scales)


def _scale(group: Any, name: str, values: NDArray[Any], label: str) -> Any:
    data = _values(group, name, values, label)
    data.make_scale(name)
    return data


def _labelled(data: Any, label: str, scales: Any) -> Any:
    """A dataset with words for its axis in a figure, and dimension scales."""
    data.attrs["long_name"], data.attrs["units"] = label, "dimensionless"
    for dimension, scale in zip(data.dims, scales):
        dimension.attach_scale(scale)
        dimension.label = scale.name.rpartition("/")[2]
    return data


def open_trajectory(path: Path_) -> Any:
    """Open a trajectory for reading, also while it is being written.

    Raises
    ------
    InputError
        For a missing, truncated or foreign file, or one of a newer format.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a trajectory")
    check_regular(path, "and no trajectory")
    if not h5py.is_hdf5(path):
        raise InputError(f"{path} is not an HDF5 file, so no trajectory of wflow")
    try:
        try:
            file = h5py.File(path, "r", locking=False)
        except OSError as error:
            if "locking flag" not in str(error):  # another reader in this process has it open with locks
                raise
            file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is damaged and cannot be opened: {error}") from None
    if file.attrs.get("format") != FORMAT:
        file.close()
        raise InputError(f"{path} is an HDF5 file, but no trajectory of wflow (it has no format={FORMAT!r})")
    if (found := file.attrs["format_version"]) > FORMAT_VERSION:
        file.close()
        raise InputError(f"{path} has format version {found}; this wflow reads up to {FORMAT_VERSION}: update wflow")
    return file


#: What reading a damaged file may raise: HDF5, numpy, zip, JSON, and what is made of the content.
DAMAGE = (
    *(OSError, KeyError, IndexError, TypeError, ValueError, RuntimeError, EOFError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),
)


@contextlib.contextmanager
def reading(path: Path_) -> Iterator[Any]:
    """An open trajectory (see :func:`open_trajectory`); what cannot be read in it is an :class:`InputError`, too."""
    try:
        with open_trajectory(path) as file:
            yield file
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{path} is damaged: {error}") from None


def load(path: Path_) -> Solution:
    """Read a trajectory: its series at once, its measures one by one when asked for.

    Raises
    ------
    InputError
        For a missing, truncated or foreign file.
    """
    path = check_path("path", path)
    with reading(path) as file:
        count, frames = _counts(file)
        series = {name: file["series"][name][:count] for name in SERIES}
        observed = {name: column[:count] for name, column in file["series/observed"].items()}
        frame_tau = file["frames/tau"][:frames]
        attributes, settings = dict(file.attrs), settings_of(file)
        energy = _built(settings.pop("energy"), {})
        observe = {name: _built(entry, parts(energy)) for name, entry in settings.pop("observe").items()}
        observe = {name: function for name, function in observe.items() if function is not None}
        status, message = Status[str(attributes["status"]).upper()], str(attributes["message"])
        stats = json.loads(attributes.get("stats", "{}"))
    more = status, message, stats, Path(path), energy, observe, settings, attributes
    read = partial(_read_frame, Path(path).absolute(), str(attributes["run"]), frame_tau)
    return Solution(series, observed, frame_tau, read, *more)


def _read_frame(path: Path, run: str, frame_tau: NDArray[np.float64], i: int) -> Any:
    """The measure of frame i of a file, which must be that of this run and frame still."""
    with reading(path) as file:
        if str(file.attrs["run"]) != run:
            raise InputError(f"{path} holds another run than when it was loaded: load it again")
        if i >= _counts(file)[1] or file["frames/tau"][i] != frame_tau[i]:
            raise InputError(f"frame {i} of {path} is gone since it was loaded, as after a resume: load it again")
        return measure_of(file, i)


def _built(data: Any, known: Mapping[str, Any]) -> Any:
    """The object of a description; None where it is the user's own."""
    try:
        return build(data, known)
    except MissingObject:
        return None


def measure_of(file: Any, i: int) -> Any:
    """The measure of frame i of an open trajectory."""
    frames = file["frames"]
    names = json.loads(frames.attrs["blocks"])
    depth: dict[str, Any] = {"t": frames["t"][()], "depth_weights": frames["depth_weights"][()]}
    if frames.attrs["measure"] == "grid":
        boxes = {name: json.loads(frames[name].attrs["box"]) for name in names}
        # Normalised when it was made; once more would change the last bits.
        shape = Grid(box=boxes, **depth, **{name: np.ones(frames[name].shape[1:]) for name in names})
        return shape.replace(**{name: frames[name][i] for name in names})
    weights = {name: frames[f"{name}_weights"][()] for name in names if f"{name}_weights" in frames}
    blocks = {name: frames[name][i] for name in names}
    return Particles(weights=weights, **depth, **blocks)


def load_checkpoint(path: Path_) -> dict[str, Any]:
    """The state from which a run can go on.

    Raises
    ------
    InputError
        When the checkpoint is missing or damaged.
    """
    place = resume_path(path)
    check_regular(place, "and no checkpoint")
    with reading(path) as file:
        run = str(file.attrs["run"])
    try:
        with np.load(place, allow_pickle=False) as archive:
            carry = {name.removeprefix("carry_"): archive[name] for name in archive if name.startswith("carry_")}
            state: dict[str, Any] = json.loads(str(archive["meta"])) | {"x": archive["x"], "carry": carry}
        _check_state(state)
    except FileNotFoundError:
        raise InputError(f"{path} cannot be resumed: its checkpoint {place} is missing") from None
    except DAMAGE as error:
        raise InputError(f"{path} cannot be resumed: its checkpoint {place} is damaged: {error}") from None
    if state["run"] != run:
        raise InputError(f"{path} cannot be resumed: its checkpoint {place} belongs to another run")
    return state


def _check_state(state: Mapping[str, Any]) -> None:
    """Raise ValueError or KeyError for a state that no run can have left."""
    for name, least in {"n_series": 1, "n_frames": 1, "steps": 0, "rejected": 0, "evaluations": 0}.items():
        if type(state[name]) is not int or state[name] < least:
            raise ValueError(f"{name} is {state[name]!r}")
    for name in ("tau", "h", "energy0"):
        if not isinstance(state[name], (int, float)) or math.isnan(state[name]):
            raise ValueError(f"{name} is {state[name]!r}")
    if state["x"].ndim != 1 or state["x"].dtype.kind != "f" or not isinstance(state["notes"], dict):
        raise ValueError("it holds no state")
    str(state["run"])
