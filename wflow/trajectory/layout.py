"""What stands where in a trajectory: groups, datasets and their room, and the places of their chunks in the file.

Series and frames are chunked datasets whose chunks have their place from the moment at which there is room for them.
HDF5 makes the room; entries are written straight to their places (see :mod:`wflow.trajectory.writer`).
"""

from __future__ import annotations

__all__ = ["FORMAT", "FORMAT_VERSION", "Layout", "columns_of", "write_layout", "write_settings"]

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wflow.errors import InputError
from wflow.measures import Grid, Measure
from wflow.settings import Settings
from wflow.solution import SERIES
from wflow.trajectory.access import dataset_of, group_of
from wflow.trajectory.storage import bytes_of

FORMAT = "wflow-trajectory"
FORMAT_VERSION = 3

#: Lists of more numbers become datasets: attributes of HDF5 have less than 64 kB.
LONG = 256
#: Entries of a chunk of a series, a page of the memory; bytes of a chunk of frames, at least one frame.
ENTRIES, CHUNK_BYTES = 512, 2**15
#: A chunk of HDF5 has less than 4 GiB.
LARGEST_CHUNK = 2**31
#: Room grows by an eighth of what there is, at least by so many entries or bytes and at most by so many bytes.
MORE_ENTRIES, MORE_BYTES, MOST_BYTES = 8 * ENTRIES, 2**22, 2**28


Pair = tuple[int, int]  # of series entries and of frames


@dataclass(frozen=True)
class Column:
    """The places of a dataset's entries in the file: entry i is in pieces of ``bytes_of`` bytes each.

    ``offsets`` are those of its chunks, ``(chunks along the entries, pieces of an entry)``.
    """

    entries: int  # of a chunk
    piece_bytes: int  # of one entry in one chunk
    offsets: list[list[int]]

    @classmethod
    def of(cls, data: Any) -> Column:
        """The places of a chunked dataset."""
        shape, chunk = data.shape, data.chunks or data.shape
        pieces = -(-shape[1] // chunk[1]) if len(shape) > 1 else 1
        if data.chunks is None or data.id.get_num_chunks() != -(-shape[0] // chunk[0]) * pieces:
            raise ValueError(f"{data.name} has no room where it should")
        offsets = np.full((-(-shape[0] // chunk[0]), pieces), -1, np.int64)

        def note(info: Any) -> None:
            where = info.chunk_offset
            offsets[where[0] // chunk[0], where[1] // chunk[1] if len(shape) > 1 else 0] = info.byte_offset

        data.id.chunk_iter(note)
        if (offsets < 0).any():
            raise ValueError(f"{data.name} has no room where it should")
        return cls(chunk[0], int(np.prod(chunk[1:], dtype=np.int64)) * data.dtype.itemsize, offsets.tolist())

    def pieces(self, begin: int, data: memoryview) -> list[tuple[int, memoryview]]:
        """Where the bytes of entries from ``begin`` on go."""
        chunk, inside = divmod(begin, self.entries)
        size, place = (self.entries - inside) * self.piece_bytes, inside * self.piece_bytes
        if 0 < len(data) <= size:
            return [(self.offsets[chunk][0] + place, data)]
        found = []
        while len(data):
            for offset in self.offsets[chunk]:  # with several pieces, a chunk has one entry
                found.append((offset + place, data[:size]))
                data = data[size:]
            chunk, size, place = chunk + 1, self.entries * self.piece_bytes, 0
        return found


@dataclass(frozen=True)
class Layout:
    """The places of all that is written while a run goes on."""

    columns: Mapping[str, Column]  # of the series, the checksum last
    frames: Mapping[str, Column]  # of the blocks, then tau and the checksum
    counts: Pair  # where the numbers of entries and of frames stand
    rooms: Pair  # for how many entries and frames there is room

    @classmethod
    def of(cls, file: Any) -> Layout:
        """The places in an open trajectory."""
        columns = {name: Column.of(data) for name, data in columns_of(file)}
        columns["crc32"] = Column.of(dataset_of(file, "series/crc32"))
        names = [*json.loads(file["frames"].attrs["blocks"]), "tau", "crc32"]
        frames = {name: Column.of(dataset_of(file, f"frames/{name}")) for name in names}
        steps, kept = file["series"], file["frames"]
        lengths = {steps["crc32"].shape[0]} | {data.shape[0] for _, data in columns_of(file)}
        if len(lengths) > 1 or len({kept[name].shape[0] for name in names}) > 1:
            raise ValueError("it has room for different numbers of entries")
        counts = steps["count"].id.get_offset(), kept["count"].id.get_offset()
        return cls(columns, frames, counts, (steps["tau"].shape[0], kept["tau"].shape[0]))


def columns_of(file: Any) -> Iterator[tuple[str, Any]]:
    """Every series and observed quantity, in the order of their checksums."""
    for name in SERIES:
        yield name, dataset_of(file, f"series/{name}")
    for name in sorted(group_of(file, "series/observed")):
        yield name, dataset_of(file, f"series/observed/{name}")


def more_room(file: Any, counts: Pair, need: Pair) -> None:
    """Give an open trajectory room for so many entries and frames, and some more where it has less."""
    steps, frames = (file[group]["tau"].shape[0] for group in ("series", "frames"))
    if steps < need[0]:
        resize(file, steps=need[0] + max(MORE_ENTRIES, counts[0] // 8))
    if frames < need[1]:
        blocks = json.loads(file["frames"].attrs["blocks"])
        size = sum(file["frames"][name].nbytes for name in blocks) // frames
        more = min(max(counts[1] // 8, MORE_BYTES // size), MOST_BYTES // size)
        resize(file, frames=need[1] + more)


def resize(file: Any, steps: int | None = None, frames: int | None = None) -> None:
    """Make series and frames so long."""
    if steps is not None:
        _resize([*dict(columns_of(file)).values(), file["series/crc32"]], file["series/tau"], steps)
    if frames is not None:
        names = (*json.loads(file["frames"].attrs["blocks"]), "tau", "crc32")
        _resize([file["frames"][name] for name in names], file["frames/tau"], frames)


def _resize(columns: Iterable[Any], tau: Any, length: int) -> None:
    begin = tau.shape[0]
    for data in columns:
        data.resize(length, axis=0)
    _mark_empty(tau, begin)


def _mark_empty(tau: Any, begin: int = 0) -> None:
    """Times that are not written yet are NaN, for whoever does not look at the counts."""
    if begin < tau.shape[0]:
        tau[begin:] = np.nan


def check_names(rho0: Measure, observed: Iterable[str]) -> None:
    """Raise :class:`InputError` for names of blocks and of observed quantities that a file cannot hold."""
    taken = {"tau", "count", "crc32", "t", "depth_weights"}
    for name in rho0.blocks:
        more = {f"{name}_{what}" for what in ("particle", "parameter", "weights", *range(3))}
        for block in rho0.blocks:
            if block in taken | more:
                raise InputError(f"block {block!r} cannot be stored: a file has something else of this name; rename it")
    for what, name in [("block", block) for block in rho0.blocks] + [("the quantity", name) for name in observed]:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise InputError(f"{what} {name!r} cannot be stored: no path within a file; rename it")
    for name, array in rho0.blocks.items():
        if (size := int(np.prod(array.shape[1:])) * array.dtype.itemsize) > LARGEST_CHUNK:
            raise InputError(f"block {name!r} cannot be stored: a depth slice has {size} bytes, more than 2 GiB")


def write_layout(file: Any, rho0: Measure, observed: Iterable[str]) -> None:
    """Series and frames with their first room, and their dimension scales."""
    series, frames = file.create_group("series"), file.create_group("frames")
    extra = series.create_group("observed")
    tau = _room(series, "tau", (ENTRIES,), np.float64, (ENTRIES,), "training time tau")
    tau.make_scale("tau")
    _mark_empty(tau)
    labels = [(series, name, label) for name, label in SERIES.items() if name != "tau"]
    for group, name, label in labels + [(extra, name, f"observed {name}") for name in observed]:
        _room(group, name, (ENTRIES,), np.float64, (ENTRIES,), label, [tau])
    _room(series, "crc32", (ENTRIES,), np.uint32, (ENTRIES,), "CRC-32 of the entry", [tau])

    set_texts(frames, {"blocks": json.dumps(list(rho0.blocks)), "measure": type(rho0).__name__.lower()})
    for group in (series, frames):
        group.create_dataset("count", data=0, dtype=np.int64)
    bytes_of = {name: int(np.prod(x.shape)) * x.dtype.itemsize for name, x in rho0.blocks.items()}
    n = max(1, CHUNK_BYTES // sum(bytes_of.values()))  # frames of a chunk
    frame_tau = _room(frames, "tau", (n,), np.float64, (ENTRIES,), "training time tau of the frame")
    frame_tau.make_scale("tau")
    _mark_empty(frame_tau)
    _room(frames, "crc32", (n,), np.uint32, (ENTRIES,), "CRC-32 of the frame", [frame_tau])
    t = _scale(frames, "t", rho0.t, "depth t in [0, 1]")
    write_values(frames, "depth_weights", rho0.depth_weights, "quadrature weights of the depth nodes", [t])
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
        slices = array.shape[0] if bytes_of[name] <= LARGEST_CHUNK else 1
        chunk = (n, slices, *array.shape[1:])
        data = _room(frames, name, (n, *array.shape), array.dtype, chunk, label, [frame_tau, t, *scales])
        if isinstance(rho0, Grid):
            set_texts(data, {"box": json.dumps(rho0.box[name])})
        elif not rho0.has_equal_weights(name):
            write_values(frames, f"{name}_weights", rho0.weights(name), f"masses of block {name}", [t, scales[0]])


def _room(
    group: Any,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    chunk: tuple[int, ...],
    label: str,
    scales: Iterable[Any] = (),
) -> Any:
    """A dataset that can grow and whose chunks have their places; what is not written takes no space on the disk."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    longest = (None, *shape[1:])
    data = group.create_dataset(name, shape, maxshape=longest, chunks=chunk, dtype=dtype, dcpl=creation)
    return _labelled(data, label, scales)


def write_values(group: Any, name: str, values: NDArray[Any], label: str = "", scales: Iterable[Any] = ()) -> Any:
    """A dataset that is written once and for all, with its checksum."""
    data = group.create_dataset(name, data=values, dtype=values.dtype)
    data.attrs["crc32"] = np.uint32(zlib.crc32(bytes_of(values)))
    return _labelled(data, label, scales) if label else data


def _scale(group: Any, name: str, values: NDArray[Any], label: str) -> Any:
    data = write_values(group, name, values, label)
    data.make_scale(name)
    return data


def _labelled(data: Any, label: str, scales: Iterable[Any]) -> Any:
    """A dataset with words for its axis in a figure, and dimension scales."""
    data.attrs["long_name"], data.attrs["units"] = label, "dimensionless"
    for dimension, scale in zip(data.dims, scales):
        dimension.attach_scale(scale)
        dimension.label = scale.name.rpartition("/")[2]
    return data


def write_settings(file: Any, settings: Settings) -> None:
    """What determines the run: energy and observers in groups of ``problem``, all else in the attribute ``config``."""
    problem, data = file.create_group("problem"), settings.plain()
    places: dict[int, str] = {}
    groups = {"energy": data.pop("energy")} | {f"observe/{name}": entry for name, entry in data.pop("observe").items()}
    for place, entry in groups.items():
        set_texts(problem.require_group(place), {"description": json.dumps(_put(problem, place, entry, places))})
    set_texts(file, {"config": json.dumps({name: _put(problem, name, entry, places) for name, entry in data.items()})})


def set_texts(thing: Any, texts: Mapping[str, str]) -> None:
    """Attributes of a file, group or dataset, with their checksums."""
    sums = json.loads(thing.attrs.get("checksums", "{}"))
    for name, text in texts.items():
        thing.attrs[name] = text
        sums[name] = zlib.crc32(text.encode())
    thing.attrs["checksums"] = json.dumps(sums)


def _put(group: Any, place: str, data: Any, places: dict[int, str]) -> Any:
    """Plain data for JSON: arrays, each one once, and long lists of numbers become datasets of the group."""
    if isinstance(data, np.ndarray):
        if id(data) not in places:
            write_values(group, place, data)
        return {"kind": "array", "dataset": places.setdefault(id(data), place)}
    if isinstance(data, list) and len(data) > LONG and all(type(number) is float for number in data):
        write_values(group, place, np.array(data))
        return {"kind": "list", "dataset": place}
    if isinstance(data, list):
        return [_put(group, f"{place}/{i}", entry, places) for i, entry in enumerate(data)]
    if isinstance(data, dict):
        return {name: _put(group, f"{place}/{name}", entry, places) for name, entry in data.items()}
    return data
