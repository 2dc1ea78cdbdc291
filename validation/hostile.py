"""Trajectories made to harm whoever reads them, with right checksums wherever their maker could make them right.

Each is a function that changes the whole trajectory ``particles`` of :mod:`validation.damage` in a folder. It must be
refused by everything, or, where it is in :data:`HARMLESS`, be read with the values of the whole file.
"""

from __future__ import annotations

__all__ = ["HARMLESS", "HOSTILE", "judged"]

import io
import json
import os
import socket
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from validation import damage
from wflow.solution import SERIES
from wflow.trajectory import storage
from wflow.trajectory.checkpoint import _checksum
from wflow.trajectory.layout import set_texts, write_values
from wflow.trajectory.reader import row_checksums

Change = Callable[..., Any]
#: What was made by hand, by name; and those that must be read as if nothing were.
HOSTILE: dict[str, Change] = {}
HARMLESS: set[str] = set()
BEYOND = 10**18


def judged(change: Change, made: Mapping[str, Any]) -> tuple[Callable[[Path], Path], Callable[[Path], damage.Outcome]]:
    """How a file is made, and how it is judged."""
    name = next(name for name, entry in HOSTILE.items() if entry is change)
    victim = made["version 2" if "version 2" in name else "killed" if "killed" in name else "particles"]

    def write(folder: Path) -> Path:
        path: Path = victim.write(folder)
        change(path)
        return path

    def judge(path: Path) -> damage.Outcome:
        harmless = name in HARMLESS
        outcome = damage.judge(path, victim if harmless else replace(victim, checked=False))
        want = "equal" if harmless else "refused"
        if not outcome.fault and outcome.result != want:
            return damage.Outcome("fault", f"it is {outcome.result}, not {want}")
        if want == "refused" and "resume" not in outcome.refused:
            return damage.Outcome("fault", f"only {outcome.refused} refuses it")
        return outcome

    return write, judge


def hand(name: str, harmless: bool = False) -> Callable[[Change], Change]:
    """Enter a change of the folder of a trajectory."""

    def enter(change: Change) -> Change:
        HOSTILE[name] = change
        HARMLESS.update({name} if harmless else ())
        return change

    return enter


def edit(name: str, harmless: bool = False) -> Callable[[Change], Change]:
    """Enter a change of the open file."""

    def enter(change: Change) -> Change:
        def changed(path: Path) -> None:
            with h5py.File(path, "r+") as file:
                file.attrs["folder"] = str(path.parent)
                change(file)

        hand(name, harmless)(changed)
        return change

    return enter


def outside(file: Any, name: str) -> str:
    """A file beside the trajectory that must not be read: with a dataset x, or a pipe."""
    path = Path(file.attrs["folder"]) / name
    if name == "pipe":
        os.mkfifo(path)
    else:
        with h5py.File(path, "w") as other:
            other["x"] = np.full(9, 42.0)
    return str(path)


# Links and numbers that stand elsewhere

PLACES = ("series/energy", "series", "frames/w", "frames", "problem/energy/dataset/tokens", "problem", "series/count")


def replaced(file: Any, place: str, by: Any) -> None:
    """Another link in the place of something."""
    del file[place]
    file[place] = by


for place in PLACES:
    edit(f"links: external, {place}")(lambda f, p=place: replaced(f, p, h5py.ExternalLink(outside(f, "other.h5"), "x")))
    edit(f"links: external, to a pipe, {place}")(
        lambda f, p=place: replaced(f, p, h5py.ExternalLink(outside(f, "pipe"), "x"))
    )
    edit(f"links: soft, {place}")(lambda f, p=place: replaced(f, p, h5py.SoftLink("/series/risk")))
    edit(f"links: soft, to itself, {place}")(lambda f, p=place: replaced(f, p, h5py.SoftLink("/" + p)))
    edit(f"links: hard, to the root, {place}")(lambda f, p=place: replaced(f, p, f["/"]))


@edit("links: the observed quantities are their group")
def _(file: Any) -> None:
    file["series/observed/loop"] = file["series"]


@edit("links: the problem is an observer of itself")
def _(file: Any) -> None:
    file["problem/observe/loop"] = file["problem"]


DATASETS = ("series/energy", "series/count", "frames/w", "frames/t", "problem/energy/dataset/tokens")


def remade(file: Any, place: str, shape: Any = None, dtype: Any = None, **options: Any) -> Any:
    """A new dataset in the place of another."""
    old = file[place]
    shape, dtype = old.shape if shape is None else shape, dtype or old.dtype
    del file[place]
    return file.create_dataset(place, shape, dtype, **options)


def virtual(file: Any, place: str, source: str, name: str) -> None:
    """A virtual dataset."""
    shape, dtype = file[place].shape, file[place].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(source, name, shape)
    del file[place]
    file.create_virtual_dataset(place, layout)


for place in DATASETS:
    edit(f"elsewhere: raw file, {place}")(
        lambda f, p=place: remade(f, p, external=[(outside(f, "other.h5"), 0, h5py.h5f.UNLIMITED)])
    )
    edit(f"elsewhere: raw pipe, {place}")(
        lambda f, p=place: remade(f, p, external=[(outside(f, "pipe"), 0, h5py.h5f.UNLIMITED)])
    )
    if place != "series/count":
        edit(f"elsewhere: virtual, {place}")(lambda f, p=place: virtual(f, p, outside(f, "other.h5"), "x"))
        edit(f"elsewhere: virtual, of itself, {place}")(lambda f, p=place: virtual(f, p, ".", p))


# Pipes and folders beside and instead of the files


def beside(path: Path, end: str, kind: str) -> None:
    """Something that is no file in the place of one."""
    place = path.with_name(path.name + end)
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "link to itself":
        place.symlink_to(place)
    else:
        here = os.getcwd()
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place.name)
        os.chdir(here)


for kind in ("pipe", "folder", "socket", "link to itself"):
    for end in ("", ".resume", ".journal"):
        hand(f"pipes: a {kind} as {end or 'trajectory'}")(partial(beside, end=end, kind=kind))
    hand(f"pipes: a {kind} as .lock, killed")(partial(beside, end=".lock", kind=kind))


# Counts and shapes

for count in (-1, 0, BEYOND, -(2**63), 10):
    for group in ("series", "frames"):
        edit(f"counts: {count} {group}")(lambda f, g=group, c=count: f[f"{g}/count"].__setitem__((), c))
for kind, value in {
    "text": "3",
    "numbers": [3, 3],
    "a fraction": 2.5,
    "NaN": np.nan,
    "nothing": h5py.Empty("i8"),
}.items():

    @edit(f"counts: {kind}")
    def _(file: Any, value: Any = value) -> None:
        del file["series/count"]
        file["series/count"] = value


HUGE = {"series/energy": (10**12,), "series/tau": (10**12,), "frames/w": (10**9, 2, 4, 4), "frames/t": (10**12,)}
HUGE |= {"frames/tau": (10**12,), "problem/energy/dataset/tokens": (10**9, 2, 3), "frames/theta": (9, 2, 10**8, 8)}
for place, shape in HUGE.items():
    edit(f"shapes: sparse, {place}")(
        lambda f, p=place, s=shape: remade(f, p, s, chunks=(1,) * len(s), maxshape=(None,) * len(s))
    )
    edit(f"shapes: compressed, sparse, {place}")(
        lambda f, p=place, s=shape: remade(f, p, s, chunks=(1,) * len(s), compression=1)
    )
    edit(f"shapes: without numbers, {place}")(lambda f, p=place, s=shape: remade(f, p, s))
    edit(f"shapes: a number alone, {place}")(lambda f, p=place, s=shape: remade(f, p, ()))
    edit(f"shapes: no entries, {place}")(lambda f, p=place, s=shape: remade(f, p, (0,) * len(s)))


def pipeline(file: Any, place: str, shape: Any, chunk: Any, filters: Callable[[Any], None], **options: Any) -> None:
    """A dataset of zeros behind filters, which take next to no room in the file."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk(chunk)
    filters(creation)
    old = file[place]
    del file[place]
    space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(old.dtype)
    data = h5py.Dataset(h5py.h5d.create(file.id, place.encode(), kind, space, creation))
    data[...] = np.zeros(shape, data.dtype)


LARGE = (9, 2, 10**5, 4)


def twice(creation: Any) -> None:
    """Deflate, two times."""
    creation.set_deflate(9)
    creation.set_deflate(9)


BOMBS = {
    "deflate": lambda creation: creation.set_deflate(9),
    "deflate twice": twice,
    "scale-offset": lambda creation: creation.set_scaleoffset(h5py.h5z.SO_FLOAT_DSCALE, 3),
    "lzf": lambda creation: creation.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL),
}
for name, filters in BOMBS.items():
    edit(f"bombs: {name}, frames")(lambda f, filters=filters: pipeline(f, "frames/w", LARGE, (1, *LARGE[1:]), filters))
    edit(f"bombs: {name}, data set")(
        lambda f, filters=filters: pipeline(f, "problem/energy/dataset/tokens", (3, 2, 10**6), (1, 2, 10**6), filters)
    )


@edit("bombs: an attribute of many texts", harmless=True)
def _(file: Any) -> None:
    file.attrs.create("many", ["x" * 10**4] * 100, dtype=h5py.string_dtype())


@edit("bombs: one array many times in a description")
def _(file: Any) -> None:
    big = write_values(file["problem"], "energy/big", np.zeros(10**6))
    assert big.size
    described(file, "problem/energy", lambda d: {**d, "more": [{"kind": "array", "dataset": "energy/big"}] * 2000})


# Types

KINDS = {
    "text": h5py.string_dtype(),
    "fixed text": "S8",
    "pairs": np.dtype([("a", "f8"), ("b", "f8")]),
    "references": h5py.ref_dtype,
    "lists": h5py.vlen_dtype("f8"),
    "complex": "c16",
    "bytes": "V8",
    "dates": h5py.opaque_dtype(np.dtype("M8[s]")),
    "short floats": "f2",
    "the other end first": ">f8",
    "long floats": np.longdouble,
    "arrays": np.dtype("(2,)f8"),
}
for name, kind in KINDS.items():
    for place in ("series/energy", "frames/w", "frames/t", "frames/tau", "problem/energy/dataset/tokens"):
        edit(f"types: {name}, {place}")(lambda f, p=place, k=kind: remade(f, p, dtype=k, chunks=True))


def sealed(file: Any) -> None:
    """Checksums of series and frames that fit whatever is there."""
    columns = [file["series"][name] for name in SERIES] + [data for _, data in sorted(file["series/observed"].items())]
    file["series/crc32"][...] = row_checksums(np.column_stack([data[()].astype("f8") for data in columns]))
    blocks, frames = json.loads(file["frames"].attrs["blocks"]), file["frames"]
    for i in range(frames["count"][()]):
        total = zlib.crc32(np.float64(frames["tau"][i]).tobytes())
        for name in blocks:
            total = zlib.crc32(storage.bytes_of(frames[name][i]), total)
        frames["crc32"][i] = total


for name, value in {"NaN": np.nan, "infinity": np.inf}.items():
    for place in ("series/tau", "frames/tau", "frames/w"):

        @edit(f"values: {name}, {place}")
        def _(file: Any, place: str = place, value: float = value) -> None:
            file[place][-1] = value
            sealed(file)

    for place in ("frames/t", "frames/depth_weights", "problem/energy/dataset/tokens", "problem/energy/dataset/labels"):

        @edit(f"values: {name}, {place}")
        def _(file: Any, place: str = place, value: float = value) -> None:
            values = file[place][()]
            values[-1] = value
            del file[place]
            write_values(file, place, values)


@edit("values: times of the series fall")
def _(file: Any) -> None:
    file["series/tau"][...] = file["series/tau"][()][::-1]
    sealed(file)


# Texts with right checksums

DEEP = "[" * 200_000 + "]" * 200_000
DEEP_KINDS = '{"kind": "SumEnergy", "terms": [' * 5000 + "]}" * 5000
JSONS = {"no JSON": "{", "a list": "[]", "a number": "3", "null": "null", "deep": DEEP, "an empty object": "{}"}
JSONS |= {"NaN": "NaN", "deep kinds": DEEP_KINDS, "a text": '"text"', "huge number": "9" * 5000}
TEXTS: dict[str, tuple[str, ...]] = {
    "/": ("config",),
    "problem/energy": ("description",),
    "problem/observe/heldout": ("description",),
}
TEXTS |= {"frames": ("blocks", "measure")}
for place, names in TEXTS.items():
    for name in names:
        for words, text in JSONS.items():
            edit(f"JSON: {words}, {place} {name}")(lambda f, p=place, n=name, t=text: set_texts(f[p], {n: t}))
for name in ("stats", "versions", "argv"):
    for words, text in JSONS.items():
        if (name, words) not in {("stats", "an empty object"), ("versions", "an empty object"), ("argv", "a list")}:
            edit(f"JSON: {words}, {name}")(lambda f, n=name, t=text: set_texts(f, {n: t}))
for name in ("status", "message", "config", "checksums", "run", "format", "format_version"):
    edit(f"texts: without {name}")(lambda f, n=name: f.attrs.__delitem__(n))
    for kind, value in {"number": 3, "list": ["a", "b"], "bytes": np.bytes_(b"run"), "float": 3.5}.items():
        if (name, kind) != ("format_version", "number"):
            edit(f"texts: {name} is a {kind}")(lambda f, n=name, v=value: f.attrs.__setitem__(n, v))
for value in (0, -1, 4, 10**9, 2**63 - 1, "3", [3, 3], 3.0, np.nan, True):
    edit(f"texts: format_version {value}")(lambda f, v=value: f.attrs.__setitem__("format_version", v))
edit("texts: a bogus status")(lambda f: set_texts(f, {"status": "bogus"}))
edit("texts: stats with texts")(lambda f: set_texts(f, {"stats": json.dumps({"rejected": "no", "seconds_solve": "x"})}))
edit("texts: argv of numbers")(lambda f: set_texts(f, {"argv": "[1, 2]"}))
edit("texts: versions of lists")(lambda f: set_texts(f, {"versions": '{"wflow": [1]}'}))


# Descriptions with right checksums


def described(file: Any, place: str, change: Callable[[Any], Any], name: str = "description") -> None:
    """Another description."""
    set_texts(file[place], {name: json.dumps(change(json.loads(file[place].attrs[name])))})


ENERGY: dict[str, Change] = {
    "an unknown argument of text": lambda d: {**d, 3: 4, "weight_decay": "much"},
    "10**9 layers": lambda d: {**d, "layers": 10**9},
    "10**6 layers": lambda d: {**d, "layers": 10**6},
    "10**18 layers": lambda d: {**d, "layers": 10**18},
    "3 layers": lambda d: {**d, "layers": 3},
    "no layers": lambda d: {**d, "layers": 0},
    "layers of text": lambda d: {**d, "layers": "2"},
    "10**9 hidden units": lambda d: {**d, "feedforward": {"kind": "feedforward", "hidden": 10**9}},
    "2 hidden units": lambda d: {**d, "feedforward": {"kind": "feedforward", "hidden": 2}},
    "a head of rank 10**9": lambda d: {**d, "attention": {"kind": "attention", "factored": True, "rank": 10**9}},
    "an infinite weight decay": lambda d: {**d, "weight_decay": float("inf")},
    "no data set": lambda d: {**d, "dataset": None},
    "an encoder for a data set": lambda d: {**d, "dataset": d["feedforward"]},
    "a scheme": lambda d: {"kind": "heun"},
    "times of frames": lambda d: {"kind": "SaveAt", "every": 1.0},
    "a list": lambda d: [d],
    "a sum of nothing": lambda d: {"kind": "SumEnergy", "terms": []},
    "a sum of texts": lambda d: {"kind": "SumEnergy", "terms": ["a", 3]},
    "a sum of no list": lambda d: {"kind": "SumEnergy", "terms": 3},
    "items that are no pairs": lambda d: {"kind": "dict", "items": [1, 2]},
    "items with lists for keys": lambda d: {"kind": "dict", "items": [[{"a": 1}, 2]]},
    "a kind that is a list": lambda d: {"kind": ["a"]},
    "a mesh of 10**9 cells": lambda d: {
        "kind": "BlobEnergy",
        "internal": {"kind": "Entropy", "sigma": 1.0},
        "epsilon": 0.1,
        "box": {"w": [[0, 1]] * 2},
        "cells": 10**9,
    },
    "another energy": lambda d: {"kind": "Entropy", "sigma": 0.5},
}
for name in ("/series/tau", "../series/tau", "energy/../energy", "", ".", "energy", "energy\0x", "x" * 10**5):
    ENERGY[f"an array that is {name!r:.30}"] = lambda d, n=name: {**d, "dataset": {"kind": "array", "dataset": n}}
for value in (3, None, ["a"], {"a": 1}):
    ENERGY[f"an array that is {value}"] = lambda d, v=value: {**d, "dataset": {"kind": "array", "dataset": v}}
for name, change in ENERGY.items():
    edit(f"descriptions: {name}")(lambda f, c=change: described(f, "problem/energy", c))

OBSERVED: dict[str, Any] = {
    "an energy": {"kind": "Entropy", "sigma": 0.5},
    "a reference to elsewhere": {"kind": "reference", "to": ["energy"]},
    "the energy itself": {"kind": "reference", "to": "energy"},
    "a text": "risk",
    "of another data set": {"kind": "risk", "objective": {"kind": "reference", "to": "energy"}, "dataset": "x"},
}
for name, value in OBSERVED.items():
    edit(f"descriptions: observed is {name}")(lambda f, v=value: described(f, "problem/observe/heldout", lambda d: v))
CONFIG: dict[str, Any] = {
    "tau_range": [None, 3, [1, 2, 3], ["a", "b"], [float("nan"), 1.0], [0.0, float("inf")], [1.0, 0.0]],
    "scheme": [None, "heun", {"kind": "FeedForward"}, {"kind": "feedforward"}, {"kind": "Entropy", "sigma": 1.0}, 3],
    "controller": [None, "x", {"kind": "heun"}, {"kind": "Fixed", "dtau": -1.0}, {"kind": "Fixed", "dtau": "x"}, []],
    "save": ["x", 3, {"kind": "heun"}, {"kind": "SaveAt"}, {"kind": "SaveAt", "every": -1}, {"every": 1}, []],
    "tol": [None, "x", -1.0, float("nan"), []],
    "seed": ["x", -1, 2.5, [], 2**200],
}
for name, values in CONFIG.items():
    edit(f"settings: without {name}")(
        lambda f, n=name: described(f, "/", lambda d: {k: v for k, v in d.items() if k != n}, "config")
    )
    for value in values:
        edit(f"settings: {name} {value}")(lambda f, n=name, v=value: described(f, "/", lambda d: {**d, n: v}, "config"))
edit("settings: more of them")(lambda f: described(f, "/", lambda d: {**d, "more": 1}, "config"))
edit("settings: observe twice")(lambda f: described(f, "/", lambda d: {**d, "observe": 1}, "config"))


# Structure

for blocks in (
    ["w"],
    ["theta"],
    ["w", "w"],
    ["theta", "w", "t"],
    ["tau"],
    [3],
    ["../w"],
    [],
    {"w": 1},
    ["observed"],
    "w",
):
    edit(f"structure: blocks {blocks}")(lambda f, b=blocks: set_texts(f["frames"], {"blocks": json.dumps(b)}))
edit("structure: a grid without boxes")(lambda f: set_texts(f["frames"], {"measure": "grid"}))


@edit("structure: particles in other slices than the objective")
def _(file: Any) -> None:
    for name, shape in {"w": (9, 3, 4, 4), "theta": (9, 3, 3, 8)}.items():
        del file["frames"][name]
        file["frames"][name] = np.ones(shape)
    for name, values in {"t": np.arange(3) / 3, "depth_weights": np.full(3, 1 / 3)}.items():
        del file["frames"][name]
        write_values(file["frames"], name, values)
    sealed(file)


@edit("structure: particles of another length than the objective's")
def _(file: Any) -> None:
    n = len(file["frames/tau"])
    del file["frames/w"]
    file["frames/w"] = np.ones((n, 2, 4, 6))
    sealed(file)


@edit("structure: weights of other particles")
def _(file: Any) -> None:
    write_values(file["frames"], "w_weights", np.full((2, 5), 0.2))


@edit("structure: a group among the observed quantities")
def _(file: Any) -> None:
    file.create_group("series/observed/group")


@edit("structure: series are a dataset")
def _(file: Any) -> None:
    del file["series"]
    file["series"] = np.ones(3)


@edit("structure: notes of a user", harmless=True)
def _(file: Any) -> None:
    file.attrs["notes"], file["frames"].attrs["mine"], file.attrs["list"] = "mine", 3, [1, 2]
    file.create_group("mine")["x"] = np.ones(3)


# Bytes


def patched(path: Path, place: int, data: bytes) -> None:
    """Other bytes at a place."""
    content = bytearray(path.read_bytes())
    content[place : place + len(data)] = data
    path.write_bytes(content)


for version in (0, 1, 3, 4, 255):
    hand(f"bytes: superblock of version {version}")(lambda p, v=version: patched(p, 8, bytes([v])))
for byte in (9, 10, 11):
    hand(f"bytes: superblock, byte {byte} is 255")(lambda p, i=byte: patched(p, i, b"\xff"))
hand("bytes: a trajectory within another file")(lambda p: p.write_bytes(bytes(512) + p.read_bytes()))
hand("bytes: an empty file")(lambda p: p.write_bytes(b""))
hand("bytes: a signature alone")(lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n"))


def heaps(path: Path) -> list[int]:
    """Where the file has heaps of texts."""
    content, found, place = path.read_bytes(), [], 0
    while (place := content.find(b"GCOL\x01", place)) >= 0:
        found.append(place)
        place += 4
    return found


def in_heap(path: Path, offset: int, data: bytes) -> None:
    """Other bytes at a place of every heap."""
    for heap in heaps(path):
        patched(path, heap + offset, data)


hand("heaps: an object of no length")(lambda p: in_heap(p, 16, bytes(16)))
hand("heaps: an object of every length")(lambda p: in_heap(p, 24, b"\xff" * 8))
hand("heaps: a length that rounds to nothing")(lambda p: in_heap(p, 24, b"\xf9" + b"\xff" * 7))
hand("heaps: no length")(lambda p: in_heap(p, 8, bytes(8)))
hand("heaps: a length beyond the file")(lambda p: in_heap(p, 8, (2**40).to_bytes(8, "little")))


@hand("heaps: an object of no length beyond the first page")
def _(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        set_texts(file, {f"long {i}": "x" * 3000 for i in range(8)})
    content = path.read_bytes()
    for heap in heaps(path):
        place, size = heap + 16, int.from_bytes(content[heap + 8 : heap + 16], "little")
        while place + 16 <= heap + size:
            if place > heap + 4096:
                return patched(path, place, bytes(16))
            index = int.from_bytes(content[place : place + 2], "little")
            step = int.from_bytes(content[place + 8 : place + 16], "little")
            place += 16 + -(-step // 8) * 8 if index else step
    raise AssertionError("no heap is as long")


def trees(path: Path, change: Callable[[bytearray, int], None]) -> None:
    """A change of every node of trees of the oldest format."""
    content, place = bytearray(path.read_bytes()), 0
    while (place := content.find(b"TREE", place)) >= 0:
        change(content, place)
        place += 4
    path.write_bytes(content)


def to_itself(content: bytearray, place: int) -> None:
    """The first child of a node is the node."""
    content[place + 5] = 1
    content[place + 32 : place + 40] = place.to_bytes(8, "little")


def siblings(content: bytearray, place: int) -> None:
    """The sibling of a node is the node."""
    content[place + 8 : place + 24] = place.to_bytes(8, "little") * 2


hand("bytes: version 2 with trees that are children of themselves")(lambda p: trees(p, to_itself))
hand("bytes: version 2 with trees of level 255")(lambda p: trees(p, lambda c, i: c.__setitem__(i + 5, 255)))
hand("bytes: version 2 with trees that are siblings of themselves", harmless=True)(lambda p: trees(p, siblings))


# Journals


def journal(path: Path, **about: Any) -> None:
    """A whole journal of the file, with other entries."""
    content = path.read_bytes()
    with h5py.File(path) as file:
        run = file.attrs["run"]
    entries: dict[str, Any] = {"run": run, "place": content.find(run.encode()), "size": len(content), "changes": []}
    text = about.pop("text", None) or json.dumps(entries | about).encode()
    text = storage.MAGIC + text + b"\n" + b"data" * 4
    path.with_name(f"{path.name}.journal").write_bytes(text + zlib.crc32(text).to_bytes(4, "little"))


JOURNALS: dict[str, dict[str, Any]] = {
    "far beyond the end": {"changes": [[BEYOND, 4]]},
    "far beyond the end, and large": {"changes": [[2**40, 4]], "size": 2**40 + 4},
    "before the beginning": {"changes": [[-4, 4]]},
    "a negative length": {"changes": [[100, -4]]},
    "longer than its data": {"changes": [[100, 400]]},
    "no pairs": {"changes": [1, 2]},
    "changes that are a number": {"changes": 3},
    "changes of text": {"changes": [["a", "b"]]},
    "a negative size": {"size": -1},
    "an endless size": {"size": BEYOND},
    "a size of text": {"size": "big"},
    "a size that cuts the file": {"size": 100},
    "a place of text": {"place": "a", "changes": [[100, 16]]},
    "no JSON": {"text": b"{"},
    "a list": {"text": b"[]"},
    "deep JSON": {"text": DEEP.encode()},
}
for name, about in JOURNALS.items():
    hand(f"journals: {name}")(lambda p, a=about: journal(p, **a))
HARMLESS_JOURNALS: dict[str, dict[str, Any]] = {
    "of another run": {"run": "0" * 32, "changes": [[100, 16]]},
    "of a place before the file": {"place": -5, "changes": [[100, 16]]},
    "of a place beyond the file": {"place": BEYOND, "changes": [[100, 16]]},
    "without changes": {},
}
for name, about in HARMLESS_JOURNALS.items():
    hand(f"journals: {name}", harmless=True)(lambda p, a=about: journal(p, **dict(a)))
hand("journals: a file of someone else")(lambda p: p.with_name(f"{p.name}.journal").write_text("precious"))


# Checkpoints


def checkpoint(path: Path, arrays: Mapping[str, Any] | None = None, compress: bool = False, **meta: Any) -> None:
    """A checkpoint with other entries and a right checksum."""
    place = path.with_name(f"{path.name}.resume")
    with np.load(place) as archive:
        old = {name: archive[name] for name in archive}
    about = {name: x for name, x in (json.loads(str(old.pop("meta"))) | meta).items() if x is not ...}
    old |= dict(arrays or {})
    about["crc32"] = _checksum(about, old) if all(x.dtype.kind != "O" for x in old.values()) else 0
    stream = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(stream, meta=np.array(json.dumps(about)), **old)
    place.write_bytes(stream.getvalue())


STATES: dict[str, dict[str, Any]] = {
    "h NaN": {"h": float("nan")},
    "h negative": {"h": -1.0},
    "h infinite": {"h": float("inf")},
    "h a text": {"h": "x"},
    "h a boolean": {"h": True},
    "tau NaN": {"tau": float("nan")},
    "tau of a text": {"tau": "0.5"},
    "tau before the start": {"tau": -1e300},
    "tau infinite": {"tau": float("-inf")},
    "another tau": {"tau": 0.3},
    "memory of a text": {"memory": "x"},
    "largest step of a list": {"h_largest": []},
    "largest step infinite": {"h_largest": float("inf")},
    "dissipated of a text": {"dissipated": "x"},
    "energy infinite": {"energy0": float("inf")},
    "last frame of a text": {"last_frame": "x"},
    "crawled of a text": {"crawled": "x"},
    "entries -1": {"n_series": -1},
    "entries 10**18": {"n_series": BEYOND, "steps": BEYOND - 1},
    "frames 10**18": {"n_frames": BEYOND},
    "frames 0": {"n_frames": 0},
    "steps that are no entries": {"steps": 3},
    "steps 2.5": {"steps": 2.5},
    "notes that are no numbers": {"notes": {"a": "b"}},
    "notes of a list": {"notes": [1]},
    "no run": {"run": ...},
    "a run of a number": {"run": 3},
    "another run": {"run": "0" * 32},
    "no h": {"h": ...},
    "x NaN": {"arrays": {"x": np.full(56 + 24, np.nan)}},
    "x of another size": {"arrays": {"x": np.ones(7)}},
    "x a number": {"arrays": {"x": np.float64(1.0)}},
    "x complex": {"arrays": {"x": np.ones(80) * 1j}},
    "x of text": {"arrays": {"x": np.array(["a"] * 80)}},
    "x in another precision": {"arrays": {"x": np.ones(80, "f4")}},
    "x of objects": {"arrays": {"x": np.array([print] * 80, object)}},
    "a bomb": {"arrays": {"carry_big": np.zeros(10**8)}, "compress": True},
    "a carry of text": {"arrays": {"carry_x": np.array("x")}},
}
for name, state in STATES.items():
    hand(f"checkpoints: {name}")(lambda p, s=state: checkpoint(p, **s))


def archived(path: Path, members: Mapping[str, bytes], way: int = zipfile.ZIP_STORED) -> None:
    """A checkpoint of these members."""
    with zipfile.ZipFile(path.with_name(f"{path.name}.resume"), "w", way) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def header(text: str, data: bytes = b"") -> bytes:
    """An array of numpy with this header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


HEADERS = {
    "an endless shape": "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}\n",
    "a large shape": "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,)}\n",
    "a negative shape": "{'descr': '<f8', 'fortran_order': False, 'shape': (-5,)}\n",
    "no header": "{'descr'",
    "a header of no tokens": "'''\n(",
    "a header that is deep": "(" * 9000 + ")" * 9000,
    "a type of no name": "{'descr': 'zz', 'fortran_order': False, 'shape': ()}\n",
    "a long text": "{'descr': '<U1000000000', 'fortran_order': False, 'shape': ()}\n",
}
for name, text in HEADERS.items():
    hand(f"checkpoints: {name}")(lambda p, t=text: archived(p, {"meta.npy": header(t), "x.npy": header(t)}))
hand("checkpoints: no archive")(lambda p: p.with_name(f"{p.name}.resume").write_bytes(b"x" * 999))
hand("checkpoints: one array")(lambda p: p.with_name(f"{p.name}.resume").write_bytes(header("{}")))
hand("checkpoints: an empty archive")(lambda p: archived(p, {}))
hand("checkpoints: members that are no arrays")(lambda p: archived(p, {"meta.npy": b"{}", "x": b"x"}))
hand("checkpoints: an archive of lzma")(lambda p: archived(p, {"meta.npy": bytes(999)}, zipfile.ZIP_LZMA))
