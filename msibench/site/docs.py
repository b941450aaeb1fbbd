"""The documentation as a part of the site, built with mkdocs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from msibench.contracts.plain_text import visible
from msibench.errors import ConfigurationError

if TYPE_CHECKING:
    pass


def write_docs(folder: Path, config: Path | None, notes: list[str]) -> bool:
    """Build the documentation with mkdocs; note why where it is left out."""
    if config is None or not config.is_file():
        notes.append("no docs: there is no mkdocs.yml here (name one with --docs)")
        return False
    if find_spec("mkdocs") is None:
        notes.append('no docs: mkdocs is not installed (pip install "msibench[docs]")')
        return False
    command = [
        sys.executable, "-m", "mkdocs", "build", "--strict", "--no-directory-urls",
        "--config-file", str(config.resolve()), "--site-dir", str((folder / "docs").resolve()),
    ]  # fmt: skip
    quiet = {**os.environ, "NO_COLOR": "1", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode:
        said = visible((done.stderr or done.stdout).strip()[-1500:])
        if absent := re.search(r'The "([\w.-]+)" plugin is not installed', said):
            notes.append(f'no docs: {absent[1]} is not installed (pip install "msibench[docs]")')
            return False
        raise ConfigurationError(f"mkdocs cannot build {config}: {said}")
    return True
