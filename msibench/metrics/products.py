"""Matrix products that give the same bytes on one thread and on two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np


def product(left: Any, right: Any) -> Any:
    """Return ``left @ right``, of numpy arrays on one BLAS thread.

    BLAS splits a product over its threads at other rows than its own blocks, and on some processors
    rounds them differently: the last bits of a metric would then depend on how many threads there
    are. Tensors are multiplied by their own library.
    """
    if isinstance(left, np.ndarray):
        with one_thread():
            return left @ right
    return left @ right


@contextmanager
def one_thread() -> Iterator[None]:
    """Run numpy's products and solvers on one BLAS thread, in all threads of the process.

    The first to enter sets the limit and the last to leave takes it back, so that many small products inside
    another such context cost no more than themselves.
    """
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()


class _Limit:
    """The limit to one thread, and how many have asked for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._limited: Any = None

    def enter(self) -> None:
        """Ask for it."""
        with self._lock:
            if not self._inside:
                self._limited = _libraries().limit(limits=1, user_api="blas")
            self._inside += 1

    def leave(self) -> None:
        """No longer ask for it."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limited.restore_original_limits()


_limit = _Limit()


@lru_cache(maxsize=1)
def _libraries() -> Any:
    """Return the loaded BLAS libraries; looking for them costs twenty times a change of their threads."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
