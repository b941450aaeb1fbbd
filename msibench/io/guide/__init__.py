"""Optical images as guides, whole or one region of one pyramid level at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msibench.io.guide.limits import MAX_PIXELS
    from msibench.io.guide.open import read_guide

__all__ = ["MAX_PIXELS", "read_guide"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from msibench.io.guide import open as home

    return getattr(home, name)
