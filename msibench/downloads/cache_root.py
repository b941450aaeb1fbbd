"""The folder on this machine that keeps what was fetched or prepared."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the folder for what was fetched: ``MSIBENCH_CACHE``, else the user's cache folder."""
    named = os.environ.get("MSIBENCH_CACHE")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("msibench")
