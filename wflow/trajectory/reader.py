"""Reading a trajectory, also while it is being written, so that nothing half-written or damaged is believed."""

from __future__ import annotations

__all__ = ["load", "open_trajectory", "read", "read_solution", "settings_of", "solution_of"]

import contextlib
import dataclasses
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wflow import observers, problems  # noqa: F401 (a file may name what they register)
from wflow.checks import check_path, check_regular
from wflow.energies import Energy, TransformerObjective
from wflow.errors import InputError
from wflow.measures import Grid, Measure, Particles
from wflow.plain import MissingObject, build
from wflow.settings import Settings, check_plain, parts
from wflow.solution import SERIES, Solution, Status
from wflow.trajectory.access import (
    attribute_of,
    attributes_of,
    dataset_of,
    group_of,
    has,
    text_of,
    values_of,
    version_of,
)
from wflow.trajectory.layout import FORMAT, FORMAT_VERSION, Pair
from wflow.trajectory.lock import is_locked
from wflow.trajectory.older import settings_of_version_1
from wflow.trajectory.storage import bytes_of, opened

T = TypeVar("T")

#: What reading a damaged file may raise: HDF5, numpy, zip, JSON, and what is made of the content.
DAMAGE = (
    *(OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError, EOFError),
    *(MemoryError, ArithmeticError),
)
#: Attributes that are JSON, and what stands for them where there are none.
TOLD = {"stats": "{}", "versions": "{}", "argv": "[]"}
#: So often, and after so many seconds, a file is read again whose writer may just have made room in it.
TRIES, PAUSE = 5, 0.02


@contextlib.contextmanager
def open_trajectory(path: str | PathLike[str]) -> Iterator[Any]:
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
    try:
        if not _is_hdf5(path):
            raise InputError(f"{path} is not an HDF5 file, so no trajectory of wflow")
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(opened(path.resolve()))
                kind, version = (attribute_of(file, name) for name in ("format", "format_version"))
            except DAMAGE as error:
                raise InputError(f"{path} is damaged and cannot be opened: {_line(error)}") from None
            if kind != FORMAT:
                raise InputError(f"{path} is an HDF5 file, but no trajectory of wflow (it has no format={FORMAT!r})")
            if not isinstance(version, np.integer) or version < 1:
                raise InputError(f"{path} is damaged: its format version is {version!r:.80}")
            if version > FORMAT_VERSION:
                words = f"{path} has format version {version}; this wflow reads up to {FORMAT_VERSION}: update wflow"
                raise InputError(words)
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be read: {_line(error)}") from None


def _line(error: BaseException) -> str:
    """What an error says, in a line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _is_hdf5(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(8) == b"\x89HDF\r\n\x1a\n"


def read(path: str | PathLike[str], what: Callable[[Any], T], alone: bool = False) -> T:
    """What a function finds in an open trajectory; what cannot be read in it is an :class:`InputError`.

    A writer that makes room or ends just then does not disturb: the function is called again, unless the caller is
    ``alone`` with the file.
    """
    for attempt in range(1 if alone else TRIES):
        locked = is_locked(Path(path).resolve())
        try:
            with open_trajectory(path) as file:
                return what(file)
        except InputError as error:
            problem = error
        except DAMAGE as error:
            problem = InputError(f"{path} is damaged: {_line(error)}")
        if alone or attempt == TRIES - 1 or not (locked or is_locked(Path(path).resolve())):
            break
        time.sleep(PAUSE)
    raise problem from None


def load(path: str | PathLike[str]) -> Solution:
    """Read a trajectory: its series at once, its measures one by one when asked for.

    Everything that is read is compared with its checksum.

    Raises
    ------
    InputError
        For a missing, truncated, damaged or foreign file.
    """
    return read_solution(check_path("path", path))


def read_solution(path: Path, settings: Settings | None = None) -> Solution:
    """The solution in a file; of a run that has just ended with its settings."""
    path = Path(path).absolute()
    while True:
        solution = read(path, lambda file: solution_of(file, path, settings))
        if solution.status is not Status.RUNNING or is_locked(path.resolve()) is not False:
            return solution
        if read(path, lambda file: text_of(file, "status")) == solution.status.name.lower():
            words = f"killed at tau = {solution.tau[-1]:.9g}"
            return dataclasses.replace(solution, status=Status.KILLED, message=words)
        # The run has ended since it was read.


def solution_of(file: Any, path: Path, ended: Settings | None) -> Solution:
    """The solution in an open trajectory, whose status "running" may be that of a run that was killed."""
    count, frames = counts_of(file)
    if not count or not frames:
        raise ValueError(f"it has {count} entries and {frames} frames")
    names = sorted(group_of(file, "series/observed"))
    series, observed = (
        {name: dataset_of(file, f"{group}/{name}")[:count] for name in entries}
        for group, entries in (("series", SERIES), ("series/observed", names))
    )
    if version_of(file) > 2:
        table = np.column_stack([*series.values(), *observed.values()])
        wrong = row_checksums(table) != dataset_of(file, "series/crc32")[:count]
        if wrong.any():
            raise ValueError(f"the checksum of entry {int(wrong.argmax())} of the series does not fit")
    frame_tau = dataset_of(file, "frames/tau")[:frames]
    for times in (series["tau"], frame_tau):
        if not (np.isfinite(times).all() and (np.diff(times) >= 0).all()):
            raise ValueError("its times do not increase")
    attributes = attributes_of(file)
    if version_of(file) > 2:
        for name in json.loads(attributes["checksums"]):
            text_of(file, name)
    stats = _told(attributes)
    data = settings_of(file)
    energy, observe = _built(data.pop("energy"), {}), data.pop("observe")
    functions = {name: _built(entry, parts(energy)) for name, entry in observe.items()}
    _check_energy(file, energy)
    if not all(function is None or callable(function) for function in functions.values()):
        raise ValueError("an observed quantity is described as something else")
    if ended is not None:
        energy, functions = ended.energy, dict(ended.observe)
    status, message = Status[text_of(file, "status").upper()], text_of(file, "message")
    return Solution(
        series,
        observed,
        frame_tau,
        partial(_read_frame, path, attributes["run"], frame_tau),
        status,
        message,
        stats,
        path,
        objective=energy,
        observers={name: function for name, function in functions.items() if function is not None},
        settings=data,
        attributes=attributes,
    )


def _told(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The counters among the attributes, after a look at the others that are JSON; ValueError for damage."""
    stats, versions, argv = (json.loads(str(attributes.get(*pair))) for pair in TOLD.items())
    if not isinstance(stats, dict) or not all(type(number) in (int, float) for number in stats.values()):
        raise ValueError("its stats are no numbers by name")
    if stats and not {"rejected", "evaluations"} <= stats.keys():
        raise ValueError("its stats lack the rejected steps or the evaluations")
    if not isinstance(versions, dict) or not isinstance(argv, list):
        raise ValueError("its versions or its command line are not described")
    if not all(isinstance(text, str) for text in (*versions.values(), *argv)):
        raise ValueError("its versions or its command line are no texts")
    return stats


def _check_energy(file: Any, energy: Any) -> None:
    """Raise ValueError for an energy that is none, or that the frames do not fit."""
    if energy is not None and not isinstance(energy, Energy):
        raise ValueError("its energy is described as something else")
    frames = group_of(file, "frames")
    grid, S = text_of(frames, "measure") == "grid", dataset_of(frames, "t").shape[0]
    shapes = {name: dataset_of(frames, name).shape[1:] for name in json.loads(text_of(frames, "blocks"))}
    found = {name: (shape[0], len(shape) - 1 if grid else shape[-1]) for name, shape in shapes.items()}
    for term in getattr(energy, "terms", [energy]):
        if isinstance(term, TransformerObjective):
            expected = {name: (term.rule.n_slices, p) for name, p in term.n_parameters.items()}
            if found != expected or term.rule.n_slices != S:
                raise ValueError("its frames have other blocks, slices or parameters than its objective")


def counts_of(file: Any) -> Pair:
    """How many series entries and frames are accepted."""
    counts = []
    for group in ("series", "frames"):
        count, room = dataset_of(file, f"{group}/count"), dataset_of(file, f"{group}/tau")
        if count.shape != () or count.dtype != np.int64 or room.ndim != 1:
            raise ValueError(f"the count of {group} is no number")
        if not 0 <= (n := int(count[()])) <= room.size:
            raise ValueError(f"{group} has {n} entries, with room for {room.size}")
        counts.append(n)
    return counts[0], counts[1]


def _read_frame(path: Path, run: Any, frame_tau: NDArray[np.float64], i: int) -> Measure:
    """The measure of frame i of a file, which must be that of this run and frame still."""

    def frame(file: Any) -> Measure:
        if attribute_of(file, "run") != run:
            raise InputError(f"{path} holds another run than when it was loaded: load it again")
        if i >= counts_of(file)[1] or dataset_of(file, "frames/tau")[i] != frame_tau[i]:
            raise InputError(f"frame {i} of {path} is gone since it was loaded, as after a resume: load it again")
        return measure_of(file, i)

    return read(path, frame)


def measure_of(file: Any, i: int) -> Measure:
    """The measure of frame i of an open trajectory."""
    try:
        return _measure(file, i)
    except InputError as error:
        raise ValueError(f"frame {i}: {error}") from None


def _measure(file: Any, i: int) -> Measure:
    frames = group_of(file, "frames")
    names, kind = json.loads(text_of(frames, "blocks")), text_of(frames, "measure")
    data = {name: dataset_of(frames, name) for name in names}
    blocks = {name: data[name][i] for name in names}
    depth: dict[str, Any] = {name: values_of(frames, name) for name in ("t", "depth_weights")}
    rho: Measure
    if kind == "grid":
        boxes = {name: json.loads(text_of(data[name], "box")) for name in names}
        # Normalised when it was made; once more would change the last bits.
        shape = Grid(box=boxes, **depth, **{name: np.ones(data[name].shape[1:]) for name in names})
        rho = shape.replace(**blocks)
    elif kind == "particles":
        weights = {name: values_of(frames, f"{name}_weights") for name in names if has(frames, f"{name}_weights")}
        rho = Particles(weights=weights, **depth, **blocks)
    else:
        raise ValueError(f"the measure is {kind!r:.80}")
    if version_of(file) > 2 and frame_checksum(dataset_of(frames, "tau")[i], rho) != dataset_of(frames, "crc32")[i]:
        raise ValueError(f"the checksum of frame {i} does not fit")
    return rho


def frame_checksum(tau: float, rho: Measure) -> int:
    """The CRC of a frame: of its training time, then of its blocks in their order."""
    total = zlib.crc32(np.float64(tau).tobytes())
    for points in rho.blocks.values():
        total = zlib.crc32(bytes_of(points), total)
    return total


def row_checksums(table: NDArray[np.float64]) -> NDArray[np.uint32]:
    """The CRC of every row of series entries."""
    n, width = table.shape
    data = bytes_of(table)
    return np.fromiter((zlib.crc32(data[i : i + 8 * width]) for i in range(0, 8 * width * n, 8 * width)), np.uint32, n)


def settings_of(file: Any) -> dict[str, Any]:
    """The settings of an open trajectory as plain data (see :meth:`wflow.settings.Settings.plain`)."""
    slices = dataset_of(file, "frames/t").size

    def check(entry: dict[str, Any]) -> dict[str, Any]:
        layers = entry.get("layers", 0)
        if type(layers) is not int or layers > slices:  # of which there are as many, or more
            raise ValueError(f"an objective has {layers!r:.80} layers, but the frames {slices} depth slices")
        return entry

    problem = group_of(file, "problem")
    if version_of(file) == 1:
        old = settings_of_version_1(problem, json.loads(text_of(file, "config")))
        check(old["energy"])
        return check_plain(old)
    arrays: dict[str, Any] = {}  # once each, however often they are named

    def fetch(entry: dict[str, Any]) -> Any:
        if (kind := entry.get("kind")) not in ("array", "list"):
            return check(entry)
        name = entry["dataset"]
        if name in arrays and kind == "list":
            raise ValueError(f"there are two lists {name!r:.80}")
        if name not in arrays:
            arrays[name] = values_of(problem, name)
        return arrays[name].tolist() if kind == "list" else arrays[name]

    def parsed(thing: Any, name: str) -> Any:
        return json.loads(text_of(thing, name), object_hook=fetch)

    observe = group_of(problem, "observe") if has(problem, "observe") else {}
    functions = {name: parsed(group_of(observe, name), "description") for name in observe}
    settings: dict[str, Any] = parsed(file, "config")
    if not isinstance(settings, dict) or "observe" in settings or "energy" in settings:
        raise ValueError("its settings have no names")
    return check_plain({"energy": parsed(group_of(problem, "energy"), "description"), "observe": functions} | settings)


def same_settings(file: Any, settings: Settings) -> bool:
    """Whether an open trajectory has these settings."""
    return _same(settings_of(file), settings.plain())


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return isinstance(b, type(a)) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and (a == b or a != a)


def _built(data: Any, known: Mapping[str, Any]) -> Any:
    """The object of a description; None where it is the user's own."""
    try:
        return build(data, known)
    except MissingObject:
        return None
    except InputError as error:
        raise ValueError(str(error)) from None
