"""Check an HDF5 data set by its header: numbers in its own file, no larger than what it stores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

KNOWN_FILTERS = {1, 2, 3, 32000}  # gzip, shuffle, fletcher32, lzf
FREE_BYTES = 64 << 20
"""Up to this size, a data set may have fewer stored bytes than it claims."""
PACKING = 1100
"""The most bytes that a stored byte can stand for with the known filters."""


def has(file: h5py.Group, name: str) -> bool:
    """Whether an open file has an entry of a name, found without following any link."""
    found: bool = file.id.links.exists(name.encode())
    return found


def why_unsafe(file: h5py.Group, name: str) -> str:
    """Return why a data set of an open file must not be read; empty for a plain one.

    Only its header is checked: no value is read, no chunk unpacked and no filter loaded.
    """
    import h5py

    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        return (
            f"/{name} is a link to another place; a link to elsewhere is not followed, the file must hold "
            "its data itself"
        )
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        return f"/{name} should be a dataset, got a group"
    if item.is_virtual or item.external:
        return f"/{name} takes its data from other files; the file must hold its data itself"
    kind = item.dtype
    if kind.kind not in "biufSU" or kind.hasobject:
        return f"/{name} holds {kind}, not numbers"
    created = item.id.get_create_plist()
    used = {created.get_filter(number)[0] for number in range(created.get_nfilters())}
    if used - KNOWN_FILTERS:
        return f"/{name} uses HDF5 filters {sorted(used - KNOWN_FILTERS)}; expected gzip or none"
    if item.shape is None:
        return f"/{name} is empty of any shape"
    stored = item.id.get_storage_size()
    most = max(FREE_BYTES, PACKING * stored)
    width = max(kind.itemsize, 4) if kind.kind in "biu" else kind.itemsize
    claimed = math.prod(int(side) for side in item.shape) * width  # read as float32
    if claimed > most:
        return f"/{name} claims {claimed} bytes but stores {stored} ({claimed / 2**30:.1f} GiB claimed)"
    chunk = math.prod(int(side) for side in item.chunks or ()) * kind.itemsize
    if item.chunks and chunk > max(FREE_BYTES, claimed):
        return f"/{name} has chunks of {chunk} bytes for {claimed} bytes of values"
    return ""
