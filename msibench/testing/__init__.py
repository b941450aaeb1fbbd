"""Contract checks, tiny data and helpers for plugin authors.

`METHOD_CHECKS` and `Subject` need no pytest; `MethodContract` and `mirrored` do.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if "pytest" in sys.modules:
    # Without this a failed check prints a bare AssertionError in a plugin's own test run.
    sys.modules["pytest"].register_assert_rewrite("msibench.testing.method_checks")

if TYPE_CHECKING:
    from msibench.testing.method_checks import METHOD_CHECKS
    from msibench.testing.method_contract import MethodContract
    from msibench.testing.mirror import mirrored
    from msibench.testing.subject import NotCheckableError, Subject, tiny_ion_images

__all__ = [
    "METHOD_CHECKS",
    "MethodContract",
    "NotCheckableError",
    "Subject",
    "mirrored",
    "tiny_ion_images",
]


_PLACES = {
    "METHOD_CHECKS": "method_checks",
    "MethodContract": "method_contract",
    "NotCheckableError": "subject",
    "Subject": "subject",
    "mirrored": "mirror",
    "tiny_ion_images": "subject",
}


def __getattr__(name: str) -> object:
    """Import a part when it is asked for: pytest loads this package in every run of everybody's tests."""
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
