"""Contract checks, tiny data and helpers for plugin authors.

`METHOD_CHECKS` and `Subject` need no pytest; `MethodContract` and `mirrored` do.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if "pytest" in sys.modules:
    # Without this a failed check prints a bare AssertionError in a plugin's own test run.
    sys.modules["pytest"].register_assert_rewrite("msibench.testing.method_checks")

from msibench.testing.method_checks import METHOD_CHECKS
from msibench.testing.subject import NotCheckableError, Subject, tiny_ion_images

if TYPE_CHECKING:
    from msibench.testing.method_contract import MethodContract
    from msibench.testing.mirror import mirrored

__all__ = [
    "METHOD_CHECKS",
    "MethodContract",
    "NotCheckableError",
    "Subject",
    "mirrored",
    "tiny_ion_images",
]


def __getattr__(name: str) -> object:
    """Import what needs pytest only when it is asked for."""
    if name == "MethodContract":
        from msibench.testing.method_contract import MethodContract

        return MethodContract
    if name == "mirrored":
        from msibench.testing.mirror import mirrored

        return mirrored
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
