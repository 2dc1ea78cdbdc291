"""Access to what is in a trajectory that may be damaged or made to harm.

Only groups and datasets that are in the file itself are read, only numbers and texts, and no more of them than the file
has bytes for; what has a checksum is compared with it. Whatever does not fit is a ValueError.
"""

from __future__ import annotations

__all__ = ["dataset_of", "group_of", "has", "text_of", "values_of", "version_of"]

import json
import zlib
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wflow.trajectory.storage import bytes_of

#: Compressed data are at most so many times as long as what is stored: deflate cannot do more.
DEFLATE = 1100


def version_of(thing: Any) -> int:
    """The version of the format of the file in which something is."""
    return int(thing.file.attrs["format_version"])


def has(group: Any, name: str) -> bool:
    """Whether a group has a member of this name; h5py itself would follow a link."""
    return bool(group.id.links.exists(name.encode()))


def _member(group: Any, path: str, kind: type) -> Any:
    for name in path.split("/"):
        if not isinstance(group, h5py.Group) or not has(group, name):
            raise ValueError(f"{path} is missing")
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{path} is a link to elsewhere")
        group = group[name]
    if not isinstance(group, kind):
        raise ValueError(f"{path} is no {kind.__name__.lower()}")
    return group


def group_of(group: Any, path: str) -> Any:
    """A group within a group."""
    return _member(group, path, h5py.Group)


def dataset_of(group: Any, path: str) -> Any:
    """A dataset of numbers within a group, none of which stands in another file or dataset."""
    data = _member(group, path, h5py.Dataset)
    creation = data.id.get_create_plist()
    if creation.get_layout() == h5py.h5d.VIRTUAL or creation.get_external_count():
        raise ValueError(f"{path} has its numbers elsewhere")
    if data.shape is None or data.dtype.kind not in "fiub":
        raise ValueError(f"{path} holds no numbers")
    stored = data.id.get_storage_size() * (DEFLATE if creation.get_nfilters() else 1)
    if stored < data.size * data.dtype.itemsize:
        raise ValueError(f"{path} has {data.size} entries, but not their bytes")
    return data


def values_of(group: Any, path: str) -> NDArray[Any]:
    """All of a dataset that was written once and for all."""
    data = dataset_of(group, path)
    values: NDArray[Any] = np.asarray(data[()])
    if version_of(group) > 2 and zlib.crc32(bytes_of(values)) != data.attrs["crc32"]:
        raise ValueError(f"the checksum of {path} does not fit")
    return values


def text_of(thing: Any, name: str) -> str:
    """A text among the attributes of something."""
    text = thing.attrs[name]
    if not isinstance(text, str):
        raise ValueError(f"the attribute {name} is no text")
    if version_of(thing) > 2 and zlib.crc32(text.encode()) != json.loads(thing.attrs["checksums"])[name]:
        raise ValueError(f"the checksum of the attribute {name} does not fit")
    return text
