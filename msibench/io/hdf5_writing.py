"""Open an HDF5 file for writing so that a full disk is an error and not the end of the process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msibench.errors import MSIBenchError

if TYPE_CHECKING:
    import h5py


@contextmanager
def new_hdf5(path: Path, **options: object) -> Iterator[h5py.File]:
    """Yield an `h5py.File` that is written anew; flush it after each part, so that errors come there.

    Raises
    ------
    OSError
        The system's own, with its number: no space, no permission, no such folder.
    """
    import h5py

    try:
        file = h5py.File(path, "w", **options)
        descriptor = int(file.id.get_vfd_handle())
        try:
            yield file
            file.flush()
            file.close()
        except BaseException:
            let_go(descriptor)
            with suppress(Exception):
                file.close()
            raise
    except (RuntimeError, OSError) as error:  # HDF5 wraps the system's word in several kinds
        number = None if isinstance(error, MSIBenchError) else hdf5_errno(str(error))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def let_go(descriptor: int) -> None:
    """Redirect what HDF5 still holds of a file to memory, once writing has failed.

    It would keep trying in vain on a full disk, and the next file, or the end of the process, might
    crash.
    """
    with suppress(OSError, AttributeError):  # systems without memfd keep HDF5's own ways
        sink = os.memfd_create("unwritten")
        os.dup2(sink, descriptor)
        os.close(sink)


def hdf5_errno(message: str) -> int | None:
    """Return the number of the system's error in a message of HDF5's, or None."""
    found = re.search(r"\berrno = (\d+)\b", message)
    return int(found[1]) if found else None
