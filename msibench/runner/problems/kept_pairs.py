"""Training pairs that were made already, as many as fit into some memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from msibench.image import Pair

LIMIT_BYTES = 1 << 30
"""Memory that kept pairs may take; the last one stays, however large."""


class KeptPairs:
    """The pairs that were asked for last, within a limit in bytes.

    Parameters
    ----------
    limit
        Bytes of all pairs together, at most.
    """

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._pairs: OrderedDict[Hashable, Pair] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Pair]) -> Pair:
        """Return the pair of a key, made by `make` where it is not kept."""
        with self._lock:
            if key in self._pairs:
                self._pairs.move_to_end(key)
                return self._pairs[key]
        pair = make()
        with self._lock:
            self._pairs[key] = pair
            self._pairs.move_to_end(key)
            while len(self._pairs) > 1 and self.bytes > self._limit:
                self._pairs.popitem(last=False)
        return pair

    @property
    def bytes(self) -> int:
        """What the kept pairs take."""
        return sum(map(bytes_of, self._pairs.values()))


def bytes_of(pair: Pair) -> int:
    """Return the memory that the images of a pair take."""
    held = [pair.low.values, pair.high.values]
    held += [] if pair.guide is None else [pair.guide.values]
    return sum(values.nbytes for values in held)
