"""Find the two halves of an imzML pair on disk and map the binary one into memory."""

from __future__ import annotations

import hashlib
import mmap
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError, IntegrityError, MissingDataError
from msibench.io.imzml.header import Header
from msibench.stand_ins import stand_in

KEEP_MAPPED = 256 << 20
"""Up to this size the pages of a file stay mapped between calls; larger files give them back."""


def find_xml(path: Path) -> Path:
    """Return the XML half for a path that may name either half.

    Raises
    ------
    MissingDataError, DataError
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected an .imzML file (the XML half of a pair).")
    if not path.exists():
        raise MissingDataError(f"{path} does not exist; check the path of the .imzML file.")
    if path.suffix.lower() == ".ibd":
        found = _sibling(path, ".imzml")
        if found is None:
            raise MissingDataError(
                f"{path.name} is the binary half of an imzML pair and there is no "
                f"{path.stem}.imzML beside it; copy both files into one folder."
            )
        path = found
    _refuse_pointer(path)
    if path.stat().st_size == 0:
        raise DataError(f"{path.name}: the file is empty; copy it again.")
    return path


def find_ibd(path: Path) -> Path:
    """Return the binary half beside the XML half, whatever the case of its suffix."""
    found = _sibling(path, ".ibd")
    if found is None:
        raise MissingDataError(
            f"{path.name}: there is no {path.stem}.ibd beside it. An imzML file is a pair: the "
            ".imzML holds the description, the .ibd the spectra. Copy both into one folder, or "
            "name the other half with open_imzml(path, ibd=...)."
        )
    _refuse_pointer(found)
    return found


def _sibling(path: Path, suffix: str) -> Path | None:
    candidates = [
        other
        for other in path.parent.iterdir()
        if other.suffix.lower() == suffix and other.stem.lower() == path.stem.lower()
    ]
    candidates.sort(key=lambda other: (other.stem != path.stem, other.name))
    return candidates[0] if candidates else None


def _refuse_pointer(path: Path) -> None:
    if path.stat().st_size and (instead := stand_in(path)):
        raise DataError(f"{path.name} {instead}.")


def uuid_problem(header: Header, ibd: Path) -> str | None:
    """Return what is wrong with the pair's UUID, or None."""
    with ibd.open("rb") as file:
        first = file.read(16)
    if header.uuid is None:
        return None
    if first in (header.uuid.bytes, header.uuid.bytes_le):
        return None
    found = str(uuid.UUID(bytes=first)) if len(first) == 16 else f"{len(first)} bytes"
    return (
        f"UUID {header.uuid} of the .imzML differs from {found} in {ibd.name}: the two files may "
        "not belong together; verify=True compares the checksum"
    )


def verify_checksum(header: Header, ibd: Path) -> str:
    """Compare the .ibd file with the digest in the header and return the algorithm's name.

    Raises
    ------
    IntegrityError
        The digest differs, or the header has none.
    """
    if header.checksum is None:
        raise IntegrityError(
            f"{ibd.name}: the .imzML names no MD5, SHA-1 or SHA-256 of it, so that it cannot be "
            "verified; open it without verify=True."
        )
    algorithm, wanted = header.checksum
    with ibd.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    if found.hexdigest() != wanted:
        raise IntegrityError(
            f"{ibd.name}: its {algorithm.upper()} is {found.hexdigest()}, the .imzML says {wanted}; "
            "the file is damaged or was changed. Copy it again."
        )
    return algorithm


@dataclass(slots=True)
class MappedFile:
    """A binary file mapped into memory, which notices when it is replaced or truncated."""

    path: Path
    size: int
    modified: int
    pages: mmap.mmap | None
    data: NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path) -> MappedFile:
        """Map a file; an empty one is an empty array."""
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            if stat.st_size == 0:
                return cls(path, 0, stat.st_mtime_ns, None, np.empty(0, np.uint8))
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size = len(pages)
        return cls(path, size, stat.st_mtime_ns, pages, np.frombuffer(pages, dtype=np.uint8))

    def check_unchanged(self) -> None:
        """Raise if a file has been truncated since it was mapped."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return  # deleted: the mapping keeps its pages
        if size < self.size:
            raise DataError(
                f"{self.path.name}: shrank from {self.size} to {size} bytes while it was open; "
                "open it again when it is complete."
            )

    def release(self) -> None:
        """Release the pages that were read, so that a large file does not fill the memory."""
        if self.pages is not None and self.size > KEEP_MAPPED and hasattr(mmap, "MADV_DONTNEED"):
            self.pages.madvise(mmap.MADV_DONTNEED)
