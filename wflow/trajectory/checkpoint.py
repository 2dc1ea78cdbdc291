"""The checkpoint ``PATH.resume``: the state from which a run goes on, in a file that is only ever replaced whole."""

from __future__ import annotations

__all__ = ["State", "is_checkpoint", "load_checkpoint", "resume_path", "save_checkpoint", "scratch_path"]

import json
import math
import os
import shutil
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from wflow.checks import check_regular
from wflow.errors import InputError
from wflow.plain import describe
from wflow.trajectory.reader import DAMAGE, read
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
    run, version = read(path, lambda file: (str(file.attrs["run"]), int(file.attrs["format_version"])))
    try:
        with np.load(place, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive if name != "meta"}
            meta: dict[str, Any] = json.loads(str(archive["meta"]))
        if (version > 2 or "crc32" in meta) and _checksum(meta, arrays) != meta["crc32"]:  # earlier ones had none
            raise ValueError("its checksum does not fit")
        carry = {name.removeprefix("carry_"): array for name, array in arrays.items() if name.startswith("carry_")}
        state = meta | {"x": arrays["x"], "carry": carry}
        _check_state(state)
    except FileNotFoundError:
        raise InputError(f"{path} cannot be resumed: its checkpoint {place} is missing") from None
    except DAMAGE as error:
        raise InputError(f"{path} cannot be resumed: its checkpoint {place} is damaged: {error}") from None
    if state["run"] != run:
        raise InputError(f"{path} cannot be resumed: its checkpoint {place} belongs to another run")
    return state


def is_checkpoint(place: Path) -> bool:
    """Whether a file is a checkpoint of some run, and nobody's treasure."""
    try:
        with np.load(place, allow_pickle=False) as archive:
            return "run" in json.loads(str(archive["meta"]))
    except DAMAGE:
        return False


def _check_state(state: State) -> None:
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
