"""Compilation of inner loops, kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile `function` at its first call, without the interpreter lock, and cache the result.

    Where neither the package's folder nor the user's cache folder can be written, it is compiled
    again in every process: slower, never wrong.
    """
    try:
        fast = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba: no locator available
        fast = numba.njit(nogil=True)(function)
    return cast(Function, fast)


def inlined(function: Function) -> Function:
    """Compile `function` into its callers: for the short steps of a hot loop."""
    return cast(Function, numba.njit(nogil=True, inline="always")(function))
