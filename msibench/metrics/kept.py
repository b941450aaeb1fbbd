"""What depends on a section alone, worked out once and kept for the next predictions of that section.

A board scores dozens of predictions of one truth: what a metric makes of the truth is the same each time.
Results are found again by the content they were made from, never by a name or a place in memory.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import fields, is_dataclass
from threading import Lock
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")
SMALL = 64
"""How many times a result may fit into the room: larger ones are not kept."""


class Kept:
    """The results that were asked for last, up to a size in bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        """Bytes of all results together."""
        self._results: OrderedDict[Hashable, Any] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._lock = Lock()

    @property
    def held(self) -> int:
        """Bytes of all results that are kept now."""
        return sum(self._sizes.values())

    def get(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """Return what was kept under a key, or what `make` gives, which is kept."""
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                found: Result = self._results[key]
                return found
        made = make()
        with self._lock:
            self._results[key], self._sizes[key] = made, bytes_of(made)
            self._results.move_to_end(key)
            while len(self._results) > 1 and self.held > self.room:
                del self._sizes[self._results.popitem(last=False)[0]]
        return made


def of_images(what: str, images: Any, make: Callable[[], Result], *values: Hashable) -> Result:
    """Return what `make` gives for images, kept where they are a small numpy array.

    Parameters
    ----------
    what
        Names what is made.
    images
        Any array or tensor; a tensor, or a large array, is not looked for.
    values
        What else the result depends on.
    """
    if not isinstance(images, np.ndarray) or images.nbytes * SMALL > _of_references.room:
        return make()
    key = (what, images.shape, images.dtype.str, values, digest_of_arrays([images]))
    return _of_references.get(key, make)


def digest_of_arrays(arrays: Iterable[np.ndarray[Any, Any]]) -> bytes:
    """Return the sha256 of the values of arrays."""
    seen = hashlib.sha256()
    for array in arrays:
        seen.update(np.ascontiguousarray(array).data)
    return seen.digest()


def bytes_of(result: object) -> int:
    """Return the bytes of the arrays in a result: arrays, sequences and data classes of such."""
    if isinstance(result, np.ndarray):
        return int(result.nbytes)
    if isinstance(result, list | tuple):
        return sum(map(bytes_of, result))
    if is_dataclass(result):
        return sum(bytes_of(getattr(result, field.name)) for field in fields(result))
    return 0


_of_references = Kept(128 << 20)
