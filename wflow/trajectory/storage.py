"""The bytes of a trajectory: changes of structure that happen whole or not at all, and what HDF5 sees of them.

HDF5 sees a trajectory through a :class:`Content` and never opens the file itself, so that none of its locks are taken
or looked at. A change of structure, such as more room, stays in memory until HDF5 has finished; then it is written to
``PATH.journal``, into the file, and the journal is removed. Whoever finds a whole journal has the change, whoever finds
half of one does not.
"""

from __future__ import annotations

__all__ = [
    "Content",
    "bytes_of",
    "edited",
    "fsync_folder",
    "journal_path",
    "new_file",
    "opened",
    "read_journal",
    "recover",
    "write_at",
]

import contextlib
import io
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_regular
from wflow.errors import InputError

Change = tuple[int, bytes]

#: Objects and indexes of chunks with checksums, in a file that any HDF5 since 1.10 reads. The superblock is older: with
#: that of 1.10, HDF5 refuses to open a file whose writer was killed.
SUPERBLOCK = ("v108", "v108")
#: How HDF5 changes a file. Numbers do not cross the pages of the memory, so that a write of a count is never half done.
CHANGES: dict[str, Any] = {"libver": ("v110", "v110"), "alignment_threshold": 1, "alignment_interval": 8}
MAGIC = b"wflow-journal\n"
#: How a global heap begins, in which HDF5 keeps texts: the one structure without a checksum.
HEAP = b"GCOL\x01\0\0\0"
#: The longest read of HDF5 that begins a heap; it reads the first 4096 bytes, perhaps with what is before them.
METADATA = 2**20


class Content(io.RawIOBase):
    """The bytes of an open file, None for an empty one, with changes on top of them that stay in memory."""

    def __init__(
        self,
        descriptor: int | None,
        changes: Sequence[Change] = (),
        size: int | None = None,
        writable: bool = False,
    ) -> None:
        self.descriptor, self._changes, self._writable = descriptor, list(changes), writable
        self.size = size if size is not None else 0 if descriptor is None else os.fstat(descriptor).st_size
        self._place = 0
        self._heaps: set[int] = set()

    def readable(self) -> bool:
        """HDF5 asks."""
        return True

    def seekable(self) -> bool:
        """HDF5 asks."""
        return True

    def writable(self) -> bool:
        """HDF5 asks."""
        return self._writable

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a place."""
        self._place = offset + (0, self._place, self.size)[whence]
        return self._place

    def tell(self) -> int:
        """The present place."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read at the present place; what is beyond the end is zero."""
        target, begin = memoryview(buffer).cast("B"), self._place
        self._read(begin, target)
        if len(target) <= METADATA and (start := bytes(target).find(HEAP)) >= 0:
            self._check_heap(begin + start)
        self._place = begin + len(target)
        return len(target)

    def _read(self, begin: int, target: memoryview) -> None:
        end, found = begin + len(target), 0
        while self.descriptor is not None and found < len(target):
            data = os.pread(self.descriptor, min(len(target) - found, 2**30), begin + found)
            if not data:
                break
            target[found : found + len(data)] = data
            found += len(data)
        if found < len(target):
            target[found:] = bytes(len(target) - found)
        for offset, data in self._changes:
            low, high = max(begin, offset), min(end, offset + len(data))
            if low < high:
                target[low - begin : high - begin] = data[low - offset : high - offset]

    def _check_heap(self, begin: int) -> None:
        """Raise OSError for a heap with an object of no length, or one that leaves it: HDF5 would read it for ever.

        What HDF5 reads may end anywhere in a heap, even in its first line.
        """
        if begin in self._heaps:
            return
        self._heaps.add(begin)
        head = bytearray(16)
        self._read(begin, memoryview(head))
        size = int.from_bytes(head[8:16], "little")
        if not 4096 <= size <= self.size - begin:
            raise OSError("a global heap has a wrong length")
        heap = bytearray(size)
        self._read(begin, memoryview(heap))
        place = 16
        while place + 16 <= size:
            index = int.from_bytes(heap[place : place + 2], "little")
            length = int.from_bytes(heap[place + 8 : place + 16], "little")
            need = 16 + -(-length // 8) * 8 if index else length
            if need < 16 or place + need > size:
                raise OSError("a global heap has an object of a wrong length")
            place += need

    def write(self, data: Any) -> int:
        """Change the bytes at the present place."""
        self._changes.append((self._place, bytes(data)))
        self._place += len(data)
        self.size = max(self.size, self._place)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """End here."""
        self.size = self._place if size is None else size
        return self.size

    def changes(self) -> list[Change]:
        """What is to be written, in pieces that do not overlap."""
        merged: list[list[int]] = []
        for begin, end in sorted((offset, offset + len(data)) for offset, data in self._changes):
            if merged and begin <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([begin, end])
        pieces = []
        for begin, end in merged:
            piece = bytearray(max(0, min(end, self.size) - begin))
            self.seek(begin)
            self.readinto(piece)
            pieces.append((begin, bytes(piece)))
        return pieces


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open HDF5 file for reading, with the change of a journal that nobody has finished."""
    journal = read_journal(path) or {"changes": [], "size": None}
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with Content(descriptor, journal["changes"], journal["size"]) as content, h5py.File(content, "r") as file:
            yield file
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def edited(path: Path, descriptor: int, run: str) -> Iterator[Any]:
    """An open HDF5 file to be changed; the change reaches the file whole at the end, or not at all.

    Parameters
    ----------
    path, descriptor
        The file and its open descriptor.
    run
        The identifier in the file, by which a journal knows it again.
    """
    content = Content(descriptor, writable=True)
    with h5py.File(content, "r+", **CHANGES) as file:
        yield file
    # What is new first, then the superblock, then what leads to the new: a reader meets few things that are not there.
    old_size = os.fstat(descriptor).st_size
    changes = sorted(content.changes(), key=lambda change: (change[0] < old_size, change[0] != 0))
    place = _place_of(descriptor, run)
    about = {"run": run, "place": place, "size": content.size}
    about["changes"] = [[offset, len(data)] for offset, data in changes]
    text = MAGIC + json.dumps(about).encode() + b"\n" + b"".join(data for _, data in changes)
    journal = journal_path(path)
    try:
        os.ftruncate(descriptor, max(old_size, content.size))  # where this fails, nothing has changed
        with open(journal, "wb") as stream:
            stream.write(text + zlib.crc32(text).to_bytes(4, "little"))
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        journal.unlink(missing_ok=True)
        raise
    _apply(descriptor, changes, content.size)
    journal.unlink()


def new_file() -> Content:
    """An empty HDF5 file in memory."""
    content = Content(None, writable=True)
    with h5py.File(content, "w", libver=SUPERBLOCK):
        pass
    return content


def _apply(descriptor: int, changes: Sequence[Change], size: int) -> None:
    os.ftruncate(descriptor, size)
    for offset, data in changes:
        write_at(descriptor, data, offset)
    os.fsync(descriptor)


def bytes_of(array: NDArray[Any]) -> memoryview:
    """The bytes of an array, in the order of its entries."""
    view: memoryview = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return view


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of the data at a place of a file."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)


def _place_of(descriptor: int, run: str) -> int:
    """Where a file has its identifier."""
    head, place, step = run.encode(), 0, 2**20
    while block := os.pread(descriptor, step + len(head), place):
        if (found := block.find(head)) >= 0:
            return place + found
        place += step
    raise OSError("the file has lost its identifier")


def journal_path(path: Path) -> Path:
    """Where a change of structure is written before it is made."""
    return path.with_name(f"{path.name}.journal")


def read_journal(path: Path) -> dict[str, Any] | None:
    """The change that a journal holds; None where there is none, where it is not whole, and for another file.

    Raises
    ------
    InputError
        For a file of this name that is no journal.
    """
    journal = journal_path(path)
    check_regular(journal, "and no journal")
    try:
        text = journal.read_bytes()
    except FileNotFoundError:
        return None
    if not text.startswith(MAGIC[: len(text)]):
        raise InputError(f"{journal} is in the way: it is no journal of {path.name}; move it")
    body, check = text[:-4], text[-4:]
    if not body.startswith(MAGIC) or zlib.crc32(body).to_bytes(4, "little") != check:
        return None
    line, _, data = body[len(MAGIC) :].partition(b"\n")
    try:
        about: dict[str, Any] = json.loads(line)
        run, place, size = str(about["run"]).encode(), int(about["place"]), int(about["size"])
        with open(path, "rb") as stream:
            length = os.fstat(stream.fileno()).st_size
            stream.seek(min(max(place, 0), length))
            if place < 0 or stream.read(len(run)) != run:
                return None
        changes = _changes_of(about["changes"], data, size)
        if size > 2 * length + 2**30:  # no room is made for as much
            raise ValueError("it makes the file too long")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise InputError(f"{journal} is damaged: {' '.join(str(error).split())[:200]}; move it") from None
    return {"changes": changes, "size": size}


def _changes_of(places: Any, data: bytes, size: int) -> list[Change]:
    """The changes of a journal, which must have their data and lie within the file."""
    changes, begin = [], 0
    for offset, length in places:
        if min(offset, length) < 0 or offset + length > size or begin + length > len(data):
            raise ValueError("it has a change outside the file")
        changes.append((offset, data[begin : begin + length]))
        begin += length
    return changes


def recover(path: Path, descriptor: int) -> None:
    """Finish the change of a journal that a killed writer has left; call with the lock."""
    if (journal := read_journal(path)) is not None:
        _apply(descriptor, journal["changes"], journal["size"])
    journal_path(path).unlink(missing_ok=True)


def fsync_folder(path: Path) -> None:
    """Force the entry of a file in its folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
