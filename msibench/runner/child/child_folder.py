"""The folder that a child leaves is checked before anything is read or written there."""

from __future__ import annotations

import ctypes
import os
import stat
from contextlib import suppress
from pathlib import Path

from msibench.results.removal import remove
from msibench.runner.child.sandbox.namespaces import MNT_DETACH

FIT = "fit.h5"
"""What a method has learned, for the next cell of the same training set."""
CALIBRATION = "calibration.h5"
"""Training sections that the harness's intervals are calibrated on, where a track asks for that."""
FROM_CHILD = ("result.json", "prediction.h5", FIT)
"""What a child may leave for its supervisor."""
FROM_SUPERVISOR = ("log.txt", "metrics.parquet", "record.json")
"""What only the supervisor writes."""


def let_go_of_mounts(folder: Path) -> None:
    """Unmount what a method that ran as root, without a sandbox, mounted in its folder.

    A cell that is stored with it would be another one once the machine was started anew.
    """
    own = os.path.realpath(folder)
    with suppress(OSError, AttributeError):
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
        places = [line.split()[4].decode("unicode_escape") for line in lines]
        inside = [place for place in places if place == own or place.startswith(f"{own}/")]
        for place in reversed(inside):
            ctypes.CDLL(None).umount2(os.fsencode(place), MNT_DETACH)


def restore_folder(folder: Path) -> str:
    """Make a cell's folder anew where its method removed it or put a link in its place.

    Returns
    -------
    What happened; empty when the folder is there. Nothing that a link points to is touched.
    """
    if folder.is_dir() and not folder.is_symlink():
        return ""
    with suppress(OSError):
        remove(folder)
        folder.mkdir()
    return (
        "when it ended, its own folder was missing or a link; a method must not touch that folder"
    )


def clear_impostors(folder: Path) -> None:
    """Remove what a child left under a name of its supervisor's, or under its own name if it is not a plain file.

    A link called ``log.txt`` would make the supervisor write elsewhere, outside of any sandbox, and a
    pipe called ``result.json`` would hold it for ever.
    """
    for name in FROM_SUPERVISOR:
        remove(folder / name)
    for name in FROM_CHILD:
        with suppress(OSError):
            entry = (folder / name).lstat()
            if not stat.S_ISREG(entry.st_mode) or entry.st_nlink != 1:
                remove(folder / name)
