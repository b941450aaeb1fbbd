"""Settings for the whole test suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# No test asserts a time: by default hypothesis fails an example that takes longer than 200 ms.
settings.register_profile("msibench", deadline=None)
settings.load_profile("msibench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the minutes-long tests unless they are asked for."""
    if os.environ.get("MSIBENCH_SLOW_TESTS") == "1":
        return
    skip = pytest.mark.skip(reason="minutes long; set MSIBENCH_SLOW_TESTS=1 to run it")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(skip)
