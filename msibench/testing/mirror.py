"""Real files for tests, where this machine has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from msibench.mirror import find_in_mirror


def mirrored(relative: str) -> Path:
    """Return a mirrored file's path (``"metrics/pairs.npz"``), or skip the test with the reason."""
    path = find_in_mirror(relative)
    if path is None:
        pytest.skip(f"{relative} is not in MSIBENCH_MIRROR (nor in ../shared)")
    return path
