"""Matrix products that give the same bytes on one thread and on two."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np


def product(left: Any, right: Any) -> Any:
    """Return ``left @ right``, of numpy arrays on one BLAS thread.

    BLAS splits a product over its threads at other rows than its own blocks, and on some processors
    rounds them differently: the last bits of a metric would then depend on how many threads there
    are. Tensors are multiplied by their own library.
    """
    if isinstance(left, np.ndarray):
        with _libraries().limit(limits=1, user_api="blas"):
            return left @ right
    return left @ right


def one_thread() -> Any:
    """Return a context in which numpy's products and solvers run on one BLAS thread."""
    return _libraries().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _libraries() -> Any:
    """Return the loaded BLAS libraries; looking for them costs twenty times a change of their threads."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
