"""The checkpoint ``PATH.resume``: the state from which a run goes on, in a file that is only ever replaced whole."""

from __future__ import annotations

__all__ = ["State", "is_checkpoint", "load_checkpoint", "resume_path", "save_checkpoint", "scratch_path"]

import io
import json
import math
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_regular
from wflow.errors import InputError
from wflow.plain import describe
from wflow.trajectory.access import attribute_of, version_of
from wflow.trajectory.reader import read
from wflow.trajectory.storage import bytes_of, fsync_folder

State = Mapping[str, Any]


def resume_path(path: str | PathLike[str]) -> Path:
    """Where the checkpoint of a trajectory stands: beside the file itself, also for a link to it."""
    path = Path(path).resolve()
    return path.with_name(f"{path.name}.resume")


def scratch_path(path: Path, run: str) -> Path:
    """Where a run writes the next version of a file: a name that nobody else has."""
    return path.with_name(f"{path.name}.{run[:8]}")


def save_checkpoint(path: Path, run: str, state: State) -> None:
    """Put a state in the place of the checkpoint; what it counts must be on the disk before it."""
    meta = dict(state, run=run)
    arrays = {"x": meta.pop("x")} | {f"carry_{name}": array for name, array in meta.pop("carry").items()}
    meta["crc32"] = 0
    meta["crc32"] = _checksum(text := describe(meta), arrays)
    target = resume_path(path)
    scratch = scratch_path(target, run)
    try:
        with open(scratch, "wb") as stream:
            np.savez(stream, meta=np.array(json.dumps(text | {"crc32": meta["crc32"]})), **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        shutil.copymode(path, scratch)
        os.replace(scratch, target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    fsync_folder(target)


def _checksum(meta: Mapping[str, Any], arrays: Mapping[str, Any]) -> int:
    """The CRC of all that a checkpoint says, its own entry apart."""
    total = zlib.crc32(json.dumps({**meta, "crc32": 0}, sort_keys=True).encode())
    for name in sorted(arrays):
        total = zlib.crc32(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode(), total)
        total = zlib.crc32(bytes_of(arrays[name]), total)
    return total


def load_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """The state from which a run can go on.

    Raises
    ------
    InputError
        When the checkpoint is missing, damaged, or that of another run.
    """
    place = resume_path(path)
    check_regular(place, "and no checkpoint")
    run, version = read(path, lambda file: (attribute_of(file, "run"), version_of(file)))
    try:
        arrays = _arrays(place)
        meta: dict[str, Any] = json.loads(str(arrays.pop("meta")))
        if (version > 2 or "crc32" in meta) and _checksum(meta, arrays) != meta["crc32"]:  # earlier ones had none
            raise ValueError("its checksum does not fit")
        carry = {name.removeprefix("carry_"): array for name, array in arrays.items() if name.startswith("carry_")}
        state = meta | {"x": arrays["x"], "carry": carry}
        _check_state(state)
    except FileNotFoundError:
        raise InputError(f"{path} cannot be resumed: its checkpoint {place} is missing") from None
    except Exception as error:  # zip and numpy raise of every kind
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be resumed: its checkpoint {place} is damaged: {words}") from None
    if state["run"] != run:
        raise InputError(f"{path} cannot be resumed: its checkpoint {place} belongs to another run")
    return state


def _arrays(place: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an archive, none of which is longer than the file."""
    with zipfile.ZipFile(place) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is compressed")
        names = [member.filename for member in archive.infolist()]
        if len(set(names)) < len(names) or not all(name.endswith(".npy") for name in names):
            raise ValueError("it holds something else than arrays")
        return {name.removesuffix(".npy"): _array(archive.read(name)) for name in names}


def _array(data: bytes) -> NDArray[Any]:
    """An array in the format of numpy, which has the bytes that it says."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("it has an array of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject or fortran or min(shape, default=0) < 0:
        raise ValueError(f"it has an array of type {dtype}")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"it has an array of shape {shape}, but not its bytes")
    return np.frombuffer(data, dtype, math.prod(shape), stream.tell()).reshape(shape).copy()


def is_checkpoint(place: Path) -> bool:
    """Whether a file is a checkpoint of some run, and nobody's treasure."""
    try:
        return "run" in json.loads(str(_arrays(place)["meta"]))
    except Exception:  # zip and numpy raise of every kind
        return False


def _check_state(state: State) -> None:
    """Raise ValueError or KeyError for a state that no run can have left."""
    for name, least in {"n_series": 1, "n_frames": 1, "steps": 0, "rejected": 0, "evaluations": 0}.items():
        if type(state[name]) is not int or state[name] < least:
            raise ValueError(f"{name} is {state[name]!r}")
    if state["n_series"] != state["steps"] + 1:
        raise ValueError(f"it counts {state['steps']} steps and {state['n_series']} entries")
    for name in ("tau", "h", "energy0", "memory", "h_largest", "last_frame"):
        if type(state[name]) not in (int, float) or not math.isfinite(state[name]):
            raise ValueError(f"{name} is {state[name]!r:.80}")
    if type(state["dissipated"]) not in (int, float) or type(state.get("crawled", 0)) is not int or state["h"] <= 0:
        raise ValueError("it has no step, or not what was dissipated")
    notes = state["notes"]
    if not isinstance(notes, dict) or not all(type(number) is int for number in notes.values()):
        raise ValueError("its notes are no numbers by name")
    if state["x"].ndim != 1 or not all(x.dtype.kind in "fiu" for x in (state["x"], *state["carry"].values())):
        raise ValueError("it holds no state")
    if not np.isfinite(state["x"]).all() or not isinstance(state["run"], str):
        raise ValueError("its state is not finite, or of no run")
