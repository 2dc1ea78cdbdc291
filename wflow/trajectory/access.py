"""Access to what is in a trajectory that may be damaged or made to harm.

Only groups and datasets that are in the file itself are read, only numbers and texts, and no more of them than the file
has bytes for; what has a checksum is compared with it. Whatever does not fit is a ValueError.
"""

from __future__ import annotations

__all__ = ["attribute_of", "attributes_of", "dataset_of", "group_of", "has", "text_of", "values_of", "version_of"]

import json
import math
import zlib
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wflow.trajectory.storage import bytes_of

#: Compressed data are at most so many times as long as what is stored: deflate cannot do more, once.
DEFLATE = 1100
#: Filters of which this is known; each other one, also one that HDF5 would load from elsewhere, is refused.
FILTERS = {h5py.h5z.FILTER_DEFLATE: DEFLATE, h5py.h5z.FILTER_SHUFFLE: 1, h5py.h5z.FILTER_FLETCHER32: 1}


def version_of(thing: Any) -> int:
    """The version of the format of the file in which something is."""
    return int(attribute_of(thing.file, "format_version"))


def attribute_of(thing: Any, name: str) -> Any:
    """A text or an integer among the attributes; None for anything else, which is not read, and where there is none.

    A list of texts could be longer than the file by any factor, since its entries may share one place.
    """
    key = name.encode()
    if not h5py.h5a.exists(thing.id, key):
        return None
    if h5py.h5a.open(thing.id, key).get_space().get_simple_extent_type() != h5py.h5s.SCALAR:
        return None
    value = thing.attrs[name]
    return value if isinstance(value, (str, np.integer)) else None


def attributes_of(thing: Any) -> dict[str, Any]:
    """The texts and integers among the attributes, by name."""
    found = {name: attribute_of(thing, name) for name in thing.attrs}
    return {name: value for name, value in found.items() if value is not None}


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
    if data.shape is None or data.dtype.kind not in "fiub" or data.dtype.itemsize > 8:
        raise ValueError(f"{path} holds no numbers")
    filters = [creation.get_filter(i)[0] for i in range(creation.get_nfilters())]
    if len(set(filters)) < len(filters) or not FILTERS.keys() >= set(filters):
        raise ValueError(f"{path} has filters other than gzip and shuffle, or one of them twice")
    stored = data.id.get_storage_size() * max([FILTERS[number] for number in filters], default=1)
    chunk = math.prod(data.chunks or ()) if filters else 0
    if stored < max(data.size, chunk) * data.dtype.itemsize:
        raise ValueError(f"{path} has {data.size} entries, but not their bytes")
    return data


def values_of(group: Any, path: str) -> NDArray[Any]:
    """All of a dataset that was written once and for all."""
    data = dataset_of(group, path)
    values: NDArray[Any] = np.asarray(data[()])
    if version_of(group) > 2 and zlib.crc32(bytes_of(values)) != attribute_of(data, "crc32"):
        raise ValueError(f"the checksum of {path} does not fit")
    return values


def text_of(thing: Any, name: str) -> str:
    """A text among the attributes of something."""
    text = attribute_of(thing, name)
    if not isinstance(text, str):
        raise ValueError(f"the attribute {name} is no text")
    if version_of(thing) > 2 and zlib.crc32(text.encode()) != json.loads(attribute_of(thing, "checksums"))[name]:
        raise ValueError(f"the checksum of the attribute {name} does not fit")
    return text
